"""The oracle that labels the queried images: the data set, or a person (--oracle file).

    queries.csv, queries.html    in the run folder: the images to label, until they are labeled
    labels.csv                   the answers, put there by the person
    answers/cycle00.csv          that file once it answers every query, moved there in one step, or
                                 copied where labels.csv is a link

The checkpoint holds the queries, and answers/ keeps accepted answers for good. A run that is killed
before the move queries the same images again; after it, the run finds the answers, so that nobody
is asked twice. A labels.csv for earlier queries is refused, because it names images that are not
queried now.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from al_methods import INITIAL_BALANCED, INITIAL_GIVEN
from data.active_dataset import ActiveDataset
from data.augment import ImageStore
from data.feature_images import decode_or_none
from data.state import State
from labeling import queries
from labeling.answers import read_labels_csv
from training.network_outputs import extract_outputs
from utils.console import log, to_one_line
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
    """Who labels the queried images."""

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
                    "--initial given needs a person to label the remaining images: add "
                    "--oracle file"
                )
            return
        if options.initial == INITIAL_BALANCED:
            raise UserError(
                "--oracle file has no labels from which to draw a balanced split: add "
                "--initial lp_coverage, random or another method, or --initial given to use the "
                "labels in the data"
            )
        if options.use_val_set:
            raise UserError(
                "--use-val-set selects images by their labels, which --oracle file does not have: "
                "leave it out"
            )

    def check_data(self, options: OptionValues, dataset: ActiveDataset) -> None:
        unknown = int((dataset.oracle.labels < 0).sum())
        if self.oracle == DATASET_ORACLE and unknown:
            example = ""
            if dataset.image_paths:
                first = dataset.dataset_indices[(dataset.oracle.labels < 0).argmax()]
                example = f" ({to_one_line(dataset.image_paths[first])}, for example)"
            raise UserError(
                f"--dataset {options.dataset} has {unknown} training images of unknown class"
                f"{example}, which only a person can label: add --oracle file, or remove these "
                "images"
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
    """The classes (n,) of the images that `state` queries, from the data set or from a person.

    Labels that the data have from the start (--initial given) are not queried from a person.

    folder: the run folder.
    network: whose predictions are shown to the person as guesses.

    Raises WaitingForLabels if the person's labels.csv is not there yet, UserError if it does not
    answer exactly the queries."""
    assert state.queried is not None
    is_in_data = options.initial == INITIAL_GIVEN and not state.cycle
    if is_in_data or options.of(OracleOptions).oracle == DATASET_ORACLE:
        return dataset.oracle.query_labels(state.queried)
    return read_human_labels(folder, dataset, state.queried, state.cycle, network, amp)


def read_human_labels(
    folder: Path,
    dataset: ActiveDataset,
    queried: np.ndarray,
    cycle: int,
    network: torch.nn.Module,
    amp: bool,
) -> np.ndarray:
    """The classes (n,) that a person has given to the queried images (n,).

    Otherwise as `get_oracle_labels`."""
    answers_file = folder / "answers" / f"cycle{cycle:02d}.csv"
    indices, class_names = dataset.dataset_indices[queried], dataset.class_names
    if not answers_file.exists():
        write_queries(folder, dataset, queried, network if cycle else None, amp)
        labels_file = folder / LABELS_FILE
        if not labels_file.exists() or _has_old_answers(labels_file, answers_file.parent):
            raise WaitingForLabels(_wait_message(folder, len(queried)))
        read_labels_csv(labels_file, indices, class_names)  # refused before it is moved
        with os_errors_refused(answers_file):
            make_folder(answers_file.parent)
            if labels_file.is_symlink():  # the person's file stays where it is
                write_atomically(answers_file, labels_file.read_bytes())
            else:
                os.replace(labels_file, answers_file)
    labels = read_labels_csv(answers_file, indices, class_names)
    for name in QUERY_FILES:
        with os_errors_refused(folder / name, "removed"):
            (folder / name).unlink(missing_ok=True)
    log.info("read %d human labels; saved to %s", len(labels), answers_file)
    return labels


def _has_old_answers(labels_file: Path, answers: Path) -> bool:
    """Whether labels.csv is a link to a file that has been read for an earlier cycle: it stays
    after it has been copied."""
    if not labels_file.is_symlink():
        return False
    with os_errors_refused(labels_file, "read"):
        content = labels_file.read_bytes()
        return any(path.read_bytes() == content for path in answers.glob("cycle*.csv"))


def write_queries(
    folder: Path,
    dataset: ActiveDataset,
    queried: np.ndarray,
    network: torch.nn.Module | None,
    amp: bool,
) -> None:
    """Write queries.csv and queries.html for the images `queried` (n,).

    network: whose predictions are the guesses; None in the first cycle, before any training."""
    images, indices = dataset.images.subset(queried.copy()), dataset.dataset_indices[queried]
    guesses: list[int | None] = [None] * len(indices)
    confidences = np.zeros(len(indices))
    if network is not None:
        _, probs = extract_outputs(network, images, amp=amp, location="guesses")
        top = probs.max(dim=1)
        guesses, confidences = top.indices.tolist(), top.values.cpu().numpy()
    pixels: list[np.ndarray | None] = [None] * len(indices)
    if isinstance(images, ImageStore):
        pixels = list(images.pixels.cpu().numpy())
    elif dataset.shown_pixels is not None:
        pixels = list(dataset.shown_pixels[queried.copy()].numpy())
    elif dataset.image_files:
        pixels = [decode_or_none(dataset.image_files[position]) for position in queried]
    paths = dataset.image_paths
    query_list = [
        queries.Query(
            int(index),
            pixels[i],
            paths[queried[i]] if paths else "",
            guesses[i],
            float(confidences[i]),
        )
        for i, index in enumerate(indices)
    ]
    folder_name, class_names = str(folder.absolute()), dataset.class_names
    page = queries.render_queries_page(
        query_list,
        class_names,
        storage_key=f"{folder_name} {dataset.fingerprint} {array_digest(indices)}",
        folder=folder_name,
    )
    table = queries.render_queries_csv(query_list, class_names)
    for name, content in zip(QUERY_FILES, (table, page), strict=True):
        write_atomically(folder / name, content)


def _wait_message(folder: Path, count: int) -> str:
    labels_file = folder / LABELS_FILE
    similar = sorted(path.name for path in folder.glob("labels*.csv") if path != labels_file)
    hint = f" (only {similar[0]!r} is there: rename it)" if similar else ""
    if labels_file.is_symlink():
        content = "the answers to earlier queries" if labels_file.exists() else "no file"
        hint = f" (the link there leads to {content}: {os.readlink(labels_file)})"
    return (
        f"{count} images are waiting for labels: open {folder / QUERY_FILES[1]}, save its "
        f"{LABELS_FILE} in {folder}{hint} and run the same command again"
    )
