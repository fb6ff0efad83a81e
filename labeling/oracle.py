"""A person answers (--oracle file): what is asked for, and where the answers are looked for.

    queries.csv, queries.html    in the run folder: what is asked for; gone when it is answered
    labels.csv                   the answers, which the person puts there
    answers/cycle00.csv          that file when it answers every query, renamed in one step

The checkpoint says what is asked for, and answers/ keeps what was answered for good.  Killed
before the rename, a run asks again; after it, it finds the answers, and asks nobody twice.  A file
of answers to earlier queries is refused: its images are not asked for.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from al_methods import INITIAL_BALANCED, INITIAL_GIVEN
from data.active_dataset import ActiveDataset
from data.state import State
from labeling import queries
from labeling.answers import read_labels_csv
from training.network_outputs import extract_outputs
from utils.console import log
from utils.errors import UserError, WaitingForLabels
from utils.files import make_folder, os_errors_refused, write_atomically
from utils.fingerprints import array_digest
from utils.options.converters import one_of
from utils.options.option import OptionGroup, OptionValues, option

DATASET_ORACLE, FILE_ORACLE = "data", "file"
QUERY_FILES = ("queries.csv", "queries.html")
LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class OracleOptions(OptionGroup):
    """Who labels."""

    section = "active learning"
    oracle: str = option(
        DATASET_ORACLE,
        "Who labels the queried images. data: the data set's own labels. file: a person, for whom "
        "the run writes a page of images and stops with exit status 3.",
        type=one_of((DATASET_ORACLE, FILE_ORACLE)),
    )

    def check(self, options: OptionValues) -> None:
        if self.oracle != FILE_ORACLE:
            if options.initial == INITIAL_GIVEN:
                raise UserError(
                    "--initial given is for data of which a person labels the rest: add "
                    "--oracle file"
                )
            return
        if options.initial == INITIAL_BALANCED:
            raise UserError(
                "--oracle file has no labels yet from which a balanced split could be drawn: add "
                "--initial lp_coverage, random or another method, or --initial given to use the "
                "labels in the data"
            )
        if options.use_val_set:
            raise UserError(
                "--use-val-set chooses its images by their labels, which --oracle file does not "
                "have: leave it out"
            )

    def check_data(self, options: OptionValues, dataset: ActiveDataset) -> None:
        unknown = int((dataset.oracle.labels < 0).sum())
        if self.oracle == DATASET_ORACLE and unknown:
            raise UserError(
                f"--dataset {options.dataset} has {unknown} training images of unknown class, "
                "which only a person can label: add --oracle file, or take them out"
            )


def get_oracle_labels(
    state: State,
    *,
    dataset: ActiveDataset,
    folder: Path,
    network: torch.nn.Module,
    options: OptionValues,
    amp: bool,
) -> np.ndarray:
    """The classes (n,) of the images that `state` queries: the data set's labels, or a person's.
    Labels that the data have from the start are not asked of the person.

    folder: the run folder; network: whose predictions are shown to the person.  Raises
    WaitingForLabels where there is no labels.csv, UserError where it does not answer exactly the
    queries."""
    in_data = options.initial == INITIAL_GIVEN and not state.cycle
    if in_data or options.of(OracleOptions).oracle == DATASET_ORACLE:
        return dataset.oracle.query_labels(state.queried)
    return read_human_labels(folder, dataset, state, network, amp)


def read_human_labels(
    folder: Path, problem: ActiveDataset, state: State, network, amp: bool
) -> np.ndarray:
    """What a person has answered.  network: whose guesses are shown, after the first cycle."""
    kept = folder / "answers" / f"cycle{state.cycle:02d}.csv"
    wanted = problem.dataset_indices[state.queried], problem.class_names
    if not kept.exists():
        write_queries(folder, problem, state, network, amp)
        found = folder / LABELS_FILE
        if not found.exists():
            raise WaitingForLabels(_wait_message(folder, len(state.queried)))
        read_labels_csv(found, *wanted)
        with os_errors_refused(kept):
            make_folder(kept.parent)
            os.replace(found, kept)
    labels = read_labels_csv(kept, *wanted)
    for name in QUERY_FILES:
        with os_errors_refused(folder / name, "removed"):
            (folder / name).unlink(missing_ok=True)
    log.info("%d labels of a person, kept in %s", len(labels), kept)
    return labels


def write_queries(folder: Path, problem: ActiveDataset, state: State, network, amp: bool) -> None:
    """Write queries.csv and queries.html."""
    images, ids = (
        problem.images.subset(state.queried.copy()),
        problem.dataset_indices[state.queried],
    )
    guesses, confidences = [None] * len(ids), np.zeros(len(ids))
    if state.cycle:
        found = extract_outputs(network, images, amp=amp, location="guesses")[1].max(dim=1)
        guesses, confidences = found.indices.tolist(), found.values.cpu().numpy()
    seen = getattr(images, "pixels", None)  # features of an encoder have none
    pixels = [None] * len(ids) if seen is None else seen.cpu().numpy()
    asked = [
        queries.Query(
            int(index),
            pixels[i],
            problem.image_paths[index] if problem.image_paths else "",
            guesses[i],
            float(confidences[i]),
        )
        for i, index in enumerate(ids)
    ]
    where, names = str(folder.absolute()), problem.class_names
    key = f"{where} {problem.fingerprint} {array_digest(ids)}"
    page = queries.render_queries_page(asked, names, storage_key=key, folder=where)
    for name, content in zip(
        QUERY_FILES, (queries.render_queries_csv(asked, names), page), strict=True
    ):
        write_atomically(folder / name, content)


def _wait_message(folder: Path, count: int) -> str:
    others = sorted(path.name for path in folder.glob("labels*.csv"))
    there = f", only {others[0]!r}: rename it" if others else ""
    return (
        f"{count} images wait for their labels: open {folder / QUERY_FILES[1]}, save its {LABELS_FILE} in "
        f"{folder} (there is none yet{there}), and give the same command again"
    )
