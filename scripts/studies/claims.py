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

from reports.output_files import write_all_or_none
from reports.paired_tests import difference_statistics, holm_correction
from reports.runs import RunResult, read_runs_below
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

DATASET_TITLES = {"digits": "digits", "folder": "5,000 MNIST digits"}
MATCHED_QUANTITY = {  # by steps an epoch, on digits and on MNIST
    19: "steps",
    52: "steps",
    238: "images",
    659: "images",
    958: "images of PRE",
    8000: "images of PRE",
}
SELECTED_INITIAL, RANDOM_METHOD = "chosen ten", "random"
NUM_SPLITS, DEFAULT_LABEL_COUNTS, LATE_LABEL_COUNTS = 5, (10, 50), (30, 50)  # and numbers of labels
SUPERVISED, PRETRAINING, LABEL_PROPAGATION, PRETRAINING_AND_LP, CEAL = (
    "labels only",
    "PRE",
    "LP",
    "PRE + LP",
    "CEAL",
)
MATCHED_STEPS, MATCHED_IMAGES = "as many steps", "as many images"
LINE_STYLES = {  # way of training -> colour, style
    SUPERVISED: ("tab:gray", "-"),
    f"{SUPERVISED}, {MATCHED_IMAGES}": ("tab:gray", ":"),
    CEAL: ("tab:brown", "-"),
    PRETRAINING: ("tab:orange", "-"),
    f"{PRETRAINING}, {MATCHED_IMAGES}": ("tab:orange", ":"),
    LABEL_PROPAGATION: ("tab:blue", "-"),
    PRETRAINING_AND_LP: ("tab:green", "-"),
    f"{PRETRAINING_AND_LP}, {SELECTED_INITIAL}": ("tab:red", "-"),
}


@dataclass(frozen=True)
class Claim:
    """One way of training and method against another, at so many labels, few and many; "all": the
    mean of all methods that choose."""

    description: str
    treatment: tuple[str, str]
    reference: tuple[str, str]
    label_counts: tuple[int, int] = DEFAULT_LABEL_COUNTS


def _compare_trainings(mine: str, other: str, labels=DEFAULT_LABEL_COUNTS) -> Claim:
    return Claim(f"{mine} against {other}", (mine, RANDOM_METHOD), (other, RANDOM_METHOD), labels)


def _compare_with_random(method: str, way: str, words: str = "") -> Claim:
    """The first labels are the same for all."""
    return Claim(
        f"{words or method} against random, {way}",
        (way, method),
        (way, RANDOM_METHOD),
        LATE_LABEL_COUNTS,
    )


CLAIMS = (
    _compare_trainings(PRETRAINING, SUPERVISED),
    _compare_trainings(PRETRAINING, f"{SUPERVISED}, {MATCHED_IMAGES} of PRE"),
    *(
        _compare_trainings(LABEL_PROPAGATION, other)
        for other in (
            SUPERVISED,
            f"{SUPERVISED}, {MATCHED_STEPS}",
            f"{SUPERVISED}, {MATCHED_IMAGES}",
        )
    ),
    *(
        _compare_trainings(PRETRAINING_AND_LP, other)
        for other in (
            SUPERVISED,
            f"{SUPERVISED}, {MATCHED_STEPS}",
            f"{SUPERVISED}, {MATCHED_IMAGES}",
        )
    ),
    *(
        _compare_trainings(PRETRAINING_AND_LP, other)
        for other in (
            PRETRAINING,
            f"{PRETRAINING}, {MATCHED_STEPS}",
            f"{PRETRAINING}, {MATCHED_IMAGES}",
        )
    ),
    _compare_trainings(CEAL, SUPERVISED, LATE_LABEL_COUNTS),
    *(
        _compare_with_random("all", way, "five methods")
        for way in (SUPERVISED, PRETRAINING, LABEL_PROPAGATION, PRETRAINING_AND_LP)
    ),
    *(
        _compare_with_random("lp_coverage", way)
        for way in (SUPERVISED, PRETRAINING, LABEL_PROPAGATION, PRETRAINING_AND_LP)
    ),
    *(
        Claim(
            f"random, {PRETRAINING_AND_LP}, against {method}, {SUPERVISED}",
            (PRETRAINING_AND_LP, RANDOM_METHOD),
            (SUPERVISED, method),
        )
        for method in ("coreset", "lp_coverage")
    ),
    _compare_trainings(f"{PRETRAINING_AND_LP}, {SELECTED_INITIAL}", PRETRAINING_AND_LP),
)


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="where the study's runs are")
    folder = Path(parser.parse_args(argv).folder)
    try:
        samples, notes = read_runs_below(folder)
        for note in notes:
            print_line(note, "stderr")
        curves = collect_curves(samples)
        if not curves:
            raise UserError(f"no finished run of the study below {folder}")
        tables = [means_table(curves), claims_table(curves), methods_table(curves)]
        text = "\n".join(tables)
        write_all_or_none(
            {folder / "claims.md": text.encode(), folder / "claims.png": draw_figure(curves)}
        )
    except UserError as error:
        return print_error(error)
    print_line(text)
    return 0


def training_name(sample: RunResult) -> str:
    """The way of training, in words."""
    config = sample.config
    parts = [PRETRAINING] if config["add_unsupervised_pretraining"] else []
    parts += [name for name in (LABEL_PROPAGATION, CEAL) if config[f"add_{name.lower()}"]]
    words = " + ".join(parts) or SUPERVISED
    if steps := config["steps_per_epoch"]:
        words += f", as many {MATCHED_QUANTITY.get(steps, f'steps as {steps} an epoch')}"
    return f"{words}, {SELECTED_INITIAL}" if config["initial"] != "balanced" else words


