"""Exchange a run's images and answers with label tools.

python labels.py export RUN --format FORMAT --out FOLDER
python labels.py import RUN EXPORT --format FORMAT

`export` writes the images that the run asks about, in its order and with the network's guesses, as
a folder that a label tool opens. `import` turns what the tool exports into labels.csv in the run
folder; the run's own command then continues. docs/labeling.md has the steps in each tool.
"""

import argparse
import base64
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import export as data_export
from data.active_dataset import ActiveDataset, DataOptions
from experiment import setup
from experiment.config import SCHEMA
from experiment.finished_runs import require_run_config
from labeling.exchange import (
    classes_for_tools,
    collect_answers,
    describe_import,
    export_file_name,
    export_tasks,
    write_labels_csv,
)
from labeling.formats import FORMATS
from labeling.formats.spec import Task
from labeling.oracle import LABELS_FILE, QUERY_FILES
from labeling.queries import png_data_uri
from utils.console import make_streams_safe, print_line, to_one_line
from utils.errors import UserError, WaitingForLabels
from utils.files import os_errors_refused
from utils.memory import memory_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, one_of
from utils.options.option import OptionValues
from utils.options.schema import fill_defaults
from utils.spreadsheets import unescape_cell

PROGRAM = "labels.py"
QUERIES, ANSWERS, ALL = "queries", "answers", "all"
IMAGES_OF_BROWSERS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 3 if queries are still without an answer."""
    make_streams_safe()
    args = build_parser().parse_args(argv)
    try:
        with memory_errors_refused("close other programs, or use a machine with more memory"):
            return export_labels(args) if args.command == "export" else import_labels(args)
    except UserError as error:
        return print_error(error, PROGRAM)
    except KeyboardInterrupt:
        print_line(f"{PROGRAM}: interrupted", "stderr")
        return 130


def build_parser() -> OneLineErrorParser:
    """The command line of labels.py."""
    parser = OneLineErrorParser(
        PROGRAM,
        description="Exchange a run's images and answers with label tools.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="export|import")
    formats = ", ".join(FORMATS)
    for name, text in (
        ("export", "write the images of a run as a folder for a label tool"),
        ("import", "turn the export of a label tool into the labels.csv of a run"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        add = command.add_argument
        add("run", type=non_empty_text, help="run folder, with config.json")
        if name == "import":
            add("source", type=non_empty_text, metavar="export", help="file or folder of the tool")
        add(
            "--format",
            type=one_of(FORMATS),
            required=True,
            metavar="FORMAT",
            help=f"format of the label tool: {formats}",
        )
        (_add_export_options if name == "export" else _add_import_options)(command)
    return parser


def _add_export_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--out", type=non_empty_text, required=True, metavar="FOLDER", help="folder to create")
    add(
        "--what",
        type=one_of((QUERIES, ANSWERS, ALL)),
        default=QUERIES,
        help="queries: the images that the run asks about (default); answers: those that have an "
        "accepted answer, with it; all: both",
    )
    add(
        "--images-prefix",
        type=non_empty_text,
        metavar="URL",
        help="for Label Studio: read the images from this address or folder instead of from the "
        "tasks themselves; put before the name of each file in images/",
    )
    add(
        "--data-root",
        type=non_empty_text,
        metavar="FOLDER",
        help="where the data of the run are now, if they have moved",
    )


def _add_import_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--replace", action="store_true", help="replace a labels.csv that has other answers")
    add(
        "--corrections",
        action="store_true",
        help="also take other answers to images of earlier cycles; the run then goes back to them",
    )
    add(
        "--accept-guesses",
        action="store_true",
        help="also count guesses that nobody confirmed; only if somebody looked at all of them",
    )


def export_labels(args: argparse.Namespace) -> int:
    """Write the folder for a label tool. Raises UserError for what the user can correct."""
    run, out, file_format = Path(args.run), Path(args.out), FORMATS[args.format]
    if args.images_prefix and not file_format.uses_url:
        raise UserError("--images-prefix has no effect here; it needs --format label-studio")
    options, fingerprint = read_run(run)
    queries = [] if args.what == ANSWERS else read_queries(run)
    answers = [] if args.what == QUERIES else read_accepted(run)
    if not queries and args.what == QUERIES:
        raise UserError(
            f"{run} asks about no image now: run its main_al.py command, or add --what answers"
        )
    if not queries and not answers:
        raise UserError(f"{run} has no answers yet: leave --what out")
    if args.data_root:
        options = options.replace(data_root=args.data_root)
    dataset, _ = setup.open_dataset(options)
    if fingerprint not in (dataset.fingerprint, dataset.contents_fingerprint):
        raise UserError(
            f"{run} used other data (fingerprint {fingerprint}, not {dataset.fingerprint}): give "
            "their folder with --data-root"
        )
    root = Path(options.of(DataOptions).data_root).expanduser()
    own_files = root if options.dataset == "folder" else None
    shown_again = {row.index for row in queries}  # with --what all: once
    rows = [*queries, *(row for row in answers if row.index not in shown_again)]
    names = run_class_names(run, dataset)
    tasks = list(make_tasks(rows, dataset, names, own_files, args.images_prefix))
    export_tasks(
        tasks, names if args.what == ANSWERS else classes_for_tools(names), file_format, out
    )
    next_step = "" if args.what == ANSWERS else f": {file_format.next_step.format(out=out)}"
    again = sum(bool(row.accepted) for row in queries)
    words = f", {again} of them for a second look" if again else ""
    print_line(f"{len(tasks)} images in {out}{words}{next_step}")
    return 0


def import_labels(args: argparse.Namespace) -> int:
    """Write labels.csv. Raises UserError for what the user can correct."""
    run, source = Path(args.run), Path(args.source)
    read_run(run)
    if not source.exists():
        raise UserError(f"{source} does not exist: give the file or folder of the label tool")
    asked = read_queries(run)
    queries = {row.index: row.path for row in asked if not row.accepted}
    second_looks = {row.index: row.path for row in asked if row.accepted}
    class_names, _ = data_export.read_export_files(run)
    earlier = {row.index: class_names[row.label] for row in read_accepted(run)}
    answers = FORMATS[args.format].read(source)
    imported = collect_answers(
        answers, class_names, queries, earlier, second_looks, args.accept_guesses
    )
    lines = describe_import(imported, list(queries), args.corrections, len(second_looks))
    taken = {index: imported.answers[index] for index in queries if index in imported.answers}
    taken |= imported.second_answers
    taken |= imported.corrections if args.corrections else {}
    if not taken:
        lines = lines or [f"{source} has no answer to an image of {run}"]
        raise UserError(*(f"nothing to import: {line}" for line in lines))
    new_classes = write_labels_csv(run / LABELS_FILE, taken, class_names, replace=args.replace)
    if new_classes:
        lines.append(f"new classes: {', '.join(map(repr, new_classes))}")
    for line in (*lines, f"wrote {run / LABELS_FILE}"):
        print_line(to_one_line(line))
    is_complete = len(imported.answers) == len(queries)
    return 0 if is_complete else WaitingForLabels.exit_code


def read_run(folder: Path) -> tuple[OptionValues, str]:
    """The options of a run, and the fingerprint of its data.

    Raises UserError if the folder is not a run folder."""
    config = require_run_config(folder)
    names = {option.name for option in SCHEMA.options()}
    values = {name: value for name, value in config.items() if name in names}
    options = fill_defaults(SCHEMA, values | {"device": "cpu", "amp": False})
    return options, config["identity"]["data"]


@dataclass(frozen=True)
class RunImage:
    """An image that a run asks about or has asked about."""

    index: int  # in the data set, as the user knows it
    path: str = ""  # as queries.csv has it
    guess: str | None = None
    confidence: float = 0.0
    label: int = -1  # the accepted answer
    accepted: str = ""  # that of an image that is shown again, because it may be wrong
    suggested: str = ""  # the class that the other labels suggest for it


def read_queries(run: Path) -> list[RunImage]:
    """The images that the run asks about, in its order, after those whose labels it shows again;
    none if it does not wait for labels."""

    def read(row: dict[str, str]) -> RunImage:
        return RunImage(
            int(row["index"]),
            unescape_cell(row["path"]),
            unescape_cell(row["guess"]) or None,
            float(row["confidence"] or 0),
            accepted=unescape_cell(row.get("accepted") or ""),
            suggested=unescape_cell(row.get("suggested") or ""),
        )

    return _read_table(run / QUERY_FILES[0], read)


def read_accepted(run: Path) -> list[RunImage]:
    """The images whose labels the run has, in the order in which it got them."""
    num_classes = len(data_export.read_class_lines(run))

    def read(row: dict[str, str]) -> RunImage:
        if not 0 <= (label := int(row["label"])) < num_classes:
            raise ValueError
        return RunImage(int(row["index"]), label=label)

    return _read_table(run / "acquired.csv", read)


def _read_table(path: Path, read: Callable[[dict[str, str]], RunImage]) -> list[RunImage]:
    """The rows of a table of the run; none if there is no such file.

    Raises UserError if it is damaged, SystemRefusal if it cannot be read."""
    with os_errors_refused(path, "read"):
        if not path.exists():
            return []
        text = path.read_bytes().decode(errors="surrogateescape")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return [read(row) for row in rows]
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error):
        raise UserError(
            f"{path}, line {rows.line_num}, is damaged: run main_al.py again, which writes the file"
        ) from None


def run_class_names(run: Path, dataset: ActiveDataset) -> tuple[str, ...]:
    """The classes in the order of classes.txt, as the data spell them, and then those that only the
    data have: a run may have classes that the data do not have, and the other way round."""
    lines, _ = data_export.read_export_files(run)
    names = {to_one_line(name): name for name in dataset.class_names}
    added = [name for line, name in names.items() if line not in lines]
    return (*(names.get(line, line) for line in lines), *added)


def make_tasks(
    rows: Sequence[RunImage],
    dataset: ActiveDataset,
    class_names: Sequence[str],
    own_files: Path | None,
    images_prefix: str | None,
) -> Iterator[Task]:
    """The images with their contents, in this order.

    class_names: by the numbers of the accepted answers.
    own_files: the folder to which the paths of the data set are relative, where the user's own
    files are exported as they are, if a browser shows them.
    images_prefix: what to put before the file name where a tool reads the image from there.
    Raises UserError where an image cannot be had."""
    positions = {int(index): position for position, index in enumerate(dataset.dataset_indices)}
    for order, row in enumerate(rows):
        position = positions.get(row.index)
        if position is None:
            raise UserError(f"image {row.index} is not in the data: give --data-root")
        path = row.path or (dataset.image_paths[position] if dataset.image_paths else "")
        content, ending = _read_image(dataset, position, path, own_files)
        name = export_file_name(order, row.index, path, ending)
        answer = class_names[row.label] if row.label >= 0 else None
        yield Task(
            order,
            row.index,
            name,
            content,
            to_one_line(path),
            row.guess,
            row.confidence,
            answer,
            url=f"{images_prefix}{name}" if images_prefix else "",
            accepted=row.accepted or None,
            suggested=row.suggested or None,
        )


def _read_image(
    dataset: ActiveDataset, position: int, path: str, own_files: Path | None
) -> tuple[bytes, str]:
    """An image file and its ending: the user's own, or a PNG of what the run sees."""
    file = own_files / path if own_files else None
    if dataset.image_files and dataset.image_files[position]:
        file = Path(dataset.image_files[position])
    if file and file.suffix.lower() in IMAGES_OF_BROWSERS:
        with os_errors_refused(file, "read"):
            return file.read_bytes(), file.suffix.lower()
    (pixels,) = dataset.pixels_to_show(np.array([position]))
    if pixels is None:
        raise UserError(
            f"image {dataset.dataset_indices[position]} has no image file that a label tool shows: "
            "the data are feature vectors; repeat the run's command with --images"
        )
    return base64.b64decode(png_data_uri(pixels).partition(",")[2]), ".png"


if __name__ == "__main__":
    sys.exit(main())
