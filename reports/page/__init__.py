"""The web page of a report: one self-contained file that loads nothing from elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from labeling.feature_map import PLANE_SCRIPT, PLANE_STYLE
from reports import panels
from reports.contact_sheets import collect_contact_sheets
from reports.curves import CURVE_COLORS, assign_styles
from reports.feature_maps import GroupMap
from reports.file_names import HTML_MARK
from reports.formatted_tables import ReportTable
from reports.page.map_section import make_map_entry
from reports.page.run_sections import make_run_entries
from reports.run_images import ImageLoader
from reports.runs import RunGroup
from utils.console import to_one_line

_PAGE_FOLDER = Path(__file__).parent
_STYLES = (_PAGE_FOLDER / "page.css", PLANE_STYLE, _PAGE_FOLDER / "map.css")
_SCRIPTS = (_PAGE_FOLDER / "page.js", PLANE_SCRIPT, _PAGE_FOLDER / "map.js")


def render_page(
    groups: list[RunGroup],
    summary: pd.DataFrame,
    tables: list[ReportTable],
    notes: list[str],
    measure: str,
    load_images: ImageLoader,
    maps: Sequence[GroupMap] = (),
    map_lines: Sequence[str] = (),
) -> str:
    """The HTML of the page, below 5 MB for any number of runs (reports.page.run_sections).

    summary: from summary.summarize_runs; notes: lines on runs that are left out or inconsistent;
    maps, map_lines: from feature_maps.make_group_maps.

    All text that comes from runs is escaped."""
    methods = list(assign_styles(summary))
    run_entries = make_run_entries(groups, load_images)
    environment = Environment(
        loader=FileSystemLoader(_PAGE_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        generator=HTML_MARK,
        css="".join(part.read_text() for part in _STYLES),
        js="".join(part.read_text() for part in _SCRIPTS),
        measure=measure,
        has_estimates=bool(summary.estimated_accuracy.notna().any()),
        notes=notes,
        methods=[_curve_style(number, name) for number, name in enumerate(methods)],
        panels=panels.make_panels(summary, methods),
        size=(panels.PANEL_WIDTH, panels.PANEL_HEIGHT),
        tables=tables,
        data_sheets=collect_contact_sheets(groups),
        runs=run_entries,
        maps=[make_map_entry(one, run_entries) for one in maps],
        map_lines=list(map(to_one_line, map_lines)),
    )


def _curve_style(number: int, name: str) -> dict[str, Any]:
    """The look of a method's curve, the same in every panel."""
    return {
        "name": name,
        "colour": number % len(CURVE_COLORS),
        "shape": panels.MARKER_SHAPES[number % len(panels.MARKER_SHAPES)],
        "dashes": panels.DASH_PATTERNS[number // len(CURVE_COLORS) % len(panels.DASH_PATTERNS)],
    }
