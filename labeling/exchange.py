"""The images of a run for a label tool, and the answers that come back from it.

Exported images are named <order>_<index>_<name of the user's file>. Tools show files in the order
of their names, and the index says which image it is, whatever a tool puts around the name.
"""

import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from labeling.formats.spec import Format, Task, ToolAnswer, base_name
from labeling.labels_csv import NONE_ANSWER, SKIP_ANSWER, render_labels_csv
from utils.console import to_one_line
from utils.errors import UserError
from utils.files import make_folder, os_errors_refused, write_atomically

MAX_STEM_CHARACTERS = 60
MAX_LISTED = 5
NO_CLASS_ANSWERS = (SKIP_ANSWER, NONE_ANSWER)
EXPORTED_NAME = re.compile(r"[0-9]{4,}_([0-9]{1,18})(?:_([A-Za-z0-9_-]+))?")
UPLOAD_PREFIX = re.compile("[0-9a-f]{8}-")  # Label Studio puts it before the names of uploads
# XML and CSV cannot hold these, and lone surrogates, of names that are not UTF-8, are not text.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def export_file_name(order: int, index: int, path: str, ending: str) -> str:
    """The name of an exported image file, of letters that no tool changes.

    order: position in the export; index: in the data set; path: of the user's file, or "".
    ending: of the exported file, with its dot."""
    stem = _plain_stem(path)
    return f"{order:04d}_{index}{f'_{stem}' if stem else ''}{ending}"


def _plain_stem(path: str) -> str:
    """The name of a file without folder and ending, with _ for all but plain letters and digits."""
    stem = os.path.splitext(base_name(path))[0]
    return re.sub(r"[^A-Za-z0-9-]+", "_", stem)[:MAX_STEM_CHARACTERS].strip("_-")


def classes_for_tools(class_names: Sequence[str]) -> tuple[str, ...]:
    """The classes that a tool offers: those of the data, one for images that are skipped, and one
    for those that are set aside."""
    return (*class_names, *(answer for answer in NO_CLASS_ANSWERS if answer not in class_names))


