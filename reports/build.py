"""All files of a report."""

from collections.abc import Callable

import pandas as pd

from reports import analysis, formatted_tables, markdown_latex, page
from reports.curves import draw_figure
from reports.runs import RunResult, group_runs, make_results_frame
from reports.summary import render_csv, summarize_runs


def build_report(
    samples: list[RunResult], notes: list[str], measure: str, pictures: Callable, seen: Callable
) -> dict[str, bytes]:
    """Name -> content, for each of signs.FILES.

    samples: no two the same; notes: what is to be known of them; pictures: config of a run -> its
    images (pictures.Pictures); seen: as cost.cost takes it.  Raises UserError where no run has the
    measure."""
    groups = group_runs(samples)
    summary = summarize_runs(make_results_frame(samples), measure)
    curves = analysis.LearningCurves(groups, measure)
    frames = {
        "curves": summary,
        "budget": analysis.summarize_budget(groups, curves, seen),
        "differences": analysis.compare_with_baselines(groups, curves),
        "penalties": analysis.compare_methods(groups, curves),
    }
    tables = _format_tables(frames, measure)
    texts = {
        "report.html": page.render_page(groups, summary, tables, notes, measure, pictures),
        "report.md": markdown_latex.render_markdown("Active learning: report", tables, notes),
        "report.tex": markdown_latex.render_latex(tables),
        **{f"{key}.csv": render_csv(key, frame) for key, frame in frames.items()},
    }
    figures = {f"curves.{kind}": draw_figure(summary, measure, kind) for kind in ("png", "pdf")}
    return {
        name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()
    } | figures


def _format_tables(
    frames: dict[str, pd.DataFrame], measure: str
) -> list[formatted_tables.ReportTable]:
    return [
        *formatted_tables.accuracy_tables(frames["curves"], measure),
        formatted_tables.budget_table(frames["budget"]),
        formatted_tables.differences_table(frames["differences"]),
        formatted_tables.penalties_table(frames["penalties"]),
    ]
