"""Which image a path in labels.csv names."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from urllib.parse import unquote

from labeling.spreadsheet_values import undo_double_encoding
from utils.console import escape_control_characters, to_one_line
from utils.spreadsheets import unescape_cell

# Label Studio stores an uploaded file under a prefix and without unusual characters in its name.
_UPLOAD = re.compile(r"(?:.*/)?upload/[0-9]+/[0-9A-Za-z]+-(.+)")


class ImageFinder:
    """Finds images by their paths."""

    def __init__(self, paths: Mapping[int, str]):
        """paths: of the images, by their indices; images without one are never found."""
        self.paths = {index: path for index, path in paths.items() if path}

    @cached_property
    def _by_path(self) -> dict[str, set[int]]:
        return _group((_normalize(path), index) for index, path in self.paths.items())

    @cached_property
    def _by_ending(self) -> dict[str, set[int]]:
        endings = ((_normalize(path), index) for index, path in self.paths.items())
        return _group((part, index) for path, index in endings for part in _endings(path))

    @cached_property
    def _by_printed_path(self) -> dict[str, set[int]]:
        forms = (to_one_line, escape_control_characters)
        return _group((form(path), index) for index, path in self.paths.items() for form in forms)

    @cached_property
    def _by_upload_name(self) -> dict[str, set[int]]:
        names = ((os.path.basename(path), index) for index, path in self.paths.items())
        return _group((_clean_upload_name(name), index) for name, index in names)

    def find(self, cell: str) -> set[int]:
        """The images that a cell may mean: one where it is clear, none where nothing fits.

        In this order: the exact path; images whose paths end with the cell; the image with whose
        path the cell ends, as an absolute path does; the base name of a file that was uploaded to
        Label Studio; the path as the log shows it."""
        text = _normalize(unescape_cell(cell))
        forms = (text, text.replace("\\", "/"), unquote(text), undo_double_encoding(text))
        for form in dict.fromkeys(forms):
            for found in (self._by_path.get(form), self._by_ending.get(form)):
                if found:
                    return found
            for ending in _endings(form):
                if ending in self._by_path:
                    return self._by_path[ending]
            upload = _UPLOAD.fullmatch(form)
            if upload and (found := self._by_upload_name.get(_clean_upload_name(upload[1]))):
                return found
        return self._by_printed_path.get(to_one_line(text), set())


def _group(pairs: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    groups: dict[str, set[int]] = defaultdict(set)
    for key, index in pairs:
        groups[key].add(index)
    return dict(groups)


def _normalize(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip())


def _endings(path: str) -> list[str]:
    """The ends of a path or address after each of its separators, the longest first."""
    return [path[match.end() :] for match in re.finditer("[/=]", path)]


def _clean_upload_name(name: str) -> str:
    """A file name as Django stores it."""
    return re.sub(r"[^-\w.]", "", _normalize(name).replace(" ", "_"))
