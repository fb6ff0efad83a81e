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
from reports.consistency import once
from reports.curves import draw
from reports.file_names import FILES
from reports.output_files import target
from reports.runs import MEASURES, UNFINISHED, Sample, grouped, read_folders
from reports.summary import csv, markdown, summarise
from utils.console import one_line, say, spare_terminal
from utils.errors import Refused, UserError
from utils.options.cli import OneLineParser, complain
from utils.options.converters import above_zero, not_empty, one_of


def main(argv=None) -> int:
    spare_terminal()
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.follow and not args.out:
        parser.error("--follow is read only with --out")
    try:
        follow(args) if args.follow else report(args)
    except UserError as error:
        return complain(error, "report.py")
    except KeyboardInterrupt:
        say("report.py: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineParser:
    parser = OneLineParser("report.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("folder", type=not_empty, nargs="+", help="folders of runs, for example runs")
    add("--measure", type=one_of(MEASURES), default="top1", help=", ".join(MEASURES))
    add(
        "--out",
        type=not_empty,
        metavar="DIR",
        help=f"write the whole report into this folder: {', '.join(FILES)}",
    )
    add(
        "--follow",
        type=above_zero,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="write it anew every so many seconds (default: 30) until all runs are finished",
    )
    add(
        "--figure",
        type=target(".png", ".pdf", ".svg"),
        help="write the curves here (.png, .pdf, .svg)",
    )
    add("--table", type=target(".md", ".csv"), help="write the table here (.md or .csv)")
    return parser


def report(args) -> None:
    """Print the table, and on standard error what is not in it; write the files asked for.

    Raises UserError for what the user can mend."""
    output_files.check(paths(args))
    samples, notes = gathered(args)
    for note in notes:
        say(one_line(note), "stderr")
    if not samples:
        raise UserError(f"no finished run below {', '.join(args.folder)}")
    table = written(args, samples, notes)
    if args.out:
        say(f"written: {Path(args.out, FILES[0])} and what is beside it", "stderr")
    show(table)


def follow(args) -> None:
    """Report anew as runs go on, until all that were begun are finished and no more have begun
    since the last look; the table at the end.

    Raises UserError for what the user can mend; that nothing is finished yet is none."""
    output_files.check(paths(args))
    table, before = "", None
    while True:
        samples, notes = gathered(args)
        unfinished = sum(note.endswith(UNFINISHED) for note in notes)
        now = [str(sample.folder) for sample in samples], notes
        if now != before:
            say(f"{len(samples)} finished, {unfinished} not yet ({time.strftime('%X')})", "stderr")
            table = written(args, samples, notes) if samples else ""
        elif samples and not unfinished:
            break
        before = now
        time.sleep(args.follow)
    show(table)


def paths(args) -> list[Path]:
    """The files to be written."""
    out = [Path(args.out, name) for name in FILES] if args.out else []
    return [*out, *(path for path in (args.table, args.figure) if path)]


def gathered(args) -> tuple[list[Sample], list[str]]:
    """The runs to report, and in words what is left out or should be known of them."""
    samples, notes = read_folders([Path(folder) for folder in args.folder])
    if args.out:
        samples, more = once(samples)
        notes += more
    return samples, notes


def written(args, samples: list[Sample], notes: list[str]) -> str:
    """Write all files, or none; -> the table."""
    summary = summarise(grouped(samples), args.measure)
    table = markdown(summary)
    contents = {}
    if args.out:
        from reports.build import files
        from reports.images_seen import images_seen
        from reports.run_images import (
            pictures,  # and with it torch, for which a table need not wait
        )

        found = files(samples, notes, args.measure, pictures, images_seen)
        contents |= {Path(args.out, name): content for name, content in found.items()}
    if args.table:
        as_csv = args.table.suffix.lower() == ".csv"
        contents[args.table] = (csv("curves", summary) if as_csv else table).encode()
    if args.figure:
        kind = args.figure.suffix.lower().removeprefix(".")
        contents[args.figure] = draw(summary, args.measure, kind)
    output_files.write(contents)
    return table


def show(table: str) -> None:
    """Print the table, last: who does not take it has the files at least."""
    error = say(table.rstrip("\n"))
    if error and not isinstance(error, BrokenPipeError):  # or who reads has enough, as in `| head`
        raise Refused(f"the table cannot be printed ({error.strerror})")


if __name__ == "__main__":
    sys.exit(main())
