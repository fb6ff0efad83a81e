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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar

from utils.options.converters import ChoiceConverter, parse_boolean

G = TypeVar("G", bound="OptionGroup")
_METADATA_KEY = "option"  # under which a dataclass field holds its Option


class Condition(NamedTuple):
    """When an option has an effect.  words: the same for error messages, after "it needs"."""

    holds: Callable[["OptionValues"], bool]
    words: str


@dataclass(frozen=True)
class Option:
    """One option of the command line; `option` describes the fields."""

    name: str
    default: Any
    help: str
    type: Callable[[str], Any]
    flags: tuple[str, ...]
    metavar: str
    default_text: str
    identity: bool
    default_from: Callable[["OptionValues"], Any] | None
    default_for_data: Callable[["OptionValues", Any], Any] | None
    read_if: Condition | None
    after_first_cycle: bool

    @property
    def is_switch(self) -> bool:
        """Whether the flag may stand alone, for True."""
        return self.type is parse_boolean

    @property
    def flag(self) -> str:
        """The flag that messages name: the first long one."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that can be chosen from; empty where there is no such list."""
        return tuple(self.type.names) if isinstance(self.type, ChoiceConverter) else ()

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
    default_for_data: Callable[["OptionValues", Any], Any] | None = None,
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
    default_for_data: the default where the user gave no value, once the data have been read: from
    all values so far and data.budget.DataSize.  Only a default that does not fit changes.
    read_if: the option has an effect only under this condition.
    after_first_cycle: the option has an effect only from the second cycle on."""
    declared = Option(
        name="",  # the field's, which only `options_of` knows
        default=default,
        help=help,
        type=type,
        flags=flags,
        metavar=metavar,
        default_text=default_text,
        identity=identity,
        default_from=default_from,
        default_for_data=default_for_data,
        read_if=read_if,
        after_first_cycle=after_first_cycle,
    )
    return field(default=default, metadata={_METADATA_KEY: declared})


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


_OPTIONS_BY_GROUP: dict[type[OptionGroup], tuple[Option, ...]] = {}


def options_of(group: type[OptionGroup]) -> tuple[Option, ...]:
    """The options that a group declares, in order.

    Raises TypeError for a field that is not declared by `option`."""
    if group not in _OPTIONS_BY_GROUP:
        fields = dataclasses.fields(group)
        _OPTIONS_BY_GROUP[group] = tuple(_make_option(group, declared) for declared in fields)
    return _OPTIONS_BY_GROUP[group]


def _make_option(group: type[OptionGroup], declared: "dataclasses.Field[Any]") -> Option:
    """The option of a field, which knows its name and whether it is a bool."""
    if _METADATA_KEY not in declared.metadata:
        raise TypeError(f"{group.__name__}.{declared.name}: declare it with option(...)")
    nameless: Option = declared.metadata[_METADATA_KEY]
    is_switch = declared.type in (bool, "bool")
    return dataclasses.replace(
        nameless,
        name=declared.name,
        type=parse_boolean if is_switch else nameless.type,
        flags=nameless.flags or (f"--{declared.name.replace('_', '-')}",),
    )


class OptionValues:
    """The values of all options of a run, by name.

    `values.of(GraphOptions)` gives a group's options with their types; `values.lp_k` a single one,
    for conditions that look at the options of other groups."""

    def __init__(self, values: dict[str, Any], explicit: Iterable[str] = ()):
        """explicit: names of the options that the user gave."""
        self._values = dict(values)
        self._explicit = frozenset(explicit)

    def is_explicit(self, name: str) -> bool:
        """Whether the user gave this option."""
        return name in self._explicit

    def of(self, group: type[G]) -> G:
        """The options of one group."""
        names = [item.name for item in options_of(group)]
        return group(**{name: self._values[name] for name in names})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"there is no option {name!r}") from None

    def as_dict(self) -> dict[str, Any]:
        """Name -> value, a copy."""
        return dict(self._values)

    def replace(self, **values: Any) -> "OptionValues":
        """A copy with other values for some options."""
        return OptionValues(self._values | values, self._explicit)


@functools.lru_cache(maxsize=1024)
def group_parameters(function: Callable[..., Any]) -> dict[str, type[OptionGroup]]:
    """The parameters of a function, or of a class, that take a group of options, by name."""
    inner = _unwrap_partial(function)
    hints = typing.get_type_hints(inner.__init__ if inspect.isclass(inner) else inner)
    return {
        name: hint
        for name, hint in hints.items()
        if inspect.isclass(hint) and issubclass(hint, OptionGroup) and name != "return"
    }


def kwargs_for(options: OptionValues, *functions: Callable[..., Any]) -> dict[str, Any]:
    """The groups of options that the functions take, as keyword arguments of these functions."""
    return {
        name: options.of(group)
        for function in functions
        for name, group in group_parameters(function).items()
    }


def resolve_needs(
    needs: tuple[str, ...] | Callable[..., tuple[str, ...]], groups: dict[str, OptionGroup]
) -> tuple[str, ...]:
    """Names of the inputs that a component needs.

    needs: the names, or a function of option groups that returns them.
    groups: the options by the name of the parameter that takes them."""
    if not callable(needs):
        return needs
    return needs(**{name: groups[name] for name in group_parameters(needs)})


@dataclass(frozen=True, kw_only=True)
class Component:
    """Base of the entries of every registry.

    defaults: better defaults than the options' own, by option name.
    defaults_with: name of an entry of another registry -> further ones where it is selected too."""

    defaults: dict[str, Any] = field(default_factory=dict)
    defaults_with: dict[str, dict[str, Any]] = field(default_factory=dict)

    def functions(self) -> list[Callable[..., Any]]:
        """The functions of the entry, from whose parameters its options follow."""
        values = (getattr(self, declared.name) for declared in dataclasses.fields(self))
        return [value for value in values if callable(value)]

    def groups(self) -> tuple[type[OptionGroup], ...]:
        """The groups of options that the entry's functions take."""
        groups = (group for f in self.functions() for group in group_parameters(f).values())
        return tuple(dict.fromkeys(groups))


