"""The claims of the study: tables and a figure from its runs.

python scripts/studies/claims.py study        writes study/claims.md and study/claims.png

The runs are those of scripts/studies/study_digits.yaml and scripts/studies/study_mnist.yaml.  Every comparison is
paired over the splits, each with a seed and a pre-trained network of its own.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a path, from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import pandas as pd

from reports.output_files import write
from reports.paired_tests import compare, holm
from reports.runs import Sample, read_folder
from utils.console import say
from utils.errors import UserError
from utils.options.cli import OneLineParser, complain
from utils.options.converters import not_empty

TITLES = {"digits": "digits", "folder": "5,000 MNIST digits"}
AS_MANY = {  # by steps an epoch, on digits and on MNIST
    19: "steps",
    52: "steps",
    238: "images",
    659: "images",
    958: "images of PRE",
    8000: "images of PRE",
}
CHOSEN, RANDOM = "chosen ten", "random"
SPLITS, USUAL, LATER = 5, (10, 50), (30, 50)  # and numbers of labels
ALONE, PRE, LP, BOTH, CEAL = "labels only", "PRE", "LP", "PRE + LP", "CEAL"
STEPS, IMAGES = "as many steps", "as many images"
LINES = {  # way of training -> colour, style
    ALONE: ("tab:gray", "-"),
    f"{ALONE}, {IMAGES}": ("tab:gray", ":"),
    CEAL: ("tab:brown", "-"),
    PRE: ("tab:orange", "-"),
    f"{PRE}, {IMAGES}": ("tab:orange", ":"),
    LP: ("tab:blue", "-"),
    BOTH: ("tab:green", "-"),
    f"{BOTH}, {CHOSEN}": ("tab:red", "-"),
}


@dataclass(frozen=True)
class Claim:
    """One way of training and method against another, at so many labels, few and many; "all": the
    mean of all methods that choose."""

    words: str
    mine: tuple[str, str]
    other: tuple[str, str]
    labels: tuple[int, int] = USUAL


def _by_random(mine: str, other: str, labels=USUAL) -> Claim:
    return Claim(f"{mine} against {other}", (mine, RANDOM), (other, RANDOM), labels)


def _against_random(method: str, way: str, words: str = "") -> Claim:
    """The first labels are the same for all."""
    return Claim(f"{words or method} against random, {way}", (way, method), (way, RANDOM), LATER)


CLAIMS = (
    _by_random(PRE, ALONE),
    _by_random(PRE, f"{ALONE}, {IMAGES} of PRE"),
    *(_by_random(LP, other) for other in (ALONE, f"{ALONE}, {STEPS}", f"{ALONE}, {IMAGES}")),
    *(_by_random(BOTH, other) for other in (ALONE, f"{ALONE}, {STEPS}", f"{ALONE}, {IMAGES}")),
    *(_by_random(BOTH, other) for other in (PRE, f"{PRE}, {STEPS}", f"{PRE}, {IMAGES}")),
    _by_random(CEAL, ALONE, LATER),
    *(_against_random("all", way, "five methods") for way in (ALONE, PRE, LP, BOTH)),
    *(_against_random("lp_coverage", way) for way in (ALONE, PRE, LP, BOTH)),
    *(
        Claim(f"random, {BOTH}, against {method}, {ALONE}", (BOTH, RANDOM), (ALONE, method))
        for method in ("coreset", "lp_coverage")
    ),
    _by_random(f"{BOTH}, {CHOSEN}", BOTH),
)


def main(argv=None) -> int:
    parser = OneLineParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=not_empty, help="where the study's runs are")
    folder = Path(parser.parse_args(argv).folder)
    try:
        samples, notes = read_folder(folder)
        for note in notes:
            say(note, "stderr")
        curves = gathered(samples)
        if not curves:
            raise UserError(f"no finished run of the study below {folder}")
        tables = [means(curves), claims(curves), choices(curves)]
        text = "\n".join(tables)
        write({folder / "claims.md": text.encode(), folder / "claims.png": figure(curves)})
    except UserError as error:
        return complain(error)
    say(text)
    return 0


def way_of(sample: Sample) -> str:
    """The way of training, in words."""
    config = sample.config
    parts = [PRE] if config["add_unsupervised_pretraining"] else []
    parts += [name for name in (LP, CEAL) if config[f"add_{name.lower()}"]]
    words = " + ".join(parts) or ALONE
    if steps := config["steps_per_epoch"]:
        words += f", as many {AS_MANY.get(steps, f'steps as {steps} an epoch')}"
    return f"{words}, {CHOSEN}" if config["initial"] != "balanced" else words


def gathered(samples: list[Sample]) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Data set, way of training, method -> top-1: a row a split and seed, a column a number of
    labels."""
    rows = {}
    for sample in samples:
        key = sample.config["dataset"], way_of(sample), sample.config["al_method"]
        curve = sample.results.set_index("labeled")["top1"]
        rows.setdefault(key, {})[sample.split, sample.seed] = curve
    return {key: pd.DataFrame(found).T.sort_index() for key, found in rows.items()}


