"""Common parts of the readers of published data sets.

They use their own code to read the files: nothing is trusted before it is checked, and torchvision
would unpickle whatever it finds.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data.images import Images, concatenate_images
from utils.errors import UserError

FileGroups = Sequence[tuple[str, ...]]  # files below the data root; those of a group form one array


def paths_under_root(root: str | Path, names: Iterable[str]) -> list[Path]:
    """The paths of files below the data root."""
    return [Path(os.path.expanduser(root), name) for name in names]


def load_published(
    name: str, root: str, train: FileGroups, test: FileGroups, load: Callable[..., Images]
) -> tuple[Images, Images]:
    """Training and test images of the data set `name`.

    train, test: groups of files; load: the paths of a group -> Images.
    Raises UserError where files are missing, cannot be read or have invalid contents."""
    folder = os.path.abspath(os.path.expanduser(root))
    command = f"`sh data/install_datasets.sh {name}`"
    paths = [path for files in (*train, *test) for path in paths_under_root(root, files)]
    if missing := [path for path in paths if not os.path.isfile(path)]:
        all_missing = missing == paths
        problem = f"{name} is not in {folder}" if all_missing else f"{missing[0]} does not exist"
        raise UserError(f"{problem}; run {command} or set --data-root")
    train_images, test_images = (
        concatenate_images(
            [_load_group(load, paths_under_root(folder, files), command) for files in part]
        )
        for part in (train, test)
    )
    return train_images, test_images


def _load_group(load: Callable[..., Images], paths: list[Path], command: str) -> Images:
    try:
        return load(*paths)
    except UserError:
        raise
    except Exception as error:  # the formats raise many kinds
        raise UserError(
            f"{' or '.join(str(path) for path in paths)} cannot be read "
            f"({type(error).__name__}: {error}); delete it and run {command}"
        ) from error
