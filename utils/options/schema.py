"""All options of a program, collected from the option groups that its components declare.

From them follow the command line, the defaults, the refusal of options that have no effect, and the
options that identify a run.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from utils.errors import UserError
from utils.options.cli import OneLineErrorParser
from utils.options.option import (
    Component,
    Condition,
    Option,
    OptionGroup,
    OptionValues,
    options_of,
    unread_options,
)

# Options that are part of a run's identity even at their default.  A new option does not belong
# here: at its default it must leave the identity of every earlier run as it is.
ALWAYS_IN_IDENTITY = frozenset(
    [
        "dataset",
        "split",
        "flip",
        "image_size",
        "al_method",
        "al_budget",
        "initial_size",
        "mc_passes",
        "coverage_radius",
        "arch",
        "isL2",
        "head_dropout",
        "epochs",
        "lr",
        "initial_lr",
        "lr_rampup",
        "lr_rampdown_epochs",
        "batch_size",
        "steps_per_epoch",
        "momentum",
        "nesterov",
        "weight_decay",
        "ema",
        "finetuning",
        "use_val_set",
        "lp_k",
        "lp_gamma",
        "lp_alpha",
        "knn",
        "add_lp",
        "labeled_batch_size",
        "lp_mode",
        "lp_percent",
        "lp_step",
        "tau",
        "loss_type",
        "is_pW",
        "is_cW",
        "weighted_unlabeled_batch",
        "add_ceal",
        "ceal_th",
        "ceal_decay",
        "ceal_repeat",
        "add_fixmatch",
        "mu",
        "fixmatch_threshold",
        "fixmatch_weight",
        "self_adaptive_threshold",
        "add_unsupervised_pretraining",
        "pretraining_method",
        "pretraining_epochs",
        "pretraining_lr",
        "pretraining_batch_size",
        "pretraining_clusters",
        "pretraining_temperature",
        "sobel",
        "amp",
        "seed",
        "compile",
    ]
)


@dataclass(frozen=True)
class Registry:
    """A registry of which a run uses at most one entry.

    selected: options -> key of the entry, None for none.
    flag: how a user selects an entry, with {} for its key.
    after_first_cycle: the entry is used only from the second cycle on."""

    entries: Mapping[str, Component]
    selected: Callable[[OptionValues], str | None]
    flag: str
    after_first_cycle: bool = False

    def flag_for(self, key: str) -> str:
        """What a user types to select an entry."""
        return self.flag.format(key.replace("_", "-") if self.flag.endswith("-{}") else key)


@dataclass(frozen=True)
class OptionSchema:
    """The groups of options that every run has, and the registries that it selects from.

    repeats: whether there is a second cycle.
    checks: functions of the options that raise UserError, for what concerns several groups.
    last_section: the section that --help lists last."""

    groups: tuple[type[OptionGroup], ...]
    registries: tuple[Registry, ...]
    repeats: Condition
    checks: tuple[Callable[[OptionValues], None], ...] = ()
    last_section: str = ""

    def all_groups(self) -> list[type[OptionGroup]]:
        """Every group, each once."""
        entries = [entry for registry in self.registries for entry in registry.entries.values()]
        return self._with_groups_of(entries)

    def options(self) -> list[Option]:
        """Every option, in the order of --help."""
        return [option for section in options_by_section(self).values() for option in section]

    def selections(self, options: OptionValues) -> Iterator[tuple[Registry, str, Component]]:
        """The entries that the options select, each with its registry and key."""
        for registry in self.registries:
            key = registry.selected(options)
            if key is not None:
                yield registry, key, registry.entries[key]

    def active_groups(self, options: OptionValues) -> list[type[OptionGroup]]:
        """The groups that take part in a run."""
        return self._with_groups_of([entry for _, _, entry in self.selections(options)])

    def _with_groups_of(self, entries: list[Component]) -> list[type[OptionGroup]]:
        groups = [*self.groups, *(group for entry in entries for group in entry.groups())]
        return list(dict.fromkeys(groups))

    def require_all_read(self) -> None:
        """Raises TypeError if an entry has an option that its code never reads."""
        for registry in self.registries:
            for key, entry in registry.entries.items():
                if unread := unread_options(entry):
                    raise TypeError(
                        f"{registry.flag_for(key)} would accept {', '.join(unread)} and ignore it: "
                        "read it in the module of the entry or of the option group, or delete it"
                    )


def options_by_section(schema: OptionSchema) -> dict[str, list[Option]]:
    """Section -> its options; sections in the order in which the groups first name them."""
    sections: dict[str, list[Option]] = {}
    for group in sorted(schema.all_groups(), key=lambda g: g.section == schema.last_section):
        sections.setdefault(group.section, []).extend(options_of(group))
    return {section: options for section, options in sections.items() if options}


def build_parser(
    schema: OptionSchema, prog: str, description: str, epilog: str
) -> OneLineErrorParser:
    """A parser whose result contains only the options on the command line."""
    parser = OneLineErrorParser(
        prog=prog, description=description, epilog=epilog, allow_abbrev=False
    )
    add_options(parser, schema)
    return parser


def add_options(
    parser: OneLineErrorParser, schema: OptionSchema, multiple_values: bool = False
) -> None:
    """Add all options in their sections.  multiple_values: as in `add_option`."""
    schema.require_all_read()
    for section, options in options_by_section(schema).items():
        group = parser.add_argument_group(section)
        for option in options:
            add_option(group, option, multiple_values)


def add_option(
    parser: argparse._ActionsContainer, option: Option, multiple_values: bool = False
) -> None:
    """Add an option to a parser or to an argument group.

    The result of parsing contains the option only if it is on the command line.
    multiple_values: the option takes one or more values, which stay text."""
    settings: dict[str, Any] = {"type": option.type, "metavar": option.metavar or "X"}
    if option.is_switch:
        settings |= {"metavar": "True|False", "nargs": "?", "const": True}
    elif option.choices:
        settings["metavar"] = "{" + ",".join(option.choices) + "}"
    if multiple_values:
        nargs = "*" if option.is_switch else "+"
        settings = {"nargs": nargs, "metavar": (settings["metavar"], "X")}
    default = f" (default: {option.default_words})" if option.default_words else ""
    parser.add_argument(
        *option.flags,
        dest=option.name,
        default=argparse.SUPPRESS,
        help=(option.help + default).replace("%", "%%"),
        **settings,
    )


def parse_options(
    parser: OneLineErrorParser, schema: OptionSchema, argv: list[str] | None = None
) -> OptionValues:
    """All options with their defaults, checked.  If one is wrong, exits with status 2 and one line
    on standard error.

    argv: default sys.argv[1:]."""
    explicit_values = vars(parser.parse_args(argv))
    try:
        return validate_options(schema, explicit_values)
    except UserError as error:
        parser.error(str(error))


def validate_options(schema: OptionSchema, explicit_values: Mapping[str, Any]) -> OptionValues:
    """All options with their defaults.

    explicit_values: the options that the user set, by name.
    Raises UserError if options contradict each other or one has no effect."""
    options = fill_defaults(schema, explicit_values)
    for group in schema.active_groups(options):
        options.of(group).check(options)
    for check in schema.checks:
        check(options)
    refuse_unused_options(schema, options, explicit_values)
    return options


def fill_defaults(schema: OptionSchema, explicit_values: Mapping[str, Any]) -> OptionValues:
    """All options; those that the user did not set get the better default of a selected entry, else
    what follows from other options (`default_from`), else their own default.

    Defaults of a later registry replace those of an earlier one, `defaults_with` both."""
    declared, explicit = schema.options(), dict(explicit_values)
    own_defaults = {option.name: option.default for option in declared}
    better_defaults: dict[str, Any] = {}
    selected: list[tuple[str, Component]] = []
    for registry in schema.registries:
        # A better default may select an entry of a later registry, such as a data set its network.
        key = registry.selected(OptionValues(own_defaults | better_defaults | explicit))
        if key is not None:
            selected.append((key, registry.entries[key]))
            better_defaults |= registry.entries[key].defaults
    keys = {key for key, _ in selected}
    for _, entry in selected:
        for key, defaults in entry.defaults_with.items():
            if key in keys:
                better_defaults |= defaults
    settled = better_defaults | explicit
    values = own_defaults | settled
    for option in declared:
        if option.default_from and option.name not in settled:
            values[option.name] = option.default_from(OptionValues(values))
    return OptionValues(values, explicit)


def fit_defaults_to_data(
    schema: OptionSchema, options: OptionValues, data: Any
) -> tuple[OptionValues, list[str]]:
    """The options with defaults that fit the data, and a line for each that changed.

    data: data.budget.DataSize.  What the user gave stays as it is."""
    lines = []
    active = {one.name for group in schema.active_groups(options) for one in options_of(group)}
    for option in schema.options():
        if (
            option.default_for_data is None
            or options.is_explicit(option.name)
            or option.name not in active
        ):
            continue
        before, fitted = getattr(options, option.name), option.default_for_data(options, data)
        if fitted != before:
            options = options.replace(**{option.name: fitted})
            flag = max(option.flags, key=len)
            lines.append(
                f"{flag} is {fitted} instead of {before}, which does not fit the {data.images} "
                f"training images (give {flag} to choose it yourself)"
            )
    return options, lines


def refuse_unused_options(
    schema: OptionSchema, options: OptionValues, explicit_values: Mapping[str, Any]
) -> None:
    """Raises UserError if the user set an option that has no effect in this run.

    A switch that is off by default may be set to off anywhere."""
    late_only = _options_in_use(schema, options)
    for option in schema.options():
        is_off = option.default is False and explicit_values.get(option.name) is False
        if option.name not in explicit_values or is_off:
            continue
        is_late = option.after_first_cycle or late_only.get(option.name, False)
        missing = ""
        if option.name not in late_only:
            missing = _flags_that_enable(schema, option)
        elif option.read_if and not option.read_if.holds(options):
            missing = option.read_if.words
        elif is_late and not schema.repeats.holds(options):
            missing = schema.repeats.words
        if missing:
            raise UserError(f"{option.flag} has no effect here; it needs {missing}")


def _options_in_use(schema: OptionSchema, options: OptionValues) -> dict[str, bool]:
    """Name of each option that the run reads -> whether only from the second cycle on."""
    late_only = {option.name: False for group in schema.groups for option in options_of(group)}
    for registry, _, entry in schema.selections(options):
        for group in entry.groups():
            for option in options_of(group):
                is_late = late_only.get(option.name, True) and registry.after_first_cycle
                late_only[option.name] = is_late
    return late_only


def _flags_that_enable(schema: OptionSchema, option: Option) -> str:
    """What a user types to select an entry that reads the option: all possibilities."""
    flags = [
        registry.flag_for(key)
        for registry in schema.registries
        for key, entry in registry.entries.items()
        if any(option in options_of(group) for group in entry.groups())
    ]
    return " or ".join(dict.fromkeys(flags))


def identity_options(
    schema: OptionSchema,
    options: OptionValues,
    groups: Iterable[type[OptionGroup]] | None = None,
) -> dict[str, Any]:
    """The options that can change a result and that the active groups read, by name.

    groups: the groups that count (default: all active ones).
    An option at its default is left out unless ALWAYS_IN_IDENTITY names it, so that a new option
    leaves the identity of every earlier run as it is.  An option that has an effect only in later
    cycles is included in a run of one cycle, too, so that the run can be continued."""
    if groups is None:
        groups = schema.active_groups(options)
    values = options.as_dict()
    return {
        option.name: values[option.name]
        for group in groups
        for option in options_of(group)
        if option.identity and (option.read_if is None or option.read_if.holds(options))
        if option.name in ALWAYS_IN_IDENTITY or values[option.name] != option.default
    }


def check_options_fit_data(schema: OptionSchema, options: OptionValues, dataset: Any) -> None:
    """Raises UserError if the options of an active group do not fit the data.

    dataset: data.active_dataset.ActiveDataset."""
    for group in schema.active_groups(options):
        options.of(group).check_data(options, dataset)
