"""Options are declared as fields of a frozen dataclass that stands beside the code that reads them.

    @dataclass(frozen=True)
    class GraphOptions(OptionGroup):
        section = "graph"
        lp_k: int = option(50, "Number of nearest neighbours per image.", type=positive_integer)

The field's name is the option's name in config.json, and `--lp-k` its flag.  A function receives
the group by naming it as the type of a parameter, `def pick(*, graph: GraphOptions, ...)`, and
reads `graph.lp_k`.  The parser, its help, the refusal of an option that has no effect, a run's
identity and docs/options.md all follow from the declaration.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

from utils.options.converters import parse_boolean

G = TypeVar("G", bound="OptionGroup")


class Condition(NamedTuple):
    """When an option has an effect.  words: the same for error messages, after "it needs"."""

    holds: Callable[["OptionValues"], bool]
    words: str


@dataclass(frozen=True)
class Option:
    """One option of the command line, as `option` describes it."""

    name: str
    default: Any
    help: str
    type: Callable[[str], Any]
    flags: tuple[str, ...]
    metavar: str
    default_text: str
    identity: bool
    default_from: Callable[["OptionValues"], Any] | None
    read_if: Condition | None
    after_first_cycle: bool

    @property
    def is_switch(self) -> bool:
        """Whether the flag may stand alone, for True."""
        return self.type is parse_boolean

    @property
    def flag(self) -> str:
        """The flag that messages name: the first that is spelled out."""
        return max(self.flags, key=lambda flag: (flag.startswith("--"), flag == self.flags[0]))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that can be chosen from; empty where there is no such list."""
        return tuple(getattr(self.type, "names", None) or ())

    @property
    def default_words(self) -> str:
        """The default as people read it; empty where there is none."""
        return self.default_text or ("" if self.default is None else str(self.default))


def option(
    default: Any,
    help: str,
    *,
    type: Callable[[str], Any] = str,
    flags: tuple[str, ...] = (),
    metavar: str = "",
    default_text: str = "",
    identity: bool = True,
    default_from: Callable[["OptionValues"], Any] | None = None,
    read_if: Condition | None = None,
    after_first_cycle: bool = False,
) -> Any:
    """A field of an OptionGroup that is an option of the command line.

    default: None where it follows from other options (`default_from`).
    type: from text to a checked value; raises argparse.ArgumentTypeError.  A field annotated with
    bool needs none.
    flags: all spellings; by default --name with dashes.
    default_text: what help and docs show as the default where its value would say nothing.
    identity: whether the value can change a result.
    read_if: the option has an effect only under this condition.
    after_first_cycle: the option has an effect only from the second cycle on."""
    spec = {
        "help": help,
        "type": type,
        "flags": flags,
        "metavar": metavar,
        "default_text": default_text,
        "identity": identity,
        "default_from": default_from,
        "read_if": read_if,
        "after_first_cycle": after_first_cycle,
    }
    return field(default=default, metadata=spec)


@dataclass(frozen=True)
class OptionGroup:
    """Base of the dataclasses that declare options.

    section: the heading under which --help lists them."""

    section: ClassVar[str] = "other"

    def check(self, options: "OptionValues") -> None:
        """Raises UserError where these options contradict each other or others."""

    def check_data(self, options: "OptionValues", dataset: Any) -> None:
        """Raises UserError where these options do not fit the data.

        dataset: data.active_dataset.ActiveDataset."""


@functools.cache
def options_of(group: type[OptionGroup]) -> tuple[Option, ...]:
    """The options that a group declares, in order."""
    return tuple(map(_make_option, dataclasses.fields(group)))


def _make_option(declared: "dataclasses.Field[Any]") -> Option:
    spec = dict(declared.metadata)
    if declared.type in (bool, "bool"):
        spec["type"] = parse_boolean
    spec["flags"] = spec["flags"] or (f"--{declared.name.replace('_', '-')}",)
    return Option(name=declared.name, default=declared.default, **spec)


