"""From runs to a table and a figure: python report.py FOLDER [--figure F.png] [--table F.md]

Reads config.json and results.csv of every finished run below FOLDER, groups the runs that differ in
their split and seed alone, and gives the mean and the standard deviation (over those, n−1) per
number of labels. Groups of one data set, training and method are told apart by what differs.
"""

import sys
from pathlib import Path

from utils.errors import Refused, UserError
from utils.options.command import OneLineParser, complain
from utils.options.kinds import not_empty, one_of
from utils.reports import targets
from utils.reports.curves import draw
from utils.reports.runs import MEASURES, grouped, read_folder
from utils.reports.table import csv, markdown, summarise
from utils.reports.targets import target
from utils.run.log import one_line, say, spare_terminal


def main(argv=None) -> int:
    spare_terminal()
    args = build_parser().parse_args(argv)
    try:
        report(args)
    except UserError as error:
        return complain(error, "report.py")
    except KeyboardInterrupt:
        say("report.py: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineParser:
    parser = OneLineParser("report.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("folder", type=not_empty, help="a folder of runs, for example runs")
    add("--measure", type=one_of(MEASURES), default="top1", help=", ".join(MEASURES))
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
    targets.check([path for path in (args.table, args.figure) if path])
    samples, notes = read_folder(Path(args.folder))
    for note in notes:
        say(one_line(note), "stderr")
    if not samples:
        raise UserError(f"no finished run below {args.folder}")
    summary = summarise(grouped(samples), args.measure)
    table = markdown(summary)
    contents = {}
    if args.table:
        as_csv = args.table.suffix.lower() == ".csv"
        contents[args.table] = (csv(summary) if as_csv else table).encode()
    if args.figure:
        kind = args.figure.suffix.lower().removeprefix(".")
        contents[args.figure] = draw(summary, args.measure, kind)
    targets.write(contents)
    show(table)


def show(table: str) -> None:
    """Print the table, last: who does not take it has the files at least."""
    error = say(table.rstrip("\n"))
    if error and not isinstance(error, BrokenPipeError):  # or who reads has enough, as in `| head`
        raise Refused(f"the table cannot be printed ({error.strerror})")


if __name__ == "__main__":
    sys.exit(main())
