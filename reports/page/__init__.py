"""The page of a report: one file that asks nobody for anything."""

from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import panels
from reports.curves import COLOURS, styles_of
from reports.file_names import PAGE
from reports.formatted_tables import Table
from reports.page.run_sections import stories
from reports.runs import Group

_HERE = Path(__file__).parent


def render(
    groups: list[Group],
    summary: pd.DataFrame,
    tables: list[Table],
    notes: list[str],
    measure: str,
    pictures,
) -> str:
    """The page, below 5 MB whatever the number of runs (reports.page.run_sections).

    summary: of reports.summary.summarise; pictures: config of a run -> its images
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
