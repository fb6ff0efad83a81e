"""All files of a report."""

from collections.abc import Callable

import pandas as pd

from reports import analysis, formatted_tables, markdown_latex, page
from reports.curves import draw
from reports.runs import Sample, grouped, groups_of
from reports.summary import csv, summarise


def files(
    samples: list[Sample], notes: list[str], measure: str, pictures: Callable, seen: Callable
) -> dict[str, bytes]:
    """Name -> content, for each of signs.FILES.

    samples: no two the same; notes: what is to be known of them; pictures: config of a run -> its
    images (pictures.Pictures); seen: as cost.cost takes it.  Raises UserError where no run has the
    measure."""
    groups = groups_of(samples)
    summary = summarise(grouped(samples), measure)
    curves = analysis.Curves(groups, measure)
    frames = {
        "curves": summary,
        "budget": analysis.overview(groups, curves, seen),
        "differences": analysis.differences(groups, curves),
        "penalties": analysis.penalties(groups, curves),
    }
    tables = _shown(frames, measure)
    texts = {
        "report.html": page.render(groups, summary, tables, notes, measure, pictures),
        "report.md": markdown_latex.markdown("Active learning: report", tables, notes),
        "report.tex": markdown_latex.latex(tables),
        **{f"{key}.csv": csv(key, frame) for key, frame in frames.items()},
    }
    figures = {f"curves.{kind}": draw(summary, measure, kind) for kind in ("png", "pdf")}
    return {
        name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()
    } | figures


def _shown(frames: dict[str, pd.DataFrame], measure: str) -> list[formatted_tables.Table]:
    return [
        *formatted_tables.accuracies(frames["curves"], measure),
        formatted_tables.budgets(frames["budget"]),
        formatted_tables.differences(frames["differences"]),
        formatted_tables.penalties(frames["penalties"]),
    ]
