"""The options of the run folder."""

from experiment.checkpoint import DEFAULT_CHECKPOINT_EPOCHS, MAX_SAVING_TIME_SHARE
from utils.errors import UserError
from utils.options.converters import non_empty_text, non_negative_integer
from utils.options.option import Option, Part


def _check(args) -> None:
    if args.exp_name is not None and set(args.exp_name) & set("/\\\0"):
        raise UserError(f"--exp-name {args.exp_name!r} must be a name without slashes")


_BELOW_OUT = (lambda args: args.run_dir is None, "no --run-dir")

FOLDER = Part(
    "run",
    options=(
        Option(
            "out",
            "runs",
            "where run folders and pre-trained weights go",
            kind=non_empty_text,
            metavar="FOLDER",
            identity=False,
            when=(
                lambda args: args.run_dir is None or args.add_unsupervised_pretraining,
                "no --run-dir",
            ),
        ),
        Option(
            "run_dir",
            None,
            "this very run folder (default: one below --out)",
            kind=non_empty_text,
            metavar="FOLDER",
            identity=False,
        ),
        Option(
            "exp_name",
            None,
            "a name put before the identity in the folder's path",
            kind=non_empty_text,
            metavar="NAME",
            identity=False,
            when=_BELOW_OUT,
        ),
        Option(
            "resume",
            True,
            "go on from the last checkpoint; False: anew",
            kind=bool,
            identity=False,
        ),
        Option(
            "checkpoint_epochs",
            None,
            "epochs between checkpoints; 0: between cycles only",
            shown=f"{DEFAULT_CHECKPOINT_EPOCHS}; seldomer where they would take over {MAX_SAVING_TIME_SHARE:.0%} of the time",
            kind=non_negative_integer,
            metavar="N",
            identity=False,
        ),
        Option(
            "tensorboard",
            False,
            "write the numbers of every cycle for TensorBoard too",
            kind=bool,
            identity=False,
            added=True,
        ),
    ),
    check=_check,
)
