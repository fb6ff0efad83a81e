"""What an option is, and what a part of the program that reads options is.

An option is declared once, beside the part that reads it.  The parser and its help, the keyword
arguments, the refusal of an option that nothing reads, the identity of a run and the table of the
README all follow from that one declaration.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Option:
    """One option of the command line.

    name: its name in config.json; the flag is --name with dashes unless `flags` says otherwise.
    default: None where it follows from others, by `derive`(options so far) -> value.
    keyword: the keyword argument that it becomes, its name unless given.
    kind: bool, or a function from text to value that raises argparse.ArgumentTypeError.
    identity: can it change a result?
    added: was it added when runs had been kept?  At its default it is no part of their identity.
    when: (holds, words): it is read only where holds(options), which the words describe.
    later: it is read only after the first cycle."""

    name: str
    default: Any
    help: str
    kind: Any = str
    flags: tuple[str, ...] = ()
    keyword: str = ""
    metavar: str = ""
    shown: str = ""  # what help and README show as the default, where None would tell nothing
    section: str = ""  # of the help; else that of the part that lists it first
    identity: bool = True
    added: bool = False
    derive: Callable | None = None
    when: tuple[Callable, str] | None = None
    later: bool = False

    def __post_init__(self):
        object.__setattr__(self, "flags", self.flags or (f"--{self.name.replace('_', '-')}",))
        object.__setattr__(self, "keyword", self.keyword or self.name)

    @property
    def flag(self) -> str:
        """The flag that messages name: the first of those spelled out."""
        return max(self.flags, key=lambda flag: (flag.startswith("--"), flag == self.flags[0]))

    @property
    def default_words(self) -> str:
        """The default as people read it; empty where there is none."""
        return self.shown or ("" if self.default is None else str(self.default))


@dataclass(frozen=True, kw_only=True)
class Row:
    """What every row of a registry, and every other part that reads options, may say.

    options: those that it reads; defaults: better defaults than the options' own, by name; beside:
    further ones where a row of another registry is chosen too, by that row's key; check: options
    -> raises UserError where they contradict each other; fits: options, problem -> raises UserError
    where they do not fit the data (data.active_dataset.Problem); title: of its section in the help, where
    that is not its registry's."""

    title: str = ""
    options: tuple[Option, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    check: Callable | None = None
    fits: Callable | None = None


@dataclass(frozen=True)
class Part(Row):
    """A part that every run has."""

    title: str  # of its section in the help


@dataclass(frozen=True)
class Choice:
    """A registry of which a run uses one row at the most.

    name: options -> key of the row, None for none; chosen: how one asks for a row, with {} for its
    key; later: the row is used only after the first cycle."""

    title: str
    rows: dict[str, Row]
    name: Callable
    chosen: str
    later: bool = False


def keywords(args, options: Iterable[Option], *functions: Callable) -> dict:
    """The keyword arguments that the functions take of these options.

    args: the options' values.  What none of the functions has a parameter for is left out."""
    taken = {name for function in functions for name in inspect.signature(function).parameters}
    return {o.keyword: getattr(args, o.name) for o in options if o.keyword in taken}


def asked(needs: tuple | Callable, options: dict) -> tuple[str, ...]:
    """What a row needs, where that may follow from its options: a function of some of them."""
    if not callable(needs):
        return needs
    taken = inspect.signature(needs).parameters
    return needs(**{name: value for name, value in options.items() if name in taken})
