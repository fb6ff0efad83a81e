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
from utils.console import say
from utils.errors import UserError
from utils.files import make_folder, told
from utils.options.cli import OneLineParser, complain
from utils.options.converters import not_empty, positive


def main(argv=None) -> int:
    return command(__doc__, lambda: digits.load(""), argv)


def command(words: str, load: Callable, argv=None) -> int:
    """The script of a data set.  words: on it; load: -> its training and its test images."""
    parser = OneLineParser(description=words.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=not_empty, help="where to write; must not be there yet")
    parser.add_argument(
        "--hide", type=positive, metavar="N", help="show the class of N training images a class"
    )
    args = parser.parse_args(argv)
    try:
        count = whole(Path(args.folder), lambda part: _write(part, load, args.hide))
    except UserError as error:
        return complain(error)
    say(f"{count} images in {args.folder}")
    return 0


def whole(folder: Path, write: Callable[[Path], int]) -> int:
    """A new folder as `write` fills it, or none; -> what it returns.  Raises UserError where
    something is there already."""
    if folder.exists():
        raise UserError(f"{folder} is there already: name another folder")
    part_way = folder.with_name(f".{folder.name}.part")
    with told(part_way):
        shutil.rmtree(part_way, ignore_errors=True)  # of one that was killed
        make_folder(part_way)
        count = write(part_way)
        part_way.rename(folder)
    return count


def _write(folder: Path, load: Callable, shown: int | None) -> int:
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
