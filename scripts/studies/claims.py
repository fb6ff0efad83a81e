"""The claims of the study, computed from its runs: tables and a figure.

python scripts/studies/claims.py study        writes study/claims.md and study/claims.png

The runs are those of study_digits.yaml and study_mnist.yaml in scripts/studies/.  Every comparison
is paired over the splits, each of which has its own seed and pre-trained network.
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.output_files import write_all_or_none
from reports.paired_tests import difference_statistics, holm_correction
from reports.runs import RunResult, read_runs_below
from utils.console import print_line
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text

DATASET_TITLES = {"digits": "digits", "folder": "5,000 MNIST digits"}
NUM_SPLITS = 5
DEFAULT_LABEL_COUNTS = (10, 50)  # few and many labels, at which a claim is tested
LATE_LABEL_COUNTS = (30, 50)  # for claims on selection, which starts after the first ten labels
RANDOM_METHOD, ALL_METHODS = "random", "all"
SUPERVISED = "supervised baseline"
PRETRAINING = "PRE"
LABEL_PROPAGATION = "LP"
PRETRAINING_AND_LP = "PRE + LP"
CEAL = "CEAL"
MATCHED_STEPS, MATCHED_IMAGES = "matched steps", "matched images"
MATCHED_TO_PRETRAINING = "images matched to PRE"
SELECTED_INITIAL = "selected ten"
MATCHED_QUANTITY = {  # steps per epoch, on digits and on MNIST digits
    19: MATCHED_STEPS,
    52: MATCHED_STEPS,
    238: MATCHED_IMAGES,
    659: MATCHED_IMAGES,
    958: MATCHED_TO_PRETRAINING,
    8000: MATCHED_TO_PRETRAINING,
}
LINE_STYLES = {  # training -> colour, line style
    SUPERVISED: ("tab:gray", "-"),
    f"{SUPERVISED}, {MATCHED_IMAGES}": ("tab:gray", ":"),
    CEAL: ("tab:brown", "-"),
    PRETRAINING: ("tab:orange", "-"),
    f"{PRETRAINING}, {MATCHED_IMAGES}": ("tab:orange", ":"),
    LABEL_PROPAGATION: ("tab:blue", "-"),
    PRETRAINING_AND_LP: ("tab:green", "-"),
    f"{PRETRAINING_AND_LP}, {SELECTED_INITIAL}": ("tab:red", "-"),
}
# (data set, training, method) -> accuracies: one row per split and seed, one column per number of
# labels
Curves: TypeAlias = dict[tuple[str, str, str], pd.DataFrame]


@dataclass(frozen=True)
class Claim:
    """A comparison of two (training, method) at few and at many labels.

    The method ALL_METHODS stands for the mean over all methods except random selection."""

    description: str
    treatment: tuple[str, str]
    reference: tuple[str, str]
    label_counts: tuple[int, int] = DEFAULT_LABEL_COUNTS


def _compare_trainings(
    treatment: str, reference: str, label_counts: tuple[int, int] = DEFAULT_LABEL_COUNTS
) -> Claim:
    return Claim(
        f"{treatment} against {reference}",
        (treatment, RANDOM_METHOD),
        (reference, RANDOM_METHOD),
        label_counts,
    )


def _compare_with_random(method: str, training: str, method_words: str = "") -> Claim:
    """At LATE_LABEL_COUNTS, because the first labels are the same for all methods."""
    return Claim(
        f"{method_words or method} against random, {training}",
        (training, method),
        (training, RANDOM_METHOD),
        LATE_LABEL_COUNTS,
    )


TRAININGS = (SUPERVISED, PRETRAINING, LABEL_PROPAGATION, PRETRAINING_AND_LP)
CLAIMS = (
    _compare_trainings(PRETRAINING, SUPERVISED),
    _compare_trainings(PRETRAINING, f"{SUPERVISED}, {MATCHED_TO_PRETRAINING}"),
    *(
        _compare_trainings(treatment, reference + matched)
        for treatment, reference in (
            (LABEL_PROPAGATION, SUPERVISED),
            (PRETRAINING_AND_LP, SUPERVISED),
            (PRETRAINING_AND_LP, PRETRAINING),
        )
        for matched in ("", f", {MATCHED_STEPS}", f", {MATCHED_IMAGES}")
    ),
    _compare_trainings(CEAL, SUPERVISED, LATE_LABEL_COUNTS),
    *(
        _compare_with_random(ALL_METHODS, training, "mean of five methods")
        for training in TRAININGS
    ),
    *(_compare_with_random("lp_coverage", training) for training in TRAININGS),
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineErrorParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=non_empty_text, help="folder with the runs of the study")
    folder = Path(parser.parse_args(argv).folder)
    try:
        runs, notes = read_runs_below(folder)
        for note in notes:
            print_line(note, "stderr")
        curves = collect_curves(runs)
        if not curves:
            raise UserError(f"no finished run of the study below {folder}")
        text = "\n".join([means_table(curves), claims_table(curves), methods_table(curves)])
        write_all_or_none(
            {folder / "claims.md": text.encode(), folder / "claims.png": draw_figure(curves)}
        )
    except UserError as error:
        return print_error(error)
    print_line(text)
    return 0


def training_name(run: RunResult) -> str:
    """The way of training in words."""
    config = run.config
    parts = [PRETRAINING] if config["add_unsupervised_pretraining"] else []
    parts += [name for name in (LABEL_PROPAGATION, CEAL) if config[f"add_{name.lower()}"]]
    words = " + ".join(parts) or SUPERVISED
    if steps := config["steps_per_epoch"]:
        words += f", {MATCHED_QUANTITY.get(steps, f'{steps} steps per epoch')}"
    return f"{words}, {SELECTED_INITIAL}" if config["initial"] != "balanced" else words


def collect_curves(runs: list[RunResult]) -> Curves:
    """The top-1 accuracy of all runs."""
    rows: dict[tuple[str, str, str], dict[tuple[int, int], pd.Series]] = {}
    for run in runs:
        key = run.config["dataset"], training_name(run), run.config["al_method"]
        curve = run.results.set_index("labeled")["top1"]
        rows.setdefault(key, {})[run.split, run.seed] = curve
    return {key: pd.DataFrame(by_replicate).T.sort_index() for key, by_replicate in rows.items()}


def _method_curves(curves: Curves, dataset: str, training: str, method: str) -> pd.DataFrame | None:
    """The curves of a method, or their mean over all methods except random selection."""
    if method != ALL_METHODS:
        return curves.get((dataset, training, method))
    frames = [
        frame
        for key, frame in curves.items()
        if key[:2] == (dataset, training) and key[2] != RANDOM_METHOD
    ]
    return sum(frames) / len(frames) if frames else None


def compare_claims(curves: Curves, dataset: str, claims: Sequence[Claim]) -> pd.DataFrame:
    """Statistics of each claim at each of its numbers of labels that the data set has.

    Index: position in `claims` and number of labels.  Columns: those of difference_statistics, and
    p, that of the t-test after Holm's correction."""
    rows = {}
    for position, claim in enumerate(claims):
        treatment = _method_curves(curves, dataset, *claim.treatment)
        reference = _method_curves(curves, dataset, *claim.reference)
        if treatment is None or reference is None:
            continue
        for count in claim.label_counts:
            if count in treatment and count in reference:
                differences = (treatment[count] - reference[count]).dropna().to_numpy()
                rows[position, count] = difference_statistics(differences)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.assign(p=holm_correction(frame["t_p"])) if len(frame) else frame


