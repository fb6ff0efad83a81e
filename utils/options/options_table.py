"""The options as docs/options.md shows them."""

from utils.options.option import Option
from utils.options.schema import OptionSchema, options_by_section


def markdown_tables(schema: OptionSchema) -> str:
    """One table per section of --help: flags, defaults and what the options do."""
    parts = []
    for section, options in options_by_section(schema).items():
        lines = [f"## {section[0].upper()}{section[1:]}", "", "| option | default | meaning |"]
        lines += ["| --- | --- | --- |", *map(_table_row, options)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _table_row(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    choices = f" {{{', '.join(option.choices)}}}" if option.choices else ""
    cells = (flags + choices, option.default_words, option.help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
