"""Reads a sweep file.  Its YAML is read as nodes, so that each value keeps its text and its line.

options: {dataset: digits, al_budget: 10}        one value each, for every run
product:                                         every combination of:
  al_method: [random, coreset]                   the values of an option
  split: 0-4                                     the same as [0, 1, 2, 3, 4]
  training:                                      under any name: options that belong together
    - {}
    - {add_lp: true, epochs: 30}
runs:                                            the same without a name; a list is a product
  - {al_method: [random, jlp], add_ceal: true}
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from sweeps.values import (
    SweepValue,
    check_run_count,
    find_option,
    parse_values,
    with_location,
)
from utils import files
from utils.errors import UserError
from utils.options.option import Option

FILE_SECTIONS = ("options", "product", "runs")
Setting: TypeAlias = dict[str, SweepValue]  # values that belong together, by option name
SweepAxis: TypeAlias = list[Setting]  # alternatives, of which each run has one
_Node: TypeAlias = Any  # a yaml.Node; its type stubs lack the attribute "id"


def read_sweep_file(
    path: Path, known_options: Mapping[str, Option]
) -> tuple[Setting, list[SweepAxis]]:
    """The values that all runs have, and the axes.  Raises UserError with file and line."""
    reader = _SweepFileReader(path, known_options)
    sections = {}
    for key, node in reader.read_mapping(_parse_yaml(path), f"with {', '.join(FILE_SECTIONS)}"):
        if key.value not in FILE_SECTIONS:
            raise reader.error_at(key, f"{key.value} is not one of {', '.join(FILE_SECTIONS)}")
        sections[key.value] = node
    axes = reader.read_product(sections["product"]) if "product" in sections else []
    if "runs" in sections:
        axes.append(reader.read_settings(sections["runs"]))
    common = reader.read_common(sections["options"]) if "options" in sections else {}
    return common, axes


def _parse_yaml(path: Path) -> _Node:
    """The root node.  Raises UserError if the file is not YAML, or if pyyaml is not installed."""
    try:
        import yaml  # optional, needed only for files
    except ImportError:
        cure = "pip install --group sweeps, or give options instead of a file"
        raise UserError(f"{path} cannot be read without pyyaml: {cure}") from None
    if not path.exists():
        raise UserError(f"there is no file {path}; options are given as --name value value")
    with files.os_errors_refused(path, "read"):
        content = path.read_bytes()
    try:
        root = yaml.compose(content, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        location = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or error
        raise with_location(location, f"it is not YAML: {reason}") from None
    if root is None:
        raise with_location(str(path), f"it is empty; it needs {', '.join(FILE_SECTIONS)}")
    return root


class _SweepFileReader:
    """Reads the nodes of one file as settings and axes; every error has file and line."""

    def __init__(self, path: Path, known_options: Mapping[str, Option]):
        self.path, self.known_options = path, known_options

    def read_common(self, node: _Node) -> Setting:
        """Options with one value each."""
        common = {}
        for key, option, value_node in self._iterate_options(node):
            values = self._read_values(option, value_node)
            if len(values) != 1:
                raise self.error_at(
                    key, f"{key.value} has several values; they belong under product"
                )
            common[option.name] = values[0]
        return common

    def read_product(self, node: _Node) -> list[SweepAxis]:
        """One axis per option with values, and one per name with settings."""
        axes = []
        for key, value_node in self.read_mapping(node, "of options and their values"):
            is_sequence = value_node.id == "sequence"
            if is_sequence and {item.id for item in value_node.value} == {"mapping"}:
                axes.append(self.read_settings(value_node))
                continue
            option = find_option(self.known_options, key.value, self._location(key))
            axes.append([{option.name: value} for value in self._read_values(option, value_node)])
        return axes

    def read_settings(self, node: _Node) -> SweepAxis:
        """A list of settings; one that contains lists stands for all their combinations."""
        if node.id != "sequence" or not node.value:
            raise self.error_at(
                node, "expected a list of options that belong together: - {add_lp: true}"
            )
        settings: list[Setting] = []
        for item in node.value:
            values_per_option = [
                self._read_values(option, value_node)
                for _, option, value_node in self._iterate_options(item)
            ]
            count = len(settings) + math.prod(map(len, values_per_option))
            check_run_count(count, self._location(item))
            for values in itertools.product(*values_per_option):
                settings.append({value.option.name: value for value in values})
        return settings

    def _iterate_options(self, node: _Node) -> Iterator[tuple[_Node, Option, _Node]]:
        """Yields key, option and the node of its values, each option once."""
        spelling: dict[str, str] = {}
        for key, value_node in self.read_mapping(node, "of options and their values"):
            option = find_option(self.known_options, key.value, self._location(key))
            if option.name in spelling:
                earlier = spelling[option.name]
                raise self.error_at(key, f"{key.value} is given twice, also as {earlier}")
            spelling[option.name] = key.value
            yield key, option, value_node

    def _read_values(self, option: Option, node: _Node) -> list[SweepValue]:
        items = node.value if node.id == "sequence" else [node]
        if not items or any(item.id != "scalar" for item in items):
            raise self.error_at(node, f"{option.name}: expected a value or a list of values")
        return [
            value
            for item in items
            for value in parse_values(option, item.value, self._location(item))
        ]

    def read_mapping(self, node: _Node, content: str) -> list[tuple[_Node, _Node]]:
        """The keys and values of a mapping, each key once; content: for the error message."""
        if node.id != "mapping":
            raise self.error_at(node, f"expected a mapping {content}")
        names = set()
        for key, _ in node.value:
            if key.id != "scalar":
                raise self.error_at(key, "expected a name and a colon")
            if key.value in names:
                raise self.error_at(key, f"{key.value} is given twice")
            names.add(key.value)
        return node.value

    def error_at(self, node: _Node, message: str) -> UserError:
        return with_location(self._location(node), message)

    def _location(self, node: _Node) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}"
