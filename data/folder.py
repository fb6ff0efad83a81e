"""Images of the user's own in the folder that --data-root names, with a folder for each class.

data.folder_listing says how they lie in it, data.image_decoding what becomes of them."""

from pathlib import Path

import numpy as np

from data import decoded_cache, folder_listing
from data.custom import DEFAULTS, FLIP, check_classes, facts, mirrored
from data.images import Images, checked_labels, fingerprint
from data.spec import DatasetSpec, Found
from utils.errors import UserError
from utils.options.converters import not_empty, number
from utils.options.option import Option

LARGEST_SIDE = 4096

IMAGE_SIZE = Option(
    "image_size",
    None,
    "pixels a side to which images are cropped and resized",
    kind=number(int, at_least=1, largest=LARGEST_SIDE),
    metavar="S",
    shown="the commonest, up to 64",
)
SKIP_CORRUPT = Option(
    "skip_corrupt",
    False,
    "leave out images that cannot be read",
    kind=bool,
    identity=False,  # the fingerprint says what was read
)
CACHE = Option(
    "cache",
    None,
    "where decoded images are kept",
    kind=not_empty,
    metavar="FOLDER",
    shown="cache beside the run folders",
    identity=False,
    derive=lambda args: str(Path(args.run_dir).parent if args.run_dir else args.out) + "/cache",
)


def load(
    root: str,
    *,
    image_size: int | None = None,
    flip: bool | str = "auto",
    skip_corrupt: bool = False,
    cache: str | None = None,
) -> Found:
    """Raises UserError for what is wrong with the folder, and for images that cannot be read, up to
    folder_listing.SHOWN of them by name."""
    found = folder_listing.listed(root)
    paths = [found.root / path for path in found.paths]
    pixels, bad = decoded_cache.opened(paths, image_size, cache)
    notices = (*found.notices, *_corrupt(found, bad, skip_corrupt))
    kept = np.setdiff1d(np.arange(len(paths)), list(bad))
    labels, test = found.labels[kept], found.test[kept]
    split = int((~test).sum())  # the images to test on come last
    parts = []
    for some in (slice(0, split), slice(split, None)):
        own = np.arange(len(kept))[some]
        where = f"the {'test' if some.start else 'training'} part of {found.root}"
        classes = checked_labels(labels[some], len(own), where, unknown=True)
        parts.append(Images(decoded_cache.held(pixels.some(own)), classes))
    train, test = parts
    check_classes(train.labels, test.labels, found.classes, str(found.root))
    flip, said = mirrored(train.pixels, flip)
    return Found(
        train,
        test,
        facts(train, test, found.classes, flip, str(found.root)),
        found.classes,
        tuple(found.paths[number] for number in kept[:split]),
        (*notices, *said),
        fingerprint(train, test),
    )


def _corrupt(found: folder_listing.Tree, bad: dict[int, str], skip: bool) -> list[str]:
    """A line on the images that cannot be read, where there are some and they are left out."""
    if not bad:
        return []
    names = [f"{found.paths[number]} ({why})" for number, why in sorted(bad.items())]
    line = f"{len(bad)} of {len(found.paths)} images in {found.root} cannot be read"
    if not skip:
        raise UserError(f"{line}: {folder_listing.named(names)}: mend them, or give --skip-corrupt")
    return [f"{line} and are left out: {folder_listing.named(names)}"]


SPEC = DatasetSpec(
    load,
    files=folder_listing.files,
    options=(FLIP, IMAGE_SIZE, SKIP_CORRUPT, CACHE),
    defaults=DEFAULTS,
)
