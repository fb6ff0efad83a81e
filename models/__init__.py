"""Networks, all `model(x) -> (logits, features)`.  One row each in ARCHS."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from models.cnn import cifar_cnn, sized_cnn, small_cnn
from models.identity import given
from models.layers.sobel import Sobel
from models.mlp import HIDDEN, mlp
from models.network import Network, linear, weight_normalised_linear
from models.resnet import resnet18
from utils.errors import UserError
from utils.options.converters import number, one_of
from utils.options.option import Choice, Option, Part, Row


@dataclass(frozen=True)
class Arch(Row):
    """A row of the registry."""

    backbone: Callable  # in_channels, the row's options -> module that maps images to (B, features)
    features: int | None  # None: as many as in_channels
    head: Callable = linear
    min_size: int = 1  # pixels a side that the backbone needs
    sized: bool = False  # does the backbone also take the images' size, in pixels a side?
    dropout: bool = False  # has the backbone layers of dropout?
    vectors: bool = False  # does the backbone take given features (B, in_channels) for images?
    channels_last: bool = False  # the faster layout of the two on the CPU, as measured there


ARCHS = {
    "cifar_cnn": Arch(
        cifar_cnn,
        features=128,
        head=weight_normalised_linear,
        min_size=12,
        dropout=True,
        channels_last=True,
    ),
    "resnet18": Arch(resnet18, features=512, channels_last=True),
    "small_cnn": Arch(small_cnn, features=64, min_size=2),
    "sized_cnn": Arch(sized_cnn, features=64, sized=True, channels_last=True),
    # Its weights start small beside features of length one: of ten labels, 50 epochs at a rate of
    # 0.2 leave a loss of 1.4, at 2 of 0.07.
    "linear": Arch(given, features=None, vectors=True, defaults={"lr": 2.0}),
    "mlp": Arch(mlp, features=HIDDEN, vectors=True),
}


def create_model(
    arch: str,
    num_classes: int,
    in_channels: int = 3,
    size: int = 32,
    unit_length: bool = True,
    sobel: bool = False,
    head_dropout: float = 0.0,
    **options,
) -> Network:
    """A network with random weights from torch's default generator.

    in_channels: of images, or how many numbers a vector has, for a network that takes these; size:
    pixels a side, for a network that is built for it; `unit_length` makes the features unit
    length before the head; `sobel` feeds the backbone image gradients instead of pixels;
    `head_dropout` is the share of the features dropped before the head; options: the row's own.
    Raises ValueError for an unknown network."""
    if arch not in ARCHS:
        raise ValueError(f"unknown network {arch!r}: one of {', '.join(ARCHS)}")
    row = ARCHS[arch]
    options |= {"size": size} if row.sized else {}
    backbone = row.backbone(2 if sobel else in_channels, **options)
    if sobel:
        backbone = nn.Sequential(Sobel(), backbone)
    more = (unit_length, row.channels_last, head_dropout)
    return Network(backbone, row.features or in_channels, row.head, num_classes, *more)


def require_dropout(args, who: str) -> None:
    """Raises UserError, for `who` needs it, where the network has no dropout."""
    if not (ARCHS[args.arch].dropout or args.head_dropout):
        alike = [row for row in ARCHS.values() if row.vectors == ARCHS[args.arch].vectors]
        having = ", ".join(
            f"{name} (images from {row.min_size} pixels on)" if row.min_size > 1 else name
            for name, row in ARCHS.items()
            if row in alike and row.dropout
        )
        raise UserError(
            f"{who} needs dropout, which --arch {args.arch} does not have: give its head one with "
            f"--head-dropout{having and f', or use one of {having}'}"
        )


def require_kind(args, vectors: bool) -> None:
    """Raises UserError where the network takes images and the data set has features (`vectors`), or
    the reverse."""
    if ARCHS[args.arch].vectors != vectors:
        fitting = ", ".join(name for name, row in ARCHS.items() if row.vectors == vectors)
        takes, has = ("images", "features") if vectors else ("features", "images")
        raise UserError(
            f"--arch {args.arch} takes {takes}, --dataset {args.dataset} has {has}: use one of "
            f"{fitting}"
        )


def _fits(args, problem) -> None:
    if problem.size < ARCHS[args.arch].min_size:
        fitting = [
            name for name, row in ARCHS.items() if problem.size >= row.min_size and not row.vectors
        ]
        raise UserError(
            f"--arch {args.arch} needs images of at least {ARCHS[args.arch].min_size} pixels "
            f"a side, {args.dataset} has {problem.size}: use one of {', '.join(fitting)}"
        )


NETWORK = Part(
    "network",
    options=(
        Option(
            "arch",
            None,
            "network",
            kind=one_of(ARCHS),
            flags=("--arch", "-a"),
            shown="the data set's",
        ),
        Option("isL2", True, "unit-length features", kind=bool, keyword="unit_length"),
        Option(
            "sobel",
            False,
            "feed image gradients to the network",
            kind=bool,
            section="unsupervised pre-training",
            when=(
                lambda args: args.add_unsupervised_pretraining,
                "--add-unsupervised-pretraining",
            ),
        ),
    ),
    fits=_fits,
)
# Not NETWORK's: pre-training has a head of its own, and its weights are shared with and without.
HEAD = Part(
    "network",
    options=(
        Option(
            "head_dropout",
            0.0,
            "share of the features dropped before the head in training; without it, none",
            kind=number(float, above=0, below=1),
            when=(lambda args: args.head_dropout > 0, "a value above 0"),
        ),
    ),
)
CHOICE = Choice("network", ARCHS, lambda args: args.arch, "--arch {}")