def _of(curves, dataset: str, way: str, method: str) -> pd.DataFrame | None:
    """The curves of a method, or the mean of all that choose."""
    if method != "all":
        return curves.get((dataset, way, method))
    some = [found for key, found in curves.items() if key[:2] == (dataset, way)]
    some = [found for found in some if found is not curves.get((dataset, way, RANDOM))]
    return sum(some) / len(some) if some else None


def _compared(curves, dataset: str, wanted: list[Claim]) -> pd.DataFrame:
    """What `compare` says, and p after Holm's correction: a row for each place in `wanted` and
    number of labels that this data set has."""
    rows = {}
    for place, claim in enumerate(wanted):
        mine, other = (_of(curves, dataset, *side) for side in (claim.mine, claim.other))
        for labels in claim.labels:
            if mine is not None and other is not None and labels in mine and labels in other:
                rows[place, labels] = compare((mine[labels] - other[labels]).dropna().to_numpy())
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.assign(p=holm(frame["t_p"])) if len(frame) else frame


def _table(title: str, curves, wanted: list[Claim], usual=USUAL) -> str:
    """A row a claim; for each data set a column with few labels and one with many, `usual`."""
    sets = [name for name in TITLES if any(key[0] == name for key in curves)]
    frames = [_compared(curves, name, wanted) for name in sets]
    heads = [f"{TITLES[name]}, {labels} labels" for name in sets for labels in usual]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for place, claim in enumerate(wanted):
        cells = [
            cell(frame.loc[(place, labels),]) if (place, labels) in frame.index else ""
            for frame in frames
            for labels in claim.labels
        ]
        if any(cells):
            few, many = claim.labels
            words = claim.words if claim.labels == usual else f"{claim.words} ({few}, {many})"
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(row, usual: int = SPLITS) -> str:
    """The difference with its interval by t, p, and n where it is not the usual one."""
    mean, low, high = (f"{round(row[name], 1) + 0.0:+.1f}" for name in ("mean", "t_low", "t_high"))
    words = f"{mean} ({low} to {high})" if row["n"] > 1 else mean
    if not np.isnan(row["p"]):
        words += ", p < 0.001" if row["p"] < 0.001 else f", p {row['p']:.2g}"
    if row["n"] != usual:
        words += f", n {row['n']:.0f}"
    return words.replace("-", "−")


def claims(curves) -> str:
    """The claims, in points."""
    return _table("difference in points", curves, list(CLAIMS))


def choices(curves) -> str:
    """Each method against random under each way of training."""
    methods = list(dict.fromkeys(key[2] for key in curves if key[2] != RANDOM))
    ways = (ALONE, PRE, LP, BOTH)
    wanted = [_against_random(method, way) for way in ways for method in methods]
    return _table("each method, difference in points", curves, wanted, LATER)


def means(curves) -> str:
    """Mean and deviation of every row of the study."""
    lines = ["| data set | training | method | n | 10 labels | 30 labels | 50 labels |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for (dataset, way, method), frame in curves.items():
        cells = [
            f"{frame[n].mean():.1f} ± {frame[n].std():.1f}" if n in frame else ""
            for n in (10, 30, 50)
        ]
        lines.append(
            f"| {TITLES[dataset]} | {way} | {method} | {len(frame)} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def figure(curves) -> bytes:
    """A panel a data set: the error with random choice, and from the worst to the best method, for
    each way of training."""
    import io

    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    sets = [name for name in TITLES if any(key[0] == name for key in curves)]
    drawn, axes = pyplot.subplots(
        1, len(sets), figsize=(5 * len(sets), 4.4), squeeze=False, layout="constrained"
    )
    for axis, dataset in zip(axes[0], sets, strict=True):
        for way, (colour, style) in LINES.items():
            _draw(axis, curves, dataset, way, colour, style)
        axis.set(title=TITLES[dataset], xlabel="labels", yscale="log", xticks=(10, 30, 50))
        axis.set_yticks(ticks := (1, 2, 5, 10, 20, 50), [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("error on test images, %")
    drawn.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2 * len(sets)
    )
    image = io.BytesIO()
    drawn.savefig(image, format="png", dpi=110)
    return image.getvalue()


def _draw(axis, curves, dataset: str, way: str, colour: str, style: str) -> None:
    errors = {
        key[2]: 100 - frame.mean() for key, frame in curves.items() if key[:2] == (dataset, way)
    }
    if RANDOM not in errors:
        return
    line = errors[RANDOM]
    axis.plot(line.index, line, color=colour, linestyle=style, marker="o", label=way)
    if len(errors) > 1:
        spread = pd.DataFrame(errors)
        low, high = spread.min(axis=1), spread.max(axis=1)
        axis.fill_between(spread.index, low, high, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    sys.exit(main())