def export_tasks(
    tasks: Sequence[Task], class_names: Sequence[str], file_format: Format, out: Path
) -> None:
    """Write a new folder `out` with the images and the files of the format, completely or not at
    all.

    class_names: that can be answered.
    Raises UserError if the folder is not empty or the format cannot hold a class name,
    SystemRefusal if the folder cannot be written."""
    for name in class_names:
        reason = "it has control characters" if UNWRITABLE.search(name) else None
        if reason := reason or file_format.refuse_class(name):
            raise UserError(
                f"class {to_one_line(name)!r} cannot be written in this format: {reason}; choose "
                "another --format"
            )
    contents = file_format.write(tasks, class_names)
    contents |= {file_format.image_path(task): task.image for task in tasks}
    with os_errors_refused(out):
        if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"{out} exists and is not an empty folder: give another --out")
        make_folder(out.parent)
        staged = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            os.chmod(staged, 0o755)
            for name, content in contents.items():
                make_folder((staged / name) if name.endswith("/") else (staged / name).parent)
                if not name.endswith("/"):
                    (staged / name).write_bytes(content)
            os.replace(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


@dataclass
class ImportedAnswers:
    """What a label tool's export says about the images of a run.

    answers: index -> a class name or one of NO_CLASS_ANSWERS, of queried images.
    second_answers: the same, of images that are shown again, whose accepted answer is another one.
    corrections: the same, of other images of earlier cycles.
    ties: index -> the answers between which the annotators are undecided.
    unknown: names of images that are not of this run.
    num_guesses: of images about which only the network says something.
    num_confirmed: of images that are shown again, with the accepted answer.
    num_unchanged: of other images of earlier cycles with the accepted answer."""

    answers: dict[int, str] = field(default_factory=dict)
    second_answers: dict[int, str] = field(default_factory=dict)
    corrections: dict[int, str] = field(default_factory=dict)
    ties: dict[int, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    num_guesses: int = 0
    num_confirmed: int = 0
    num_unchanged: int = 0


def collect_answers(
    tool_answers: Iterable[ToolAnswer],
    class_names: Sequence[str],
    queries: Mapping[int, str],
    earlier: Mapping[int, str],
    second_looks: Mapping[int, str] = MappingProxyType({}),
    accept_guesses: bool = False,
) -> ImportedAnswers:
    """The majority of the annotators for every image; one who skipped an image has no vote unless
    all skipped it.

    class_names: of the run; an answer may be another one.
    queries: index -> path of the user's file, or "", of the images that are queried now.
    earlier: index -> accepted answer of images of earlier cycles.
    second_looks: index -> path, as `queries`, of those of them that are shown again.
    accept_guesses: whether a guess that nobody confirmed counts where nobody answered."""
    finder = _ImageFinder({**queries, **second_looks}, earlier)
    by_image: dict[int, list[ToolAnswer]] = defaultdict(list)
    imported = ImportedAnswers()
    known = _normalize_answers(class_names)
    for answer in _spell_as_run(tool_answers, class_names):
        if answer.is_tag and not _is_known(answer.answer, known):
            continue
        index = finder.find(answer)
        if index is not None:
            by_image[index].append(answer)
        elif answer.name not in imported.unknown:
            imported.unknown.append(answer.name)
    for index, votes in by_image.items():
        of_people = [vote for vote in votes if not vote.is_guess]
        if not of_people and not accept_guesses:
            imported.num_guesses += 1
            continue
        winners = _most_common({(vote.annotator, vote.answer) for vote in of_people or votes})
        if len(winners) > 1:
            imported.ties[index] = winners
        elif index in queries:
            imported.answers[index] = winners[0]
        elif _normalize(winners[0]) == _normalize(earlier[index]):
            imported.num_confirmed += index in second_looks
            imported.num_unchanged += index not in second_looks
        elif index in second_looks:
            imported.second_answers[index] = winners[0]
        else:
            imported.corrections[index] = winners[0]
    return imported


def _most_common(votes: Collection[tuple[str, str]]) -> list[str]:
    """The most common answers of (annotator, answer), several if they are as common."""
    decided = [answer for _, answer in votes if answer != SKIP_ANSWER]
    counts = Counter(decided or [SKIP_ANSWER])
    largest = max(counts.values())
    return sorted(answer for answer, count in counts.items() if count == largest)


class _ImageFinder:
    """Finds the image of a run that a tool's answer is about."""

    def __init__(self, queries: Mapping[int, str], earlier: Collection[int]):
        self.queries, self.earlier = queries, earlier
        self.by_name: dict[str, int | None] = {}  # path or base name; None where it is ambiguous
        for index, path in queries.items():
            base = _normalize(base_name(path))
            for name in {_normalize(path), base, _remove_upload_prefix(base)} - {""}:
                self.by_name[name] = None if name in self.by_name else index

    def find(self, answer: ToolAnswer) -> int | None:
        """The index of the image; None if it is not one of this run."""
        name = base_name(unquote(answer.name)).rpartition(":")[2]  # datumaro's <class>:<name>
        name = UPLOAD_PREFIX.sub("", name, count=1) if UPLOAD_PREFIX.match(name) else name
        match = EXPORTED_NAME.fullmatch(name.partition(".")[0])
        if match and self._is_named(int(match[1]), match[2] or ""):
            return int(match[1])
        path = _normalize(unquote(answer.name).replace("\\", "/"))
        for known in (path, _normalize(name)):
            if self.by_name.get(known) is not None:
                return self.by_name[known]
        if not answer.name and answer.index in (*self.queries, *self.earlier):
            return answer.index
        return None

    def _is_named(self, index: int, stem: str) -> bool:
        """Whether an exported image of this index has this name."""
        if index in self.queries:
            return _plain_stem(self.queries[index]) == stem
        return index in self.earlier


def _spell_as_run(
    tool_answers: Iterable[ToolAnswer], class_names: Iterable[str]
) -> Iterator[ToolAnswer]:
    """The answers, with class names and NO_CLASS_ANSWERS in the case of the run, so that `Cat` and
    `cat` are neither two classes nor a tie.  A name that may be one of two stays as it is."""
    names = [*class_names, *NO_CLASS_ANSWERS]
    exact = {_normalize(name) for name in names}
    folded: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folded[_normalize(name).casefold()].add(name)
    for answer in tool_answers:
        text = _normalize(answer.answer)
        found = folded.get(text.casefold(), set())
        is_other_case = text not in exact and len(found) == 1
        yield replace(answer, answer=next(iter(found))) if is_other_case else answer


def _normalize_answers(class_names: Iterable[str]) -> set[str]:
    return {_normalize(to_one_line(name)) for name in (*class_names, *NO_CLASS_ANSWERS)}


def _is_known(answer: str, known: set[str]) -> bool:
    """Whether an answer is one of `_normalize_answers`; classes.txt has their names on one line."""
    return _normalize(to_one_line(answer)) in known


def _remove_upload_prefix(name: str) -> str:
    """The name of a file as web servers in Django keep it, such as Label Studio's."""
    return re.sub(r"[^-\w.]", "", name.replace(" ", "_"))


def _normalize(name: str) -> str:
    """With one encoding of accents; file systems and tools have several."""
    return unicodedata.normalize("NFC", name.strip())


def write_labels_csv(
    labels_file: Path, answers: Mapping[int, str], class_names: Collection[str], *, replace: bool
) -> list[str]:
    """Write labels.csv and return the names of classes that the data do not have.

    answers: index -> a class name or one of NO_CLASS_ANSWERS.
    replace: whether answers that are in an existing file and not in these may be lost.
    Raises UserError if they would be lost, SystemRefusal if the file cannot be written."""
    known = _normalize_answers(class_names)
    new_classes = [name for name in dict.fromkeys(answers.values()) if not _is_known(name, known)]
    content = render_labels_csv(answers.items(), new_classes, class_names=class_names)
    if not replace and os.path.lexists(labels_file):
        with os_errors_refused(labels_file, "read"):
            is_link = labels_file.is_symlink()
            present = b"" if is_link else labels_file.read_bytes()
        if is_link or not set(present.splitlines()) <= set(content.splitlines()):
            raise UserError(
                f"{labels_file} exists and has other answers: run main_al.py first so that it "
                "takes them, or add --replace"
            )
    write_atomically(labels_file, content)
    return new_classes


def describe_import(
    imported: ImportedAnswers,
    queries: Sequence[int],
    takes_corrections: bool,
    num_second_looks: int = 0,
) -> list[str]:
    """Lines for the user: what was answered, and what was not and why."""
    skipped, set_aside = (
        sum(answer == word for answer in imported.answers.values()) for word in NO_CLASS_ANSWERS
    )
    missing = [index for index in queries if index not in imported.answers]
    labeled = len(imported.answers) - skipped - set_aside
    first = f"{labeled} of {len(queries)} queries answered"
    first += f", {skipped} skipped" if skipped else ""
    first += f", {set_aside} set aside" if set_aside else ""
    first += f", {len(missing)} missing: {_list_some(missing)}" if missing else ""
    lines = [first] if queries else []
    if num_second_looks:
        num_changed, num_kept = len(imported.second_answers), imported.num_confirmed
        lines.append(
            f"{num_changed + num_kept} of {num_second_looks} second looks answered: {num_changed} "
            f"changed, {num_kept} kept"
        )
    for index, names in imported.ties.items():
        lines.append(f"image {index} is undecided: {_list_some(map(repr, names))}")
    if imported.num_guesses:
        lines.append(
            f"guesses that nobody confirmed: {imported.num_guesses}, not counted as answers "
            "(--accept-guesses counts them)"
        )
    if imported.corrections:
        changed = _list_some(f"image {i}: {name!r}" for i, name in imported.corrections.items())
        taken = "taken as corrections" if takes_corrections else "ignored (--corrections)"
        lines.append(f"other answers than the accepted ones, {taken}: {changed}")
    if imported.unknown:
        lines.append(f"not images of this run, left out: {_list_some(imported.unknown)}")
    return lines


def _list_some(things: Iterable[object]) -> str:
    """The first few things."""
    texts = [to_one_line(str(thing)) for thing in things]
    more = f" and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return ", ".join(texts[:MAX_LISTED]) + more
