"""The options of the run folder."""

from experiment.checkpoint import EVERY, SHARE
from utils.errors import UserError
from utils.options.converters import natural, not_empty
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
            kind=not_empty,
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
            kind=not_empty,
            metavar="FOLDER",
            identity=False,
        ),
        Option(
            "exp_name",
            None,
            "a name put before the identity in the folder's path",
            kind=not_empty,
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
            shown=f"{EVERY}; seldomer where they would take over {SHARE:.0%} of the time",
            kind=natural,
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