def unread_options(component: Component) -> list[str]:
    """Names of the component's options that no code reads, in the modules of its functions and of
    the option groups.  Such an option would be accepted and change nothing.

    The option that selects the component, such as --add-lp, counts as read."""
    functions = [_unwrap_partial(function) for function in component.functions()]
    modules = {inspect.getmodule(origin) for origin in (*functions, *component.groups())}
    names_read = {name for module in modules if module for name in _attributes_read_in(module)}
    names = [item.name for group in component.groups() for item in options_of(group)]
    return [name for name in names if name not in names_read and not name.startswith("add_")]


def _unwrap_partial(function: Any) -> Any:
    return function.func if isinstance(function, functools.partial) else function


@functools.cache
def _attributes_read_in(module: ModuleType) -> frozenset[str]:
    """Names of all attributes that the functions of a module read.

    Not counted: the methods that dataclasses generate, and `check` and `check_data`, which look at
    an option without making use of it."""
    values = [value for value in vars(module).values() if _module_name(value) == module.__name__]
    functions = (function for value in values for function in _functions_in(value))
    return frozenset().union(*(_names_used(function.__code__) for function in functions))


def _module_name(value: Any) -> str | None:
    return getattr(value, "__module__", None)


def _functions_in(value: Any) -> Iterator[FunctionType]:
    """The function itself, or the methods and properties of a class."""
    if not inspect.isclass(value):
        function = inspect.unwrap(value) if callable(value) else value
        if isinstance(function, FunctionType):
            yield function
        return
    for name, member in vars(value).items():
        # Of a property, a cached property, and a static or class method.
        inner = (getattr(member, attribute, None) for attribute in ("fget", "func", "__func__"))
        function = next(filter(None, inner), member)
        function = inspect.unwrap(function) if callable(function) else function
        is_method = isinstance(function, FunctionType) and name not in ("check", "check_data")
        if is_method and function.__code__.co_filename != "<string>":
            yield function


def _names_used(code: CodeType) -> set[str]:
    """Global names and attributes that a function uses, with the functions inside it."""
    inner = (_names_used(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)
