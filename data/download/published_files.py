"""What the readers of published data sets share: their files.

They are read by ourselves: nothing in them is believed before it is checked, and torchvision would
unpickle whatever lies there.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from data.images import Images, concatenate_images
from utils.errors import UserError

FileGroups = Sequence[tuple[str, ...]]  # what is read at once, below the data root


def paths_under_root(root: str, names) -> list[Path]:
    """Files of the data root."""
    return [Path(os.path.expanduser(root), name) for name in names]


def load_published(
    name: str, root: str, train: FileGroups, test: FileGroups, load: Callable[..., Images]
) -> tuple[Images, Images]:
    """Training and test images.

    load: the paths of files that are read at once -> Images.  Raises UserError where files are
    missing or cannot be read, and for what is in them."""
    where, command = (
        os.path.abspath(os.path.expanduser(root)),
        f"`sh data/install_datasets.sh {name}`",
    )
    paths = [path for files in (*train, *test) for path in paths_under_root(root, files)]
    if missing := [path for path in paths if not os.path.isfile(path)]:
        lacks = f"{name} is not in {where}" if missing == paths else f"{missing[0]} is not there"
        raise UserError(f"{lacks}: run {command} or set --data-root")
    return tuple(
        concatenate_images(
            [_load_group(load, paths_under_root(where, files), command) for files in part]
        )
        for part in (train, test)
    )


def _load_group(load: Callable[..., Images], paths: list[Path], command: str) -> Images:
    try:
        return load(*paths)
    except UserError:
        raise
    except Exception as error:  # the formats raise many kinds
        raise UserError(
            f"{' or '.join(str(path) for path in paths)} cannot be read "
            f"({type(error).__name__}: {error}): delete it and run {command}"
        ) from error
