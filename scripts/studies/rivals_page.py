"""The tables of docs/rivals.md from the csv files of its studies.

python scripts/studies/rivals_page.py FOLDER [--page FILE]

FOLDER holds choice_rivals.csv, balance_rules.csv and propagation_rivals.csv; a table whose file is
missing is left out.  The tables are printed, or with --page put into FILE in the place of those
between the lines <!-- NAME --> and <!-- end of NAME -->.

p is that of a paired t-test, not corrected for the number of comparisons.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import scipy.stats

from scripts.studies import balance_rules, propagation_rivals
from utils.console import print_line
from utils.files import write_atomically

OURS = "lp_coverage"
METHODS = {
    OURS: "`lp_coverage`",
    "greedy cover": "greedy cover (`lp_coverage` before)",
    "lp_coverage, all views": "`lp_coverage`, graph of all views",
    "balanced random": "balanced random",
    "blind random": "blind random",
    "maxherding": "MaxHerding",
    "typiclust": "TypiClust",
    "probcover": "ProbCover",
    "coreset": "core-set",
    "usl": "USL",
    "rdss": "RDSS",
    "v-opt": "V-optimality",
    "sigma-opt": "Σ-optimality",
    "model change": "model change (is told the labels)",
}
IMAGES = {
    ("fashion5k", "encoder"): "Fashion, MobileNetV3",
    ("fashion5k", "simclr"): "Fashion, SimCLR",
    ("photos", "encoder"): "photographs, MobileNetV3",
    ("digits", "simclr"): "digits, SimCLR",
    ("mnist5k", "simclr"): "MNIST, SimCLR",
    ("mnist5k", "encoder"): "MNIST, MobileNetV3 *",
}
TUNED_TABLES = {
    *("contraceptive", "iris", "letter", "movement_libras"),
    *("penbased", "segment", "texture", "vowel"),
}
PROPAGATION_DATA = {"digits": "digits", "mnist5k": "MNIST", "fashion5k": "Fashion"}
MINUS = "\N{MINUS SIGN}"

# Seed -> accuracy in percent, and whether a class is missed.
Scores = dict[str, tuple[float, bool]]


def row_of(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def header(*cells: object) -> list[str]:
    return [row_of(*cells), row_of(*("---" for _ in cells))]


def format_signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", MINUS)


def difference_interval(differences: np.ndarray) -> tuple[str, str]:
    """Mean with its 95 % interval, and p, of paired differences (n,)."""
    n = len(differences)
    if n < 2:
        return "", ""
    mean, error = differences.mean(), differences.std(ddof=1) / n**0.5
    half = scipy.stats.t.ppf(0.975, n - 1) * error
    p = 2 * scipy.stats.t.sf(abs(mean) / error, n - 1) if error > 0 else float(mean == 0)
    interval = (
        f"{format_signed(mean)} ({format_signed(mean - half)} to {format_signed(mean + half)})"
    )
    return interval, "< 0.001" if p < 0.001 else f"{p:.3f}"


def read_choices(path: Path) -> dict[tuple[str, str], dict[str, Scores]]:
    """(data, features) -> method -> scores."""
    found: dict[tuple[str, str], dict[str, Scores]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            scores = found.setdefault((row["data"], row["features"]), {})
            missed = row["covered"] != row["classes"]
            scores.setdefault(row["method"], {})[row["seed"]] = float(row["accuracy"]), missed
    return {key: methods for key, methods in found.items() if OURS in methods}


def differences(ours: Scores, other: Scores) -> np.ndarray:
    return np.array([ours[seed][0] - other[seed][0] for seed in ours if seed in other])


def mean_and_spread(scores: Scores | dict[int, tuple[float, float]]) -> str:
    """Of the accuracies, which are the first parts, in percent; a single value has no standard
    deviation."""
    values = np.array([accuracy for accuracy, _ in scores.values()])
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def missing_share(scores: Scores) -> str:
    return f"{np.mean([missed for _, missed in scores.values()]):.0%}".replace("%", " %")


def image_tables(path: Path) -> list[str]:
    """One table per set of images."""
    found, lines = read_choices(path), []
    for key, title in IMAGES.items():
        if key not in found:
            continue
        ours = found[key][OURS]
        lines += header(
            f"{title} (n {len(ours)})",
            *("accuracy", "misses a class", "`lp_coverage` minus it (95 %)", "p"),
        )
        for method, name in METHODS.items():
            scores = found[key].get(method, {})
            if not scores:
                continue
            if len(scores) != len(ours):
                name += f" (n {len(scores)})"
            gap = ("", "") if method == OURS else difference_interval(differences(ours, scores))
            lines.append(row_of(name, mean_and_spread(scores), missing_share(scores), *gap))
        lines.append("")
    return lines[:-1]


def table_means(path: Path) -> list[str]:
    """Mean accuracy per table and method, and over the tables."""
    found = {data: m for (data, kind), m in read_choices(path).items() if kind == "table"}
    methods = [name for name in METHODS if any(name in scores for scores in found.values())]
    lines = header("table (n)", *(METHODS[method] for method in methods))
    means: dict[str, list[float]] = {method: [] for method in methods}
    for data in sorted(found, key=lambda name: (name not in TUNED_TABLES, name)):
        cells = []
        for method in methods:
            scores = found[data].get(method, {})
            mean = float(np.mean([s[0] for s in scores.values()])) if scores else np.nan
            means[method].append(mean)
            cells.append(f"{mean:.1f}" if scores else "")
        star = " *" if data in TUNED_TABLES else ""
        lines.append(row_of(f"{data}{star} ({len(found[data][OURS])})", *cells))
    lines.append(row_of("mean", *(f"{np.nanmean(means[method]):.1f}" for method in methods)))
    gaps = [
        difference_interval(
            np.array(
                [differences(s[OURS], s[method]).mean() for s in found.values() if method in s]
            )
        )
        for method in methods[1:]
    ]
    lines.append(row_of("`lp_coverage` minus it (95 %)", "", *(interval for interval, _ in gaps)))
    lines.append(row_of("p", "", *(p for _, p in gaps)))
    return lines


def blind_table(path: Path) -> list[str]:
    """lp_coverage beside the two random draws, on every data set."""
    lines = header(
        *("data (n)", "`lp_coverage`", "misses a class", "minus balanced random (95 %)", "p"),
        *("minus blind random (95 %)", "p"),
    )
    found = read_choices(path)
    images = [key for key in IMAGES if key in found]
    for key in (*images, *sorted(key for key in found if key not in IMAGES)):
        ours = found[key][OURS]
        cells = [f"{IMAGES.get(key, key[0])} ({len(ours)})", mean_and_spread(ours)]
        cells.append(missing_share(ours))
        for method in ("balanced random", "blind random"):
            cells += difference_interval(differences(ours, found[key][method]))
        lines.append(row_of(*cells))
    return lines


def balance_table(path: Path) -> list[str]:
    """How far each rule for the class masses falls short, per number of neighbours."""
    results = balance_rules.shortfalls(path, "")
    titles = [f"k {k}: {words}" for k in results for words in ("mean", "worst", "within 0.5")]
    lines = header("rule", *titles)
    for rule in (*balance_rules.BALANCES, *balance_rules.RULES):
        cells = []
        for losses in (np.array(by_rule[rule]) for by_rule in results.values()):
            share = f"{np.mean(losses <= 0.5):.0%}".replace("%", " %")
            cells += [f"{losses.mean():.2f}", f"{losses.max():.1f}", share]
        lines.append(row_of(rule, *cells))
    settings = " and ".join(str(len(by_rule["none"])) for by_rule in results.values())
    return [*lines, "", f"{settings} settings, in the order of the columns."]


# (data, labels per class) -> method -> draw -> accuracy in percent, and seconds.
Draws = dict[tuple[str, int], dict[str, dict[int, tuple[float, float]]]]


def read_draws(path: Path) -> Draws:
    draws: Draws = {}
    for row in propagation_rivals.read_rows(path):
        methods = draws.setdefault((row["data"], row["labels_per_class"]), {})
        results = methods.setdefault(row["method"], {})
        results[row["draw"]] = 100 * row["accuracy"], row["seconds"]
    order = list(PROPAGATION_DATA)
    return dict(sorted(draws.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def propagation_table(path: Path) -> list[str]:
    """Accuracy of every solver."""
    draws = read_draws(path)
    names = list(dict.fromkeys(name for methods in draws.values() for name in methods))
    titles = [name.replace("ours: ", "").replace("GraphLearning", "GL") for name in names]
    lines = header("data, labels per class (n)", *titles)
    for (data, count), methods in draws.items():
        n = max(map(len, methods.values()))
        cells = []
        for name in names:
            scores = methods.get(name, {})
            number = f" (n {len(scores)})" if len(scores) != n else ""
            cells.append(f"{mean_and_spread(scores)}{number}" if scores else "")
        lines.append(row_of(f"{PROPAGATION_DATA[data]}, {count} ({n})", *cells))
    return lines


def propagation_pairs(path: Path) -> list[str]:
    """Solvers of this project beside the same ones of GraphLearning, and the best beside the best:
    paired difference, p, and the ratio of the median times."""
    pairs = ("poisson", "poisson, priors", "poisson_mbo")
    lines = header("data, labels per class", "ours", "GL", "n", "ours minus GL (95 %)", "p", "time")
    for (data, count), methods in read_draws(path).items():
        names = [(f"ours: {name}", f"GraphLearning: {name}") for name in pairs]
        names.append((_best(methods, "ours"), _best(methods, "GraphLearning")))
        for number, (ours, theirs) in enumerate(names):
            common = sorted(set(methods.get(ours, {})) & set(methods.get(theirs, {})))
            if not common:
                continue
            own, peer = (np.array([methods[m][d] for d in common]) for m in (ours, theirs))
            interval, p = difference_interval(own[:, 0] - peer[:, 0])
            ratio = np.median(own[:, 1]) / np.median(peer[:, 1])
            words = [name.partition(": ")[2] for name in (ours, theirs)]
            if number == len(pairs):
                words = [f"best: {word}" for word in words]
            title = f"{PROPAGATION_DATA[data]}, {count}"
            lines.append(row_of(title, *words, len(common), interval, p, f"{ratio:.2f}"))
    return lines


def _best(methods: dict[str, dict[int, tuple[float, float]]], side: str) -> str:
    """The method of a side with the largest mean accuracy, of those with half of all draws."""
    half = max(map(len, methods.values())) / 2
    names = [name for name in methods if name.startswith(side) and len(methods[name]) >= half]
    return max(names, key=lambda name: np.mean([a for a, _ in methods[name].values()]))


TABLES: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "images": ("choice_rivals.csv", image_tables),
    "tables": ("choice_rivals.csv", table_means),
    "random draws": ("choice_rivals.csv", blind_table),
    "class masses": ("balance_rules.csv", balance_table),
    "propagation": ("propagation_rivals.csv", propagation_table),
    "propagation, paired": ("propagation_rivals.csv", propagation_pairs),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, help="put the tables into this page")
    arguments = parser.parse_args(argv)
    text = arguments.page.read_text(encoding="utf-8") if arguments.page else ""
    for name, (file, make_table) in TABLES.items():
        if not (arguments.folder / file).exists():
            continue
        table = "\n".join(make_table(arguments.folder / file))
        if not arguments.page:
            print_line(f"\n{name}\n\n{table}")
            continue
        start, end = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            sys.exit(f"{arguments.page}: no lines {start.strip()} and {end.strip()}")
        text = before + start + table + end + after
    if arguments.page:
        write_atomically(arguments.page, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
