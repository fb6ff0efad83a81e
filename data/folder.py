"""Images of the user's own in the folder that --data-root names, with a folder for each class.

data.folder_listing says how they lie in it, data.image_decoding what becomes of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import decoded_cache, folder_listing
from data.custom import DEFAULT_OPTIONS, FlipOptions, check_classes, infer_spec_fields, resolve_flip
from data.images import Images, check_labels, data_fingerprint
from data.spec import DatasetSpec, LoadedDataset
from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text
from utils.options.option import OptionGroup, option

MAX_IMAGE_SIDE = 4096


@dataclass(frozen=True)
class FolderOptions(OptionGroup):
    """How a folder of images is read."""

    section = "data"
    image_size: int | None = option(
        None,
        "Side in pixels to which every image is resized and cropped.",
        type=make_number_type(int, at_least=1, sanity_limit=MAX_IMAGE_SIDE),
        metavar="S",
        default_text="the most common side, up to 64",
    )
    skip_corrupt: bool = option(
        False,
        "Leave out images that cannot be read, instead of stopping.",
        identity=False,  # the fingerprint says what was read
    )
    cache: str | None = option(
        None,
        "Folder for the decoded images.",
        type=non_empty_text,
        metavar="FOLDER",
        default_text="cache beside the run folders",
        identity=False,
        default_from=lambda options: (
            str(Path(options.run_dir).parent if options.run_dir else options.out) + "/cache"
        ),
    )


def load(root: str, *, flip: FlipOptions, folder: FolderOptions) -> LoadedDataset:
    """Raises UserError for what is wrong with the folder, and for images that cannot be read, up to
    folder_listing.SHOWN of them by name."""
    found = folder_listing.list_image_folder(root)
    paths = [found.root / path for path in found.image_paths]
    pixels, bad = decoded_cache.load_or_decode(paths, folder.image_size, folder.cache)
    notices = (*found.warnings, *_report_unreadable(found, bad, folder.skip_corrupt))
    kept = np.setdiff1d(np.arange(len(paths)), list(bad))
    labels, test = found.labels[kept], found.is_test[kept]
    split = int((~test).sum())  # the images to test on come last
    parts = []
    for some in (slice(0, split), slice(split, None)):
        own = np.arange(len(kept))[some]
        where = f"the {'test' if some.start else 'training'} part of {found.root}"
        classes = check_labels(labels[some], len(own), where, allow_unknown=True)
        parts.append(Images(decoded_cache.load_if_small(pixels.subset(own)), classes))
    train, test = parts
    check_classes(train.labels, test.labels, found.class_names, str(found.root))
    flips, said = resolve_flip(train.pixels, flip.flip)
    return LoadedDataset(
        train,
        test,
        infer_spec_fields(train, test, found.class_names, flips, str(found.root)),
        found.class_names,
        tuple(found.image_paths[number] for number in kept[:split]),
        (*notices, *said),
        data_fingerprint(train, test),
    )


def _report_unreadable(
    found: folder_listing.FolderListing, bad: dict[int, str], skip: bool
) -> list[str]:
    """A line on the images that cannot be read, where there are some and they are left out."""
    if not bad:
        return []
    names = [f"{found.image_paths[number]} ({why})" for number, why in sorted(bad.items())]
    line = f"{len(bad)} of {len(found.image_paths)} images in {found.root} cannot be read"
    if not skip:
        raise UserError(
            f"{line}: {folder_listing.format_names(names)}: mend them, or give --skip-corrupt"
        )
    return [f"{line} and are left out: {folder_listing.format_names(names)}"]


SPEC = DatasetSpec(
    load,
    list_files=folder_listing.list_files,
    defaults=DEFAULT_OPTIONS,
)
