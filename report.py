"""From runs to tables, curves and a page: python report.py FOLDER... --out DIR

Reads config.json and results.csv of every finished run below the folders, groups the runs that
differ in their split and seed alone, and gives the mean and the standard deviation (over those,
n−1) per number of labels. Groups of one data set, training and method are told apart by what
differs.
"""

import sys
import time
from pathlib import Path

from reports import output_files
from reports.consistency import deduplicate_and_check
from reports.curves import draw_figure
from reports.file_names import REPORT_FILES
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
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text, one_of, positive_float


def main(argv=None) -> int:
    make_streams_safe()
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.follow and not args.out:
        parser.error("--follow is read only with --out")
    try:
        follow_runs(args) if args.follow else write_report(args)
    except UserError as error:
        return print_error(error, "report.py")
    except KeyboardInterrupt:
        print_line("report.py: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(
        "report.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("folder", type=non_empty_text, nargs="+", help="folders of runs, for example runs")
    add("--measure", type=one_of(MEASURES), default="top1", help=", ".join(MEASURES))
    add(
        "--out",
        type=non_empty_text,
        metavar="DIR",
        help=f"write the whole report into this folder: {', '.join(REPORT_FILES)}",
    )
    add(
        "--follow",
        type=positive_float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="write it anew every so many seconds (default: 30) until all runs are finished",
    )
    add(
        "--figure",
        type=path_ending_in(".png", ".pdf", ".svg"),
        help="write the curves here (.png, .pdf, .svg)",
    )
    add("--table", type=path_ending_in(".md", ".csv"), help="write the table here (.md or .csv)")
    return parser


def write_report(args) -> None:
    """Print the table, and on standard error what is not in it; write the files asked for.

    Raises UserError for what the user can mend."""
    output_files.check_writable(output_paths(args))
    samples, notes = read_runs(args)
    for note in notes:
        print_line(to_one_line(note), "stderr")
    if not samples:
        raise UserError(f"no finished run below {', '.join(args.folder)}")
    table = write_outputs(args, samples, notes)
    if args.out:
        print_line(f"written: {Path(args.out, REPORT_FILES[0])} and what is beside it", "stderr")
    print_table(table)


def follow_runs(args) -> None:
    """Report anew as runs go on, until all that were begun are finished and no more have begun
    since the last look; the table at the end.

    Raises UserError for what the user can mend; that nothing is finished yet is none."""
    output_files.check_writable(output_paths(args))
    table, before = "", None
    while True:
        samples, notes = read_runs(args)
        unfinished = sum(note.endswith(UNFINISHED_NOTE_ENDING) for note in notes)
        now = [str(sample.folder) for sample in samples], notes
        if now != before:
            print_line(
                f"{len(samples)} finished, {unfinished} not yet ({time.strftime('%X')})", "stderr"
            )
            table = write_outputs(args, samples, notes) if samples else ""
        elif samples and not unfinished:
            break
        before = now
        time.sleep(args.follow)
    print_table(table)


def output_paths(args) -> list[Path]:
    """The files to be written."""
    out = [Path(args.out, name) for name in REPORT_FILES] if args.out else []
    return [*out, *(path for path in (args.table, args.figure) if path)]


def read_runs(args) -> tuple[list[RunResult], list[str]]:
    """The runs to report, and in words what is left out or should be known of them."""
    samples, notes = read_runs_below_all([Path(folder) for folder in args.folder])
    if args.out:
        samples, more = deduplicate_and_check(samples)
        notes += more
    return samples, notes


def write_outputs(args, samples: list[RunResult], notes: list[str]) -> str:
    """Write all files, or none; -> the table."""
    summary = summarize_runs(make_results_frame(samples), args.measure)
    table = summary_markdown(summary)
    contents = {}
    if args.out:
        from reports.build import build_report
        from reports.images_seen import count_images_seen
        from reports.run_images import (
            load_run_images,  # and with it torch, for which a table need not wait
        )

        found = build_report(samples, notes, args.measure, load_run_images, count_images_seen)
        contents |= {Path(args.out, name): content for name, content in found.items()}
    if args.table:
        as_csv = args.table.suffix.lower() == ".csv"
        contents[args.table] = (render_csv("curves", summary) if as_csv else table).encode()
    if args.figure:
        kind = args.figure.suffix.lower().removeprefix(".")
        contents[args.figure] = draw_figure(summary, args.measure, kind)
    output_files.write_all_or_none(contents)
    return table


def print_table(table: str) -> None:
    """Print the table, last: who does not take it has the files at least."""
    error = print_line(table.rstrip("\n"))
    if error and not isinstance(error, BrokenPipeError):  # or who reads has enough, as in `| head`
        raise SystemRefusal(f"the table cannot be printed ({error.strerror})")


if __name__ == "__main__":
    sys.exit(main())
