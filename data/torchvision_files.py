"""What the readers through torchvision share: its files, its downloads, its checksums."""

import os

from data.spec import Images, images_of
from utils.errors import UserError


def reader(name: str, present=None) -> type:
    """torchvision's data set class of that name, imported only when it is used: that is slow.

    present: data set -> the paths that must exist.  Where given, they are read for being there:
    the checksums are for the download, and hundreds of megabytes need no hashing in every run."""
    import torchvision.datasets

    dataset = getattr(torchvision.datasets, name)
    if present is None:
        return dataset

    class ByPresence(dataset):
        def _check_integrity(self) -> bool:
            return all(os.path.isfile(path) for path in present(self))

        def _load_meta(self) -> None:
            """Class names, which nobody here reads."""

    return ByPresence


def read(name: str, root: str, load_part, arrays) -> tuple[Images, Images]:
    """Training and test images.

    load_part: root, is it the training part? -> torchvision data set; arrays: data set -> pixels
    (N, C, H, W) and labels.  Raises UserError where files are missing or cannot be read."""
    where, command = os.path.abspath(root), f"`sh data/install_datasets.sh {name}`"
    try:
        train, test = (images_of(*arrays(load_part(root, train))) for train in (True, False))
    except Exception as error:  # torchvision and the formats below it raise many kinds
        if isinstance(error, RuntimeError) and "not found" in str(error):
            raise UserError(
                f"{name} is not in {where}: run {command} or set --data-root"
            ) from error
        raise UserError(
            f"{name} in {where} cannot be read ({type(error).__name__}: {error}): "
            f"delete it and run {command}"
        ) from error
    for part in (train, test):
        if len(part.pixels) != len(part.labels) or len(part.labels) == 0:
            raise UserError(
                f"{name} in {where} has {len(part.pixels)} images and {len(part.labels)} labels: "
                f"delete it and run {command}"
            )
    return train, test
