"""The page of a report: one file that asks nobody for anything."""

from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from utils.reports import panels
from utils.reports.curves import COLOURS, styles_of
from utils.reports.page.runs import stories
from utils.reports.runs import Group
from utils.reports.shown import Table
from utils.reports.signs import PAGE

_HERE = Path(__file__).parent


def render(
    groups: list[Group],
    summary: pd.DataFrame,
    tables: list[Table],
    notes: list[str],
    measure: str,
    pictures,
) -> str:
    """The page, below 5 MB whatever the number of runs (utils.reports.page.runs).

    summary: of utils.reports.table.summarise; pictures: config of a run -> its images
    (pictures.Pictures).  All that runs say is escaped."""
    methods = list(styles_of(summary))
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        generator=PAGE,
        css=(_HERE / "page.css").read_text(),
        js=(_HERE / "page.js").read_text(),
        measure=measure,
        notes=notes,
        methods=[_style(number, name) for number, name in enumerate(methods)],
        panels=panels.panels(summary, methods),
        size=(panels.WIDTH, panels.HEIGHT),
        tables=tables,
        runs=stories(groups, pictures),
    )


def _style(number: int, name: str) -> dict:
    """How the curve of a method looks, in every panel."""
    return {
        "name": name,
        "colour": number % len(COLOURS),
        "shape": panels.SHAPES[number % len(panels.SHAPES)],
        "dashes": panels.DASHES[number // len(COLOURS) % len(panels.DASHES)],
    }