class OptionValues:
    """The values of all options of a run, by name.

    `values.of(GraphOptions)` gives a group's options with their types; `values.lp_k` a single one,
    for conditions that look at the options of other groups."""

    def __init__(self, values: dict[str, Any]):
        self._values = dict(values)

    def of(self, group: type[G]) -> G:
        """The options of one group."""
        return group(**{one.name: self._values[one.name] for one in dataclasses.fields(group)})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no option {name!r}") from None

    def as_dict(self) -> dict[str, Any]:
        """Name -> value, a copy."""
        return dict(self._values)

    def replace(self, **values: Any) -> "OptionValues":
        """The same with other values for some options."""
        return OptionValues(self._values | values)


@functools.lru_cache(maxsize=1024)
def group_parameters(function: Callable[..., Any]) -> dict[str, type[OptionGroup]]:
    """The parameters of a function, or of a class, that take a group of options, by name."""
    inner: Any = function.func if isinstance(function, functools.partial) else function
    hints = typing.get_type_hints(inner.__init__ if inspect.isclass(inner) else inner)
    return {
        name: hint
        for name, hint in hints.items()
        if inspect.isclass(hint) and issubclass(hint, OptionGroup) and name != "return"
    }


def kwargs_for(options: OptionValues, *functions: Callable[..., Any]) -> dict[str, Any]:
    """The groups of options that the functions take, as their keyword arguments."""
    return {
        name: options.of(group)
        for function in functions
        for name, group in group_parameters(function).items()
    }


def resolve_needs(
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]], groups: dict[str, OptionGroup]
) -> tuple[str, ...]:
    """What a component needs of the network; a function of its options where it depends on them.

    groups: the options by the name of the parameter that takes them."""
    if not callable(needs):
        return needs
    return needs(**{name: groups[name] for name in group_parameters(needs)})


@dataclass(frozen=True, kw_only=True)
class Component:
    """Base of the entries of every registry.

    defaults: better defaults than the options' own, by name.
    defaults_with: further ones where another registry's entry of that name is chosen too."""

    defaults: dict[str, Any] = field(default_factory=dict)
    defaults_with: dict[str, dict[str, Any]] = field(default_factory=dict)

    def functions(self) -> list[Callable[..., Any]]:
        """The functions of the entry, from whose parameters its options follow."""
        values = (getattr(self, one.name) for one in dataclasses.fields(self))
        return [value for value in values if callable(value)]

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """The groups of options that the entry's functions take."""
        found = [group for f in self.functions() for group in group_parameters(f).values()]
        return tuple(dict.fromkeys(found))


def unread_options(component: Component) -> list[str]:
    """Options of the component that no code beside its functions, or beside the declaration of the
    options, reads: giving one would be accepted and change nothing."""
    functions = component.functions()
    names = {
        name
        for module in {inspect.getmodule(_unwrap(one)) for one in (*functions, *component.groups())}
        if module is not None
        for name in _attributes_read_in(module)
    }
    options = [one for group in component.groups() for one in options_of(group)]
    return [one.name for one in options if one.name not in names and not _selects(one)]


def _selects(one: Option) -> bool:
    """Whether the option itself asks for its component, as --add-lp does."""
    return one.name.startswith("add_")


def _unwrap(function: Any) -> Any:
    return function.func if isinstance(function, functools.partial) else function


@functools.cache
def _attributes_read_in(module: ModuleType) -> frozenset[str]:
    """Names of all attributes that the functions of a module read.

    Not counted: the methods that dataclasses generate, and `check` and `check_data`, which look at
    an option without making use of it."""
    names: set[str] = set()
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        for function in _functions_in(value):
            names |= _code_names(function.__code__)
    return frozenset(names)


def _functions_in(value: Any) -> Iterator[FunctionType]:
    inner = inspect.unwrap(value) if callable(value) else value
    if isinstance(inner, FunctionType):
        yield inner
    elif inspect.isclass(inner):
        for name, member in vars(inner).items():
            member = member.fget if isinstance(member, property) else member
            member = inspect.unwrap(member) if callable(member) else member
            source = isinstance(member, FunctionType) and member.__code__.co_filename != "<string>"
            if source and name not in ("check", "check_data"):
                yield member


def _code_names(code: Any) -> set[str]:
    inner = [_code_names(const) for const in code.co_consts if hasattr(const, "co_names")]
    return set(code.co_names).union(*inner)
