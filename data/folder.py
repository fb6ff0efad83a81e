"""The user's own images, in the folder that --data-root names, with one folder per class.

data.folder_listing describes the layout, data.image_decoding how images are converted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import decoded_cache, folder_listing
from data.custom import (
    DEFAULT_OPTIONS,
    FlipOptions,
    ValueOptions,
    check_classes,
    infer_spec_fields,
    resolve_flip,
)
from data.image_tree import format_names
from data.images import Images, data_fingerprint
from data.repeated_images import describe_images_of_two_classes
from data.spec import DatasetSpec, LoadedDataset
from data.stored_image import PAGE_CHOICES
from utils.errors import UserError
from utils.options.converters import make_number_type, non_empty_text, one_of
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
    page: str = option(
        "first",
        "What is used of a file with several pages, frames or bands: the first, or the mean or the "
        "largest value of all.",
        type=one_of(PAGE_CHOICES),
    )
    skip_corrupt: bool = option(
        False,
        "Leave out images that cannot be read, instead of stopping.",
        identity=False,  # the fingerprint covers the images that were read
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


def load(
    root: str, *, flip: FlipOptions, folder: FolderOptions, values: ValueOptions
) -> LoadedDataset:
    """Raises UserError for faults of the folder, and for images that cannot be read, up to
    folder_listing.MAX_NAMES_SHOWN of them by name."""
    listing = folder_listing.list_image_folder(root)
    paths = [listing.root / path for path in listing.image_paths]
    settings = decoded_cache.DecodeSettings(folder.image_size, folder.page, values.scale)
    pixels, facts = decoded_cache.load_or_decode(paths, settings, folder.cache)
    unreadable = facts.unreadable
    warnings = (
        *listing.warnings,
        *_report_unreadable(listing, unreadable, folder.skip_corrupt),
        *facts.warnings,
    )
    readable = np.setdiff1d(np.arange(len(paths)), list(unreadable))
    part_numbers = listing.is_test[readable] + 2 * listing.is_validation[readable]
    rows = [np.flatnonzero(part_numbers == number) for number in range(3)]
    train, test, validation = (
        Images(
            decoded_cache.load_if_small(pixels.subset(of_part)), listing.labels[readable[of_part]]
        )
        for of_part in rows
    )
    source, class_names = str(listing.root), listing.class_names
    check_classes(train.labels, test.labels, class_names, source)
    evaluated = [validation] if len(validation.labels) else []
    for part in evaluated:
        check_classes(train.labels, part.labels, class_names, source, "validation")
    part_paths = [[listing.image_paths[number] for number in readable[r]] for r in rows]
    flips, flip_warnings = resolve_flip(train.pixels, flip.flip)
    return LoadedDataset(
        train,
        test,
        infer_spec_fields(train, test, class_names, flips, source),
        class_names,
        tuple(part_paths[0]),
        (
            *warnings,
            *describe_images_of_two_classes(
                list(zip((train, test, validation), part_paths, strict=True)), source
            ),
            *flip_warnings,
        ),
        data_fingerprint(train, test, *evaluated),
        validation=evaluated[0] if evaluated else None,
        notes=(f"{source}: {listing.describe_counts(np.array(sorted(unreadable), np.int64))}",),
        value_scales=facts.scales,
        page=folder.page,
    )


def _report_unreadable(
    listing: folder_listing.FolderListing, unreadable: dict[int, str], skip: bool
) -> list[str]:
    """A warning about the images that cannot be read, where there are any and `skip` is true.

    Raises UserError where there are any and `skip` is false."""
    if not unreadable:
        return []
    names = [f"{listing.image_paths[n]} ({reason})" for n, reason in sorted(unreadable.items())]
    count = f"{len(unreadable)} of {len(listing.image_paths)} images in {listing.root}"
    examples = format_names(names)
    if not skip:
        raise UserError(f"{count} cannot be read: {examples}; repair them or use --skip-corrupt")
    return [f"{count} cannot be read and are left out: {examples}"]


SPEC = DatasetSpec(
    load,
    list_files=folder_listing.list_files,
    list_images=folder_listing.list_image_folder,
    defaults=DEFAULT_OPTIONS,
)