def _comparison_table(
    title: str,
    curves: Curves,
    claims: Sequence[Claim],
    header_counts: tuple[int, int] = DEFAULT_LABEL_COUNTS,
) -> str:
    """One row per claim; two columns per data set, at few and at many labels.

    header_counts: those of the header; a claim with others names them."""
    datasets = [name for name in DATASET_TITLES if any(key[0] == name for key in curves)]
    frames = [compare_claims(curves, name, claims) for name in datasets]
    heads = [f"{DATASET_TITLES[name]}, {n} labels" for name in datasets for n in header_counts]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for position, claim in enumerate(claims):
        cells = [
            format_difference(frame.loc[(position, n),]) if (position, n) in frame.index else ""
            for frame in frames
            for n in claim.label_counts
        ]
        if any(cells):
            words = claim.description
            if claim.label_counts != header_counts:
                few, many = claim.label_counts
                words += f" ({few}, {many})"
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def format_difference(row: pd.Series, expected_n: int = NUM_SPLITS) -> str:
    """The mean difference with its interval by t, p, and n if it is not the expected one."""
    mean, low, high = (f"{round(row[name], 1) + 0.0:+.1f}" for name in ("mean", "t_low", "t_high"))
    words = f"{mean} ({low} to {high})" if row["n"] > 1 else mean
    if not np.isnan(row["p"]):
        words += ", p < 0.001" if row["p"] < 0.001 else f", p {row['p']:.2g}"
    if row["n"] != expected_n:
        words += f", n {row['n']:.0f}"
    return words.replace("-", "−")


