"""Turn finished runs into tables, learning curves and a web page.

python report.py FOLDER... --out DIR

The report covers every finished run below the folders (config.json and results.csv).  Runs that
differ only in split and seed form a group; mean and standard deviation (n - 1) are taken over a
group, for each number of labels.  If two groups share data set, training and method, their names
show the options in which they differ.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reports import output_files
from reports.consistency import deduplicate_and_check
from reports.curves import draw_figure
from reports.file_names import DEFAULT_MAPS, MAP_FILES, MAX_MAPS, REPORT_FILES
from reports.output_files import path_ending_in
from reports.runs import (
    MEASURES,
    UNFINISHED_NOTE_ENDING,
    RunResult,
    make_results_frame,
    read_runs_below_all,
)
from reports.summary import render_csv, summarize_runs, summary_markdown
from utils.console import make_streams_safe, print_line, to_one_line
from utils.errors import SystemRefusal, UserError
from utils.memory import memory_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import make_number_type, non_empty_text, one_of, positive_float


def main(argv: Sequence[str] | None = None) -> int:
    make_streams_safe()
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.out and (args.follow or args.maps is not None):
        flag = "--follow" if args.follow else "--maps"
        parser.error(f"{flag} has no effect here; it needs --out")
    try:
        with memory_errors_refused("report fewer runs at a time"):
            follow_runs(args) if args.follow else write_report(args)
    except UserError as error:
        return print_error(error, "report.py")
    except KeyboardInterrupt:
        print_line("report.py: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineErrorParser:
    description = (__doc__ or "").partition("\n")[0]
    parser = OneLineErrorParser("report.py", description=description, allow_abbrev=False)
    add = parser.add_argument
    add("folder", type=non_empty_text, nargs="+", help="folders that contain runs, e.g. runs")
    add(
        "--measure",
        type=one_of(MEASURES),
        default="top1",
        help=f"accuracy to report, one of {', '.join(MEASURES)} (default: top1)",
    )
    add(
        "--out",
        type=non_empty_text,
        metavar="DIR",
        help=f"write the full report into this folder: {', '.join((*REPORT_FILES, *MAP_FILES))}",
    )
    add(
        "--maps",
        type=make_number_type(int, at_least=0, at_most=MAX_MAPS),
        metavar="N",
        help="number of configurations of which the report has a map of the features, that of "
        f"their first run; 0: none (default: {DEFAULT_MAPS})",
    )
    add(
        "--follow",
        type=positive_float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="rewrite the report at this interval in seconds (default: 30) until all runs are "
        "finished",
    )
    add(
        "--figure",
        type=path_ending_in(".png", ".pdf", ".svg"),
        help="write the learning curves to this file (.png, .pdf or .svg)",
    )
    add(
        "--table",
        type=path_ending_in(".md", ".csv"),
        help="write the table to this file (.md or .csv)",
    )
    return parser


def write_report(args: argparse.Namespace) -> None:
    """Write the requested files and print the table; runs that are left out go to standard error.

    Raises UserError for bad input and for files that cannot be written."""
    output_files.check_writable(output_paths(args))
    runs, notes = read_runs(args)
    for note in notes:
        print_line(to_one_line(note), "stderr")
    if not runs:
        raise UserError(f"no finished run below {', '.join(args.folder)}")
    table = write_outputs(args, runs, notes)
    if args.out:
        page = Path(args.out, REPORT_FILES[0])
        print_line(f"wrote {page} and the other files of the report", "stderr")
    print_table(table)


def follow_runs(args: argparse.Namespace) -> None:
    """Rewrite the report whenever runs have progressed, and print the table at the end.

    Stops when every run is finished and none has appeared since the previous check.  Raises
    UserError for bad input, but not while no run is finished yet."""
    output_files.check_writable(output_paths(args))
    table, previous = "", None
    while True:
        runs, notes = read_runs(args)
        num_unfinished = sum(note.endswith(UNFINISHED_NOTE_ENDING) for note in notes)
        current = [str(run.folder) for run in runs], notes
        if current != previous:
            clock = time.strftime("%X")
            print_line(f"{len(runs)} finished, {num_unfinished} unfinished ({clock})", "stderr")
            table = write_outputs(args, runs, notes) if runs else ""
        elif runs and not num_unfinished:
            break
        previous = current
        time.sleep(args.follow)
    print_table(table)


def output_paths(args: argparse.Namespace) -> list[Path]:
    """The files that the command line requests."""
    names = (*REPORT_FILES, *MAP_FILES) if args.out else ()
    paths = [Path(args.out, name) for name in names]
    return [*paths, *(path for path in (args.table, args.figure) if path)]


def read_runs(args: argparse.Namespace) -> tuple[list[RunResult], list[str]]:
    """The runs to report, and notes on those left out and on inconsistencies."""
    runs, notes = read_runs_below_all([Path(folder) for folder in args.folder])
    if args.out:
        runs, more_notes = deduplicate_and_check(runs)
        notes += more_notes
    return runs, notes


def write_outputs(args: argparse.Namespace, runs: list[RunResult], notes: list[str]) -> str:
    """Write all requested files, or none if one fails -> the table as Markdown."""
    summary = summarize_runs(make_results_frame(runs), args.measure)
    table = summary_markdown(summary)
    contents: dict[Path, bytes] = {}
    if args.out:
        # These import torch, which takes seconds and which a table does not need.
        from reports.build import build_report
        from reports.feature_maps import load_run_map
        from reports.images_seen import count_images_seen
        from reports.run_images import load_run_images

        num_maps = DEFAULT_MAPS if args.maps is None else args.maps
        readers = load_run_images, count_images_seen, load_run_map
        files = build_report(runs, notes, args.measure, *readers, num_maps)
        contents |= {Path(args.out, name): content for name, content in files.items()}
    if args.table:
        as_csv = args.table.suffix.lower() == ".csv"
        contents[args.table] = (render_csv("curves", summary) if as_csv else table).encode()
    if args.figure:
        kind = args.figure.suffix.lower().removeprefix(".")
        contents[args.figure] = draw_figure(summary, args.measure, kind)
    output_files.write_all_or_none(contents)
    output_files.remove(path for path in output_paths(args) if path not in contents)
    return table


def print_table(table: str) -> None:
    """Print the table after everything else, so that a closed terminal costs no file.

    Raises SystemRefusal if it cannot be printed; a reader that closes its pipe early, such as
    `head`, is no error."""
    error = print_line(table.rstrip("\n"))
    if error and not isinstance(error, BrokenPipeError):
        raise SystemRefusal(f"the table cannot be printed ({error.strerror})")


if __name__ == "__main__":
    sys.exit(main())
