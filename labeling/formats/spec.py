"""What an entry of the registry of exchange formats describes, and what all of them share."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from utils.console import to_one_line
from utils.errors import UserError
from utils.files import os_errors_refused


@dataclass(frozen=True)
class Task:
    """An image that goes to a label tool."""

    order: int  # position in the export, from 0
    index: int  # in the data set, as the user knows it
    file_name: str  # of the exported image; labeling.exchange.export_file_name
    image: bytes  # contents of the image file
    path: str = ""  # of the user's own file or id, if there is one
    guess: str | None = None  # the class that the network predicts
    confidence: float = 0.0  # its probability
    answer: str | None = None  # an accepted answer: a class name, SKIP_ANSWER or NONE_ANSWER
    url: str = ""  # under which the tool finds the image, where the user says so
    accepted: str | None = None  # a class that may be wrong, so that the image is shown again
    suggested: str | None = None  # the class that the other labels suggest for it

    @property
    def stem(self) -> str:
        """The file name without its ending."""
        return self.file_name.rpartition(".")[0]

    def image_size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return Image.open(io.BytesIO(self.image)).size


@dataclass(frozen=True)
class ToolAnswer:
    """What one annotator of a label tool says about one image."""

    name: str  # path or name of the image file, as the tool has it
    answer: str  # a class name, SKIP_ANSWER or NONE_ANSWER
    annotator: str = ""
    index: int | None = None  # in the data set, where the tool kept it
    is_guess: bool = False  # of the network, not confirmed by a person
    is_tag: bool = False  # an answer only if it is the name of a class


@dataclass(frozen=True)
class Format:
    """An entry of FORMATS: a format in which label tools exchange classes of images.

    write: tasks, class names -> path below the output folder -> content of the files beside the
    images.  The class names are those that can be answered.
    read: the tool's export, a file or a folder -> the answers in it; raises UserError where it is
    not in this format.
    image_path: task -> where the export has its image, below the output folder.
    refuse_class: class name -> why the format cannot hold it, or None.
    next_step: what to do with an export, for the user; {out} is its folder.
    uses_url: whether `write` reads Task.url."""

    write: Callable[[Sequence[Task], Sequence[str]], dict[str, bytes]]
    read: Callable[[Path], list[ToolAnswer]]
    image_path: Callable[[Task], str]
    next_step: str
    refuse_class: Callable[[str], str | None] = lambda name: None
    uses_url: bool = False


def refuse_as_file_name(name: str) -> str | None:
    """Why a class name cannot be part of the name of a file or folder; None if it can."""
    if any(char in name for char in "/\\"):
        return "a slash is not possible in the name of a file or folder"
    if name.startswith("."):
        return "files and folders that begin with a dot are hidden"
    if len(name.encode(errors="replace")) > 200:
        return "it is too long for the name of a file or folder"
    return None


@contextmanager
def unpack_if_zip(path: Path) -> Iterator[Path]:
    """The path itself, or for a .zip file a temporary folder with its contents.

    Raises UserError for a damaged file, SystemRefusal where it cannot be read."""
    with os_errors_refused(path, "read"):
        is_zip = path.is_file() and zipfile.is_zipfile(path)
    if not is_zip:
        yield path
        return
    with TemporaryDirectory() as folder:
        try:
            with os_errors_refused(path, "read"), zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # keeps every file below the folder
        except (zipfile.BadZipFile, ValueError, RuntimeError) as error:
            raise UserError(f"{path} cannot be unpacked ({error}): export it again") from None
        yield Path(folder)


def files_with_ending(path: Path, ending: str) -> list[Path]:
    """The file itself, or the files below a folder whose names end so, sorted."""
    with os_errors_refused(path, "read"):
        if path.is_dir():
            return sorted(file for file in path.rglob(f"*{ending}") if file.is_file())
    return [path]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.  Raises UserError if it is not UTF-8 text, SystemRefusal if it
    cannot be read."""
    with os_errors_refused(path, "read"):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file.  Raises UserError if it is damaged."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file ({to_one_line(str(error))})") from None


def render_json(content: Any) -> bytes:
    """JSON with indentation; ASCII only, so that no tool misreads it."""
    return (json.dumps(content, indent=1) + "\n").encode()


def base_name(name: str) -> str:
    """The last part of a path or address, without a query."""
    return PurePosixPath(name.replace("\\", "/")).name
