"""A report's tables as Markdown and LaTeX."""

import pandas as pd

from reports.file_names import LATEX, MARKDOWN
from reports.formatted_tables import Table
from reports.summary import line
from utils.console import one_line

_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # by graphicx
_MATHS = {"±": r"$\pm$", "−": "$-$", "“": "``", "”": "''"}


def markdown(title: str, tables: list[Table], notes: list[str]) -> str:
    """The whole report but its pictures."""
    parts = [f"{MARKDOWN}# {title}\n"]
    if notes:
        parts.append("\n".join(f"* {one_line(note)}" for note in notes) + "\n")
    for table in tables:
        parts.append(f"## {one_line(table.title)}\n")
        if len(table.rows):
            parts.append(_markdown(table.rows))
        parts.append(table.note + "\n")
    return "\n".join(parts)


def _markdown(rows: pd.DataFrame) -> str:
    lines = [line(list(rows.columns)), line(["---"] * len(rows.columns))]
    return "\n".join(lines + [line(list(row)) for row in rows.to_numpy()]) + "\n"


def latex(tables: list[Table]) -> str:
    """Table environments with the rules of booktabs, to be put into a paper; what is wider than its
    column is made smaller."""
    needs = f"{LATEX}; needs \\usepackage{{booktabs,graphicx}}\n"
    return needs + "\n".join(_latex(table) for table in tables if len(table.rows))


def _latex(table: Table) -> str:
    escaped = table.rows.map(one_line)
    text = escaped.to_latex(
        index=False,
        escape=True,
        column_format="l" * len(escaped.columns),
        caption=_escaped(f"{table.title}. {table.note}"),
        label=f"tab:{table.key}",
        position="tb",
    )
    for letter, command in _MATHS.items():
        text = text.replace(letter, command)
    start, end = r"\begin{tabular}", r"\end{tabular}"
    return text.replace(start, f"{_FIT}\n{start}").replace(end, f"{end}}}")


def _escaped(text: str) -> str:
    """As pandas does for cells."""
    cell = pd.DataFrame([[one_line(text)]]).style.format(escape="latex")
    return cell.hide(axis="index").hide(axis="columns").to_latex().splitlines()[1][:-3]
