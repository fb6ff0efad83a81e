"""From runs to a table and a figure: python report.py FOLDER [--figure F.png] [--table F.md]

Reads config.json and results.csv of every finished run below FOLDER, groups the runs that differ in
their split and seed alone, and gives the mean and the standard deviation (over those, n−1) per
number of labels. Groups of one data set, training and method are told apart by what differs.
"""

import sys
from pathlib import Path

from utils.errors import UserError
from utils.options.command import OneLineParser, complain
from utils.options.kinds import one_of
from utils.reports.curves import draw
from utils.reports.runs import MEASURES, grouped, read_folder
from utils.reports.table import csv, markdown, summarise
from utils.reports.targets import target
from utils.run.files import write_atomically


def main(argv=None) -> int:
    args = build_parser().parse_args(argv)
    try:
        report(args)
    except (UserError, OSError) as error:
        return complain(error, "report.py")
    return 0


def build_parser() -> OneLineParser:
    parser = OneLineParser("report.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("folder", type=Path, help="a folder of runs, for example runs")
    add("--measure", type=one_of(MEASURES), default="top1", help=", ".join(MEASURES))
    add(
        "--figure",
        type=target(".png", ".pdf", ".svg"),
        help="write the curves here (.png, .pdf, .svg)",
    )
    add("--table", type=target(".md", ".csv"), help="write the table here (.md or .csv)")
    return parser


def report(args) -> None:
    """Print the table, and on standard error what is not in it; write the files asked for."""
    samples, notes = read_folder(args.folder)
    for note in notes:
        print(" ".join(note.split()), file=sys.stderr)
    if not samples:
        raise UserError(f"no finished run below {args.folder}")
    summary = summarise(grouped(samples), args.measure)
    print(markdown(summary), end="")
    if args.table:
        render = csv if args.table.suffix.lower() == ".csv" else markdown
        write_atomically(args.table, render(summary).encode())
    if args.figure:
        kind = args.figure.suffix.lower().removeprefix(".")
        write_atomically(args.figure, draw(summary, args.measure, kind))


if __name__ == "__main__":
    sys.exit(main())