def claims_table(curves: Curves) -> str:
    """The claims, in percentage points."""
    return _comparison_table("difference in points", curves, CLAIMS)


def methods_table(curves: Curves) -> str:
    """Each method against random selection under each way of training."""
    methods = list(dict.fromkeys(key[2] for key in curves if key[2] != RANDOM_METHOD))
    claims = [
        _compare_with_random(method, training) for training in TRAININGS for method in methods
    ]
    title = "each method, difference in points"
    return _comparison_table(title, curves, claims, LATE_LABEL_COUNTS)


def means_table(curves: Curves) -> str:
    """Mean and standard deviation of every training and method of the study."""
    lines = ["| data set | training | method | n | 10 labels | 30 labels | 50 labels |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for (dataset, training, method), frame in curves.items():
        cells = [
            f"{frame[n].mean():.1f} ± {frame[n].std():.1f}" if n in frame else ""
            for n in (10, 30, 50)
        ]
        names = f"{DATASET_TITLES[dataset]} | {training} | {method} | {len(frame)}"
        lines.append(f"| {names} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_figure(curves: Curves) -> bytes:
    """The content of a PNG: one panel per data set with the test error of each way of training.

    Lines show random selection; bands span all methods."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    datasets = [name for name in DATASET_TITLES if any(key[0] == name for key in curves)]
    figure, axes = pyplot.subplots(
        1, len(datasets), figsize=(5 * len(datasets), 4.4), squeeze=False, layout="constrained"
    )
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for training, (colour, style) in LINE_STYLES.items():
            _draw_training(axis, curves, dataset, training, colour, style)
        axis.set(title=DATASET_TITLES[dataset], xlabel="labels", yscale="log", xticks=(10, 30, 50))
        axis.set_yticks(ticks := (1, 2, 5, 10, 20, 50), [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("error on test images, %")
    figure.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2 * len(datasets),
    )
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def _draw_training(
    axis: Axes, curves: Curves, dataset: str, training: str, colour: str, style: str
) -> None:
    errors = {
        key[2]: 100 - frame.mean()
        for key, frame in curves.items()
        if key[:2] == (dataset, training)
    }
    if RANDOM_METHOD not in errors:
        return
    line = errors[RANDOM_METHOD]
    axis.plot(line.index, line, color=colour, linestyle=style, marker="o", label=training)
    if len(errors) > 1:
        spread = pd.DataFrame(errors)
        low, high = spread.min(axis=1), spread.max(axis=1)
        axis.fill_between(spread.index, low, high, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    sys.exit(main())
