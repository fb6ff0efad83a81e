"""The command line of a program whose parts declare their options (utils.options.option)."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from utils.errors import UserError
from utils.options.cli import OneLineErrorParser
from utils.options.converters import parse_boolean
from utils.options.option import Choice, Option, Part, Row


@dataclass(frozen=True)
class Declared:
    """All that a program declares: the parts of every run, and the registries it chooses from.

    A chosen row's defaults replace those of the rows before it.  repeats: (holds, words): is there
    a second cycle, without which what comes later is not read?"""

    parts: tuple[Part, ...]
    choices: tuple[Choice, ...]
    repeats: tuple[Callable, str]

    def components_by_title(self) -> Iterator[tuple[str, Row]]:
        """Every part and every row, with the title of its section."""
        for part in self.parts:
            yield part.title, part
        for choice in self.choices:
            for row in choice.rows.values():
                yield row.title or choice.title, row

    def selections(self, args) -> Iterator[tuple[Choice, str, Row]]:
        """The rows that the options choose."""
        for choice in self.choices:
            key = choice.name(args)
            if key is not None:
                yield choice, key, choice.rows[key]

    def active_components(self, args) -> list[Row]:
        """The parts and rows that take part in a run."""
        return [*self.parts, *(row for _, _, row in self.selections(args))]


def options_by_section(schema: Declared) -> dict[str, list[Option]]:
    """Title -> options, each option once, titles in the order in which they are first named; an
    option that names its section comes last there."""
    found = {title: [] for title, _ in schema.components_by_title()}
    listed = {
        option: title for title, row in schema.components_by_title() for option in row.options
    }
    for option in sorted(listed, key=lambda option: bool(option.section)):
        found[option.section or listed[option]].append(option)
    return {title: options for title, options in found.items() if options}


def build_parser(schema: Declared, prog: str, description: str, epilog: str) -> OneLineErrorParser:
    """A parser that keeps only the options given."""
    parser = OneLineErrorParser(
        prog=prog, description=description, epilog=epilog, allow_abbrev=False
    )
    add_options(parser, schema)
    return parser


def add_options(
    parser: OneLineErrorParser, schema: Declared, multiple_values: bool = False
) -> None:
    """Add all options, in their groups (several: as add_option takes it)."""
    for title, options in options_by_section(schema).items():
        group = parser.add_argument_group(title)
        for option in options:
            add_option(group, option, multiple_values)


def add_option(group, option: Option, multiple_values: bool = False) -> None:
    """Add an option to a parser, or to a group of one, where it stands only if it is given.

    several: it takes one value or more, which stay the texts that they are."""
    more = {"type": option.kind, "metavar": option.metavar or "X"}
    if option.kind is bool:
        more = {"type": parse_boolean, "metavar": "True|False", "nargs": "?", "const": True}
    elif names := getattr(option.kind, "names", None):
        more["metavar"] = "{" + ",".join(names) + "}"
    if multiple_values:
        nargs = "*" if option.kind is bool else "+"
        more = {"nargs": nargs, "metavar": (more["metavar"], "X")}
    words = f" (default: {option.default_words})" if option.default_words else ""
    group.add_argument(
        *option.flags,
        dest=option.name,
        default=argparse.SUPPRESS,
        help=(option.help + words).replace("%", "%%"),
        **more,
    )


def parse_options(parser: OneLineErrorParser, schema: Declared, argv=None) -> argparse.Namespace:
    """All options, complete and checked.  Exits with status 2 and one line where one is wrong."""
    given = vars(parser.parse_args(argv))
    try:
        return validate_options(schema, given)
    except UserError as error:
        parser.error(str(error))


def validate_options(schema: Declared, explicit_values: dict) -> argparse.Namespace:
    """All options, complete.  given: values by name.  Raises UserError where they contradict each
    other or one is not read."""
    args = fill_defaults(schema, explicit_values)
    for row in schema.active_components(args):
        if row.check:
            row.check(args)
    refuse_unused_options(schema, args, explicit_values)
    return args


def fill_defaults(schema: Declared, explicit_values: dict) -> argparse.Namespace:
    """What is not given: the chosen rows' better defaults, else what follows from others, else the
    option's own default."""
    options = [option for some in options_by_section(schema).values() for option in some]
    args = argparse.Namespace(
        **{option.name: option.default for option in options} | explicit_values
    )
    better, chosen = {}, []
    for choice in schema.choices:
        key = choice.name(args)
        if key is None:
            continue
        chosen.append((key, choice.rows[key]))
        better |= choice.rows[key].defaults
        vars(args).update(better | explicit_values)
    keys = {key for key, _ in chosen}
    for _, row in chosen:
        for key in keys & set(row.beside):
            better |= row.beside[key]
    vars(args).update(better | explicit_values)
    for option in options:
        if option.derive and option.name not in explicit_values and option.name not in better:
            setattr(args, option.name, option.derive(args))
    return args


def refuse_unused_options(schema: Declared, args, explicit_values: dict) -> None:
    """Raises UserError where an option is given that this run would not read.

    A switch that is given as off, as it is by default, is no mistake."""
    repeats, words = schema.repeats
    reading = {}  # option -> do all its readers come into play after the first cycle only?
    for row in schema.parts:
        reading |= dict.fromkeys(row.options, False)
    for choice, _, row in schema.selections(args):
        for option in row.options:
            reading[option] = reading.get(option, True) and choice.later
    for some in options_by_section(schema).values():
        for option in some:
            off = option.default is False and explicit_values.get(option.name) is False
            if option.name not in explicit_values or off:
                continue
            if option not in reading:
                raise UserError(
                    f"{option.flag} is read only with {_flags_that_enable(schema, option)}"
                )
            if option.when and not option.when[0](args):
                raise UserError(f"{option.flag} is read only with {option.when[1]}")
            if (reading[option] or option.later) and not repeats(args):
                raise UserError(f"{option.flag} is read only with {words}")


def _flags_that_enable(schema: Declared, option: Option) -> str:
    """How one asks for the rows that read an option."""
    asked = [
        choice.chosen.format(key.replace("_", "-") if choice.chosen.endswith("-{}") else key)
        for choice in schema.choices
        for key, row in choice.rows.items()
        if option in row.options
    ]
    return " or ".join(dict.fromkeys(asked))


def identity_options(schema: Declared, args, rows=None) -> dict:
    """The options that can change a result and that the active parts read, by name.

    rows: the parts that count (default: all that are active).  How long a run is does not count:
    an option of later cycles is there from the first."""
    rows = schema.active_components(args) if rows is None else rows
    return {
        option.name: getattr(args, option.name)
        for row in rows
        for option in row.options
        if option.identity and (option.when is None or option.when[0](args))
        if not option.added or getattr(args, option.name) != option.default
    }


def check_options_fit_data(schema: Declared, args, problem) -> None:
    """Raises UserError where an active part's options do not fit the data."""
    for row in schema.active_components(args):
        if row.fits:
            row.fits(args, problem)
