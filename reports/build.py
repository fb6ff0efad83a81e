"""Builds all files of a report in memory."""

import pandas as pd

from reports import analysis, formatted_tables, markdown_latex, page
from reports.cost import ImageCounter
from reports.curves import draw_figure
from reports.feature_maps import MapLoader, make_group_maps
from reports.file_names import MAP_FILES
from reports.map_figure import draw_maps
from reports.run_images import ImageLoader
from reports.runs import RunResult, group_runs, make_results_frame
from reports.summary import render_csv, summarize_runs


def build_report(
    runs: list[RunResult],
    notes: list[str],
    measure: str,
    load_images: ImageLoader,
    count_images: ImageCounter,
    load_map: MapLoader,
    num_maps: int,
) -> dict[str, bytes]:
    """Name -> content, for each of file_names.REPORT_FILES, and of MAP_FILES if there is a map.

    runs: without duplicates; notes: lines on runs that are left out or inconsistent;
    load_images, count_images: read a run's images, and count those it was trained on;
    load_map: the map of a run; num_maps: the largest number of maps.

    Raises UserError if no run has the measure."""
    groups = group_runs(runs)
    summary = summarize_runs(make_results_frame(runs), measure)
    curves = analysis.LearningCurves(groups, measure)
    frames = {
        "curves": summary,
        "budget": analysis.summarize_budget(groups, curves, count_images),
        "differences": analysis.compare_with_baselines(groups, curves),
        "penalties": analysis.compare_methods(groups, curves),
    }
    tables = _format_tables(frames, measure)
    maps, map_lines = make_group_maps(groups, num_maps, load_map)
    html = page.render_page(groups, summary, tables, notes, measure, load_images, maps, map_lines)
    texts = {
        "report.html": html,
        "report.md": markdown_latex.render_markdown("Active learning: report", tables, notes),
        "report.tex": markdown_latex.render_latex(tables),
        **{f"{key}.csv": render_csv(key, frame) for key, frame in frames.items()},
    }
    figures = {f"curves.{kind}": draw_figure(summary, measure, kind) for kind in ("png", "pdf")}
    if maps:
        figures |= {name: draw_maps(maps, name.rpartition(".")[2]) for name in MAP_FILES}
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
