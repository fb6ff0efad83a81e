"""Write the digits as PNG files, as one's own images would lie.

python scripts/digits_as_folder.py DIR [--hide N]

DIR/train/<class>/, DIR/test/<class>/; with --hide all but N images of each class of the training
part lie in DIR/unlabeled/, for a person to label.
"""

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run as a path, from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from PIL import Image

from data import digits
from utils.console import print_line
from utils.errors import UserError
from utils.files import make_folder, os_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, positive_integer


def main(argv=None) -> int:
    return run_export(__doc__, lambda: digits.load(""), argv)


def run_export(words: str, load: Callable, argv=None) -> int:
    """The script of a data set.  words: on it; load: -> its training and its test images."""
    parser = OneLineErrorParser(description=words.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="where to write; must not be there yet")
    parser.add_argument(
        "--hide",
        type=positive_integer,
        metavar="N",
        help="show the class of N training images a class",
    )
    args = parser.parse_args(argv)
    try:
        count = create_folder_atomically(
            Path(args.folder), lambda part: _write_images(part, load, args.hide)
        )
    except UserError as error:
        return print_error(error)
    print_line(f"{count} images in {args.folder}")
    return 0


def create_folder_atomically(folder: Path, write: Callable[[Path], int]) -> int:
    """A new folder as `write` fills it, or none; -> what it returns.  Raises UserError where
    something is there already."""
    if folder.exists():
        raise UserError(f"{folder} is there already: name another folder")
    part_way = folder.with_name(f".{folder.name}.part")
    with os_errors_refused(part_way):
        shutil.rmtree(part_way, ignore_errors=True)  # of one that was killed
        make_folder(part_way)
        count = write(part_way)
        part_way.rename(folder)
    return count


def _write_images(folder: Path, load: Callable, shown: int | None) -> int:
    count, seen = 0, Counter()
    for part, images in zip(("train", "test"), load(), strict=True):
        for pixels, label in zip(images.pixels, images.labels.tolist(), strict=True):
            hidden = part == "train" and shown is not None and seen[label] >= shown
            seen[label] += part == "train"
            place = folder / "unlabeled" if hidden else folder / part / str(label)
            make_folder(place)
            Image.fromarray(pixels[0].numpy()).save(place / f"{part}{count:04d}.png")
            count += 1
    return count


if __name__ == "__main__":
    sys.exit(main())
