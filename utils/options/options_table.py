"""The options as the README shows them."""

from utils.options.option import Option
from utils.options.schema import Declared, options_by_section


def markdown_table(declared: Declared) -> str:
    """A row a section of the help: flags and defaults, from the declarations."""
    lines = ["| group | options (default) |", "| --- | --- |"]
    for title, options in options_by_section(declared).items():
        lines.append(f"| {title} | {' · '.join(map(_words, options))} |")
    return "\n".join(lines) + "\n"


def _words(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    names = getattr(option.kind, "names", ())
    choices = f" {{{', '.join(names)}}}" if names else ""
    default = f" ({option.default_words})" if option.default_words else ""
    return f"{flags}{choices}{default}"
