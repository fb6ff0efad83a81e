"""The tables of a report as Markdown and LaTeX."""

import pandas as pd

from reports.file_names import LATEX_MARK, MARKDOWN_MARK
from reports.formatted_tables import ReportTable
from reports.summary import markdown_row
from utils.console import to_one_line

# Needs the package graphicx.
_FIT_TO_WIDTH = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_LATEX_SYMBOLS = {"±": r"$\pm$", "−": "$-$", "“": "``", "”": "''"}


def render_markdown(title: str, tables: list[ReportTable], notes: list[str]) -> str:
    """The whole report without figures."""
    parts = [f"{MARKDOWN_MARK}# {title}\n"]
    if notes:
        parts.append("\n".join(f"* {to_one_line(note)}" for note in notes) + "\n")
    for table in tables:
        parts.append(f"## {to_one_line(table.title)}\n")
        if len(table.rows):
            parts.append(_table_markdown(table.rows))
        parts.append(table.note + "\n")
    return "\n".join(parts)


def _table_markdown(rows: pd.DataFrame) -> str:
    lines = [markdown_row(list(rows.columns)), markdown_row(["---"] * len(rows.columns))]
    return "\n".join(lines + [markdown_row(list(row)) for row in rows.to_numpy()]) + "\n"


def render_latex(tables: list[ReportTable]) -> str:
    """Table environments with booktabs rules, to be included in a paper.

    A table that is wider than its column is scaled down."""
    packages = f"{LATEX_MARK}; needs \\usepackage{{booktabs,graphicx}}\n"
    return packages + "\n".join(_table_latex(table) for table in tables if len(table.rows))


def _table_latex(table: ReportTable) -> str:
    rows = table.rows.map(to_one_line)
    text = rows.to_latex(
        index=False,
        escape=True,
        column_format="l" * len(rows.columns),
        caption=_escape_latex(f"{table.title}. {table.note}"),
        label=f"tab:{table.key}",
        position="tb",
    )
    for letter, command in _LATEX_SYMBOLS.items():
        text = text.replace(letter, command)
    start, end = r"\begin{tabular}", r"\end{tabular}"
    return text.replace(start, f"{_FIT_TO_WIDTH}\n{start}").replace(end, f"{end}}}")


def _escape_latex(text: str) -> str:
    """Escapes text in the way pandas escapes cells."""
    cell = pd.DataFrame([[to_one_line(text)]]).style.format(escape="latex")
    return cell.hide(axis="index").hide(axis="columns").to_latex().splitlines()[1][:-3]
