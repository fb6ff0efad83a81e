"""The tables of docs/options.md."""

from utils.options.option import Option
from utils.options.schema import OptionSchema, options_by_section


def markdown_tables(schema: OptionSchema) -> str:
    """One Markdown table per section of --help, with one row per option."""
    tables = []
    for section, options in options_by_section(schema).items():
        lines = [f"## {section[0].upper()}{section[1:]}", "", "| option | default | meaning |"]
        lines += ["| --- | --- | --- |", *map(_table_row, options)]
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _table_row(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    choices = f" {{{', '.join(option.choices)}}}" if option.choices else ""
    cells = (flags + choices, option.default_words, option.help)
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