def collect_curves(samples: list[RunResult]) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Data set, way of training, method -> top-1: a row a split and seed, a column a number of
    labels."""
    rows = {}
    for sample in samples:
        key = sample.config["dataset"], training_name(sample), sample.config["al_method"]
        curve = sample.results.set_index("labeled")["top1"]
        rows.setdefault(key, {})[sample.split, sample.seed] = curve
    return {key: pd.DataFrame(found).T.sort_index() for key, found in rows.items()}


def _method_curves(curves, dataset: str, way: str, method: str) -> pd.DataFrame | None:
    """The curves of a method, or the mean of all that choose."""
    if method != "all":
        return curves.get((dataset, way, method))
    some = [found for key, found in curves.items() if key[:2] == (dataset, way)]
    some = [found for found in some if found is not curves.get((dataset, way, RANDOM_METHOD))]
    return sum(some) / len(some) if some else None


def _compare_claims(curves, dataset: str, wanted: list[Claim]) -> pd.DataFrame:
    """What `compare` says, and p after Holm's correction: a row for each place in `wanted` and
    number of labels that this data set has."""
    rows = {}
    for place, claim in enumerate(wanted):
        mine, other = (
            _method_curves(curves, dataset, *side) for side in (claim.treatment, claim.reference)
        )
        for labels in claim.label_counts:
            if mine is not None and other is not None and labels in mine and labels in other:
                rows[place, labels] = difference_statistics(
                    (mine[labels] - other[labels]).dropna().to_numpy()
                )
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.assign(p=holm_correction(frame["t_p"])) if len(frame) else frame


def _comparison_table(title: str, curves, wanted: list[Claim], usual=DEFAULT_LABEL_COUNTS) -> str:
    """A row a claim; for each data set a column with few labels and one with many, `usual`."""
    sets = [name for name in DATASET_TITLES if any(key[0] == name for key in curves)]
    frames = [_compare_claims(curves, name, wanted) for name in sets]
    heads = [f"{DATASET_TITLES[name]}, {labels} labels" for name in sets for labels in usual]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for place, claim in enumerate(wanted):
        cells = [
            format_difference(frame.loc[(place, labels),]) if (place, labels) in frame.index else ""
            for frame in frames
            for labels in claim.label_counts
        ]
        if any(cells):
            few, many = claim.label_counts
            words = (
                claim.description
                if claim.label_counts == usual
                else f"{claim.description} ({few}, {many})"
            )
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def format_difference(row, usual: int = NUM_SPLITS) -> str:
    """The difference with its interval by t, p, and n where it is not the usual one."""
    mean, low, high = (f"{round(row[name], 1) + 0.0:+.1f}" for name in ("mean", "t_low", "t_high"))
    words = f"{mean} ({low} to {high})" if row["n"] > 1 else mean
    if not np.isnan(row["p"]):
        words += ", p < 0.001" if row["p"] < 0.001 else f", p {row['p']:.2g}"
    if row["n"] != usual:
        words += f", n {row['n']:.0f}"
    return words.replace("-", "−")


def claims_table(curves) -> str:
    """The claims, in points."""
    return _comparison_table("difference in points", curves, list(CLAIMS))


def methods_table(curves) -> str:
    """Each method against random under each way of training."""
    methods = list(dict.fromkeys(key[2] for key in curves if key[2] != RANDOM_METHOD))
    ways = (SUPERVISED, PRETRAINING, LABEL_PROPAGATION, PRETRAINING_AND_LP)
    wanted = [_compare_with_random(method, way) for way in ways for method in methods]
    return _comparison_table("each method, difference in points", curves, wanted, LATE_LABEL_COUNTS)


def means_table(curves) -> str:
    """Mean and deviation of every row of the study."""
    lines = ["| data set | training | method | n | 10 labels | 30 labels | 50 labels |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for (dataset, way, method), frame in curves.items():
        cells = [
            f"{frame[n].mean():.1f} ± {frame[n].std():.1f}" if n in frame else ""
            for n in (10, 30, 50)
        ]
        lines.append(
            f"| {DATASET_TITLES[dataset]} | {way} | {method} | {len(frame)} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines) + "\n"


def draw_figure(curves) -> bytes:
    """A panel a data set: the error with random choice, and from the worst to the best method, for
    each way of training."""
    import io

    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    sets = [name for name in DATASET_TITLES if any(key[0] == name for key in curves)]
    drawn, axes = pyplot.subplots(
        1, len(sets), figsize=(5 * len(sets), 4.4), squeeze=False, layout="constrained"
    )
    for axis, dataset in zip(axes[0], sets, strict=True):
        for way, (colour, style) in LINE_STYLES.items():
            _draw_training(axis, curves, dataset, way, colour, style)
        axis.set(title=DATASET_TITLES[dataset], xlabel="labels", yscale="log", xticks=(10, 30, 50))
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


def _draw_training(axis, curves, dataset: str, way: str, colour: str, style: str) -> None:
    errors = {
        key[2]: 100 - frame.mean() for key, frame in curves.items() if key[:2] == (dataset, way)
    }
    if RANDOM_METHOD not in errors:
        return
    line = errors[RANDOM_METHOD]
    axis.plot(line.index, line, color=colour, linestyle=style, marker="o", label=way)
    if len(errors) > 1:
        spread = pd.DataFrame(errors)
        low, high = spread.min(axis=1), spread.max(axis=1)
        axis.fill_between(spread.index, low, high, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    sys.exit(main())
