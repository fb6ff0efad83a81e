"""Unsupervised pre-training: one a file, one row each in PRETRAINERS, and their cache."""

from unsup import deepcluster, simclr
from utils.errors import UserError
from utils.options.converters import one_of
from utils.options.option import Choice, Option, Part

PRETRAINERS = {
    "deepcluster": deepcluster.PRETRAINER,
    "simclr": simclr.PRETRAINER,
}

SECTION_TITLE = "unsupervised pre-training"


def _check(args) -> None:
    if args.learn_unsupervised_pretraining and not args.add_unsupervised_pretraining:
        raise UserError(
            "--learn-unsupervised-pretraining is read only with --add-unsupervised-pretraining True"
        )


def require_pretraining(args, requester: str) -> None:
    """Raises UserError where `who` needs pre-training and the run has none."""
    if not args.add_unsupervised_pretraining:
        raise UserError(
            f"{requester} needs the features of a network that has seen no label yet: add "
            "--add-unsupervised-pretraining"
        )


_ON = (lambda args: args.add_unsupervised_pretraining, "--add-unsupervised-pretraining")

PRETRAINING = Part(
    SECTION_TITLE,
    options=(
        Option(
            "add_unsupervised_pretraining",
            False,
            "start from the cached weights; learn and cache them when there are none",
            kind=bool,
            derive=lambda args: args.learn_unsupervised_pretraining,
            when=(_ON[0], "True"),
        ),
        Option(
            "learn_unsupervised_pretraining",
            False,
            "start from weights learned anew, which replace the cached ones",
            kind=bool,
            identity=False,
        ),
        Option(
            "pretraining_method",
            "deepcluster",
            "how to learn them",
            kind=one_of(PRETRAINERS),
            when=_ON,
        ),
    ),
    check=_check,
)


def pretrainer_name(args) -> str | None:
    """The key of the pre-training that the options choose; None for none."""
    wanted = args.add_unsupervised_pretraining or args.learn_unsupervised_pretraining
    return args.pretraining_method if wanted else None


CHOICE = Choice(
    SECTION_TITLE,
    PRETRAINERS,
    pretrainer_name,
    "--add-unsupervised-pretraining --pretraining-method {}",
)
