"""A sweep's YAML: read as nodes, so that each value keeps its text and its line.

options: {dataset: digits, al_budget: 10}        one value each, of every run
product:                                         every combination
  al_method: [random, coreset]                   values of an option
  split: 0-4                                     the same as [0, 1, 2, 3, 4]
  training:                                      a name of your own: options that go together
    - {}
    - {add_lp: true, epochs: 30}
runs:                                            the same without a name; a list is a product
  - {al_method: [random, jlp], add_ceal: true}
"""

import itertools
from pathlib import Path

from sweeps.values import SweepValue, find_option, parse_values, with_location
from utils import files
from utils.errors import UserError
from utils.options.option import Option

FILE_SECTIONS = ("options", "product", "runs")
Setting = dict[str, SweepValue]  # values that go together, by the option's name
SweepAxis = list[Setting]  # of which a run has one


def read_sweep_file(path: Path, known: dict[str, Option]) -> tuple[Setting, list[SweepAxis]]:
    """What every run has, and the axes of a file.  Raises UserError with file and line."""
    reader = _SweepFileReader(path, known)
    found = {}
    for key, node in reader.read_mapping(_parse_yaml(path), f"with {', '.join(FILE_SECTIONS)}"):
        if key.value not in FILE_SECTIONS:
            raise reader.error_at(key, f"{key.value} is none of {', '.join(FILE_SECTIONS)}")
        found[key.value] = node
    axes = reader.read_product(found["product"]) if "product" in found else []
    if "runs" in found:
        axes.append(reader.read_settings(found["runs"]))
    common = reader.read_common(found["options"]) if "options" in found else {}
    return common, axes


def _parse_yaml(path: Path):
    """The root node.  Raises UserError where the file is no YAML, or pyyaml is missing."""
    try:
        import yaml  # an extra, that files alone need
    except ImportError:
        cure = "pip install -r requirements-sweep.txt, or give options"
        raise UserError(f"{path} cannot be read without pyyaml: {cure}") from None
    if not path.exists():
        raise UserError(f"there is no file {path}: give one, or options as --name value value")
    with files.os_errors_refused(path, "read"):
        content = path.read_bytes()
    try:
        root = yaml.compose(content, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise with_location(
            place, f"it is not YAML: {getattr(error, 'problem', None) or error}"
        ) from None
    if root is None:
        raise with_location(str(path), f"it is empty: give {', '.join(FILE_SECTIONS)}")
    return root


class _SweepFileReader:
    """The nodes of one file as settings and axes; every error has file and line."""

    def __init__(self, path: Path, known: dict[str, Option]):
        self.path, self.known_options = path, known

    def read_common(self, node) -> Setting:
        """Options with one value each."""
        found = {}
        for key, option, below in self._iterate_options(node):
            given = self._read_values(option, below)
            if len(given) != 1:
                raise self.error_at(key, f"{key.value} has several values: they go below product")
            found[option.name] = given[0]
        return found

    def read_product(self, node) -> list[SweepAxis]:
        """An axis for each option with its values, and for each name with its settings."""
        axes = []
        for key, below in self.read_mapping(node, "of options and their values"):
            grouped = below.id == "sequence" and {n.id for n in below.value} == {"mapping"}
            if grouped:
                axes.append(self.read_settings(below))
                continue
            option = find_option(self.known_options, key.value, self._location(key))
            axes.append([{option.name: given} for given in self._read_values(option, below)])
        return axes

    def read_settings(self, node) -> SweepAxis:
        """A list of settings; one that has lists stands for all their combinations."""
        if node.id != "sequence" or not node.value:
            raise self.error_at(
                node, "a list of options that go together is wanted: - {add_lp: true}"
            )
        found = []
        for each in node.value:
            given = [
                self._read_values(option, below) for _, option, below in self._iterate_options(each)
            ]
            for combined in itertools.product(*given):
                found.append({one.option.name: one for one in combined})
        return found

    def _iterate_options(self, node):
        """-> (key, option, node of its values), each option once."""
        seen = {}
        for key, below in self.read_mapping(node, "of options and their values"):
            option = find_option(self.known_options, key.value, self._location(key))
            if option.name in seen:
                raise self.error_at(key, f"{key.value} is given twice, also as {seen[option.name]}")
            seen[option.name] = key.value
            yield key, option, below

    def _read_values(self, option: Option, node) -> list[SweepValue]:
        nodes = node.value if node.id == "sequence" else [node]
        if not nodes or any(each.id != "scalar" for each in nodes):
            raise self.error_at(node, f"{option.name}: a value or a list of values is wanted")
        return [given for n in nodes for given in parse_values(option, n.value, self._location(n))]

    def read_mapping(self, node, words: str) -> list:
        """The keys and values of a mapping, each key once."""
        if node.id != "mapping":
            raise self.error_at(node, f"a mapping {words} is wanted")
        seen = set()
        for key, _ in node.value:
            if key.id != "scalar":
                raise self.error_at(key, "a name is wanted, and a colon")
            if key.value in seen:
                raise self.error_at(key, f"{key.value} is given twice")
            seen.add(key.value)
        return node.value

    def error_at(self, node, words: str) -> UserError:
        return with_location(self._location(node), words)

    def _location(self, node) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}"
