"""Write the digits data set as PNG files, in the layout of a user's own images.

python scripts/digits_as_folder.py DIR [--hide N]

The images go to DIR/train/<class>/ and DIR/test/<class>/.  With --hide, only N training images per
class keep their class; the others go to DIR/unlabeled/, to be labeled by a person.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

from data import digits
from data.images import Images
from utils.console import print_line
from utils.errors import UserError
from utils.files import make_folder, os_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, positive_integer


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(__doc__ or "", lambda: digits.load(""), argv)


def run_export(
    description: str,
    load: Callable[[], tuple[Images, Images]],
    argv: Sequence[str] | None = None,
) -> int:
    """The main function of a script that exports a data set; returns the exit status.

    description: its first line is shown by --help; load: returns training and test images."""
    parser = OneLineErrorParser(description=description.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="new folder to write to")
    parser.add_argument(
        "--hide",
        type=positive_integer,
        metavar="N",
        help="number of training images per class that keep their class; default: all",
    )
    args = parser.parse_args(argv)
    try:
        count = create_folder_atomically(
            Path(args.folder), lambda folder: _write_images(folder, load, args.hide)
        )
    except UserError as error:
        return print_error(error)
    print_line(f"{count} images in {args.folder}")
    return 0


def create_folder_atomically(folder: Path, fill: Callable[[Path], int]) -> int:
    """Create a folder with the content that `fill` writes, or none if it fails.

    Returns what `fill` returns.  Raises UserError if the folder exists."""
    if folder.exists():
        raise UserError(f"{folder} already exists; name another folder")
    temporary = folder.with_name(f".{folder.name}.part")
    with os_errors_refused(temporary):
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
        make_folder(temporary)
        count = fill(temporary)
        temporary.rename(folder)
    return count


def _write_images(
    folder: Path, load: Callable[[], tuple[Images, Images]], num_labeled: int | None
) -> int:
    """num_labeled: training images per class that keep their class, None for all."""
    count = 0
    num_seen: Counter[int] = Counter()  # training images by class
    for part, images in zip(("train", "test"), load(), strict=True):
        for i, label in enumerate(images.labels.tolist()):
            hide = part == "train" and num_labeled is not None and num_seen[label] >= num_labeled
            num_seen[label] += part == "train"
            target = folder / "unlabeled" if hide else folder / part / str(label)
            make_folder(target)
            pixels = np.asarray(images.pixels[i : i + 1])  # (1, C, H, W)
            Image.fromarray(pixels[0, 0]).save(target / f"{part}{count:04d}.png")
            count += 1
    return count


if __name__ == "__main__":
    sys.exit(main())
