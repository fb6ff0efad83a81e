"""The oracle that labels the queried images: the data set, or a person (--oracle file).

    queries.csv, queries.html    in the run folder: the images to label, until they are labeled
    labels.csv, answers/         what the person answers (labeling.answer_files)

The checkpoint holds the queries, and answers/ keeps accepted answers for good. A run that is killed
before labels.csv is moved there queries the same images again; after it, the run finds the answers,
so that nobody is asked twice.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from al_methods import INITIAL_BALANCED, INITIAL_GIVEN
from data.active_dataset import ActiveDataset
from data.state import SET_ASIDE, State
from labeling import queries
from labeling.answer_files import (
    LABELS_FILE,
    MIN_LABELS,
    AnswerFiles,
    CycleAnswers,
    check_label_count,
)
from labeling.answers import Answers
from labeling.feature_map import FeatureMap
from labeling.label_mistakes import MAX_LISTED_MISTAKES
from labeling.labels_csv import (
    NONE_ANSWER,
    SKIP_ANSWER,
    SKIPPED,
    name_of_label,
    skip_answer,
)
from training.network_outputs import extract_outputs
from utils.console import log, pluralize, to_one_line
from utils.errors import UserError, WaitingForLabels
from utils.files import os_errors_refused, write_atomically
from utils.fingerprints import array_digest
from utils.options.converters import fraction_below_one, one_of
from utils.options.option import Condition, OptionGroup, OptionValues, option

DATASET_ORACLE, FILE_ORACLE = "data", "file"
SPREADSHEET_ENDINGS = (".xlsx", ".xls", ".ods", ".numbers")
QUERY_FILES = ("queries.csv", "queries.html")


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
    label_noise: float = option(
        0.0,
        "Share of the data set's answers in every cycle that are replaced by a wrong class, to "
        "simulate mistakes. A second look (--second-looks) is always answered rightly.",
        type=fraction_below_one,
        metavar="SHARE",
        read_if=Condition(lambda options: options.oracle == DATASET_ORACLE, "--oracle data"),
    )
    ask_until_answered: bool = option(
        False,
        "Wait until every queried image has a class, instead of leaving out those of which the "
        "person cannot tell it.",
        identity=False,
        read_if=Condition(lambda options: options.oracle == FILE_ORACLE, "--oracle file"),
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


def flip_labels(
    labels: np.ndarray, share: float, num_classes: int, rng: np.random.Generator
) -> np.ndarray:
    """The labels (n,), of which round(share · n) are another class, uniformly at random."""
    count = round(share * len(labels)) if num_classes > 1 else 0
    wrong = rng.choice(len(labels), count, replace=False)
    flipped = labels.copy()
    flipped[wrong] = (labels[wrong] + rng.integers(1, num_classes, count)) % num_classes
    return flipped


def asks_person(options: OptionValues, cycle: int) -> bool:
    """Whether a person labels the queries of a cycle.

    Labels that the data have from the start (--initial given) are not queried from a person."""
    is_in_data = options.initial == INITIAL_GIVEN and not cycle
    return options.of(OracleOptions).oracle == FILE_ORACLE and not is_in_data


def wait_for_answers(
    state: State,
    files: AnswerFiles,
    network: torch.nn.Module,
    amp: bool,
    ask_until_answered: bool = False,
    notes: Sequence[str] = (),
    make_map: Callable[[], FeatureMap | None] = lambda: None,
) -> None:
    """Accept the labels.csv that answers the queries of `state`, or that corrects earlier answers.

    network: whose predictions are shown to the person as guesses.
    ask_until_answered: whether every image needs a class.
    notes: lines for the page, on the labels so far.
    make_map: the map of the features for the page, None without.

    Raises WaitingForLabels if it is not there yet or leaves too many images without a class,
    UserError if it does not answer exactly the queries."""
    if files.path(state.cycle).exists():
        return
    write_queries(state, files, network if state.cycle else None, amp, notes, make_map())
    if files.accept_corrections(state):
        return
    answers = files.read_labels_file(state)
    if answers is None:
        assert state.queried is not None
        waits = f"{len(state.queried)} images are waiting for labels"
        if looks := len(state.second_looks):
            waits += f", and {pluralize(looks, 'label')} for a second look"
        raise WaitingForLabels(_wait_message(files, waits, describe_labels_file(files.folder)))
    _wait_for_skipped_images(state, files, answers, ask_until_answered)
    _log_annotators(answers)
    files.accept_labels_file(state, answers)


def _log_annotators(answers: Answers) -> None:
    """The lines of the log about several annotators."""
    if answers.disagreements:
        count = pluralize(len(answers.disagreements), "image")
        described = [f"image {n} ({votes})" for n, votes in answers.disagreements.items()]
        shown = ", ".join(described[:MAX_LISTED_MISTAKES])
        log.info("annotators disagree about %s; the majority counts: %s", count, shown)
    for names in answers.spellings:
        log.warning("annotators %s are taken for one person: write the name in one way", names)


def read_human_answers(state: State, files: AnswerFiles) -> CycleAnswers:
    """The accepted answers to the queries of `state`, whose files are removed.

    Raises UserError if the file has been edited and does not answer exactly the queries."""
    path, answers = files.path(state.cycle), files.read_cycle(state, state.cycle)
    labeled, skipped, set_aside = count_answers(answers.labels)
    if state.cycle == 0:
        check_label_count(labeled, path)
    for name in QUERY_FILES:
        with os_errors_refused(files.folder / name, "removed"):
            (files.folder / name).unlink(missing_ok=True)
    words = f", {skipped} skipped ({SKIP_ANSWER})" if skipped else ""
    words += f", {set_aside} set aside ({NONE_ANSWER})" if set_aside else ""
    log.info("read %d human labels%s; saved to %s", labeled, words, path)
    return answers


def count_answers(labels: np.ndarray) -> tuple[int, int, int]:
    """How many of the answers (n,) are classes, SKIPPED and SET_ASIDE."""
    counts = ((labels >= 0).sum(), (labels == SKIPPED).sum(), (labels == SET_ASIDE).sum())
    labeled, skipped, set_aside = map(int, counts)
    return labeled, skipped, set_aside


def _wait_for_skipped_images(
    state: State, files: AnswerFiles, answers: Answers, ask_until_answered: bool
) -> None:
    """Raises WaitingForLabels if labels.csv leaves images without a class that need one."""
    labeled, skipped, set_aside = count_answers(answers.labels)
    labeled += len(state.pool.labeled_order)
    unlabeled = skipped + (set_aside if labeled < MIN_LABELS else 0)
    images = f"{unlabeled} of {len(answers.labels)} images have no class in {files.labels_file}"
    if labeled < MIN_LABELS:
        waits = f"{images}, and training needs at least {MIN_LABELS} labels"
    elif ask_until_answered and skipped:
        waits = f"{images} (--ask-until-answered)"
    else:
        return
    raise WaitingForLabels(_wait_message(files, waits))


def write_queries(
    state: State,
    files: AnswerFiles,
    network: torch.nn.Module | None,
    amp: bool,
    notes: Sequence[str] = (),
    feature_map: FeatureMap | None = None,
) -> None:
    """Write queries.csv and queries.html for the images that `state` queries; the page also shows
    labels that may be wrong, and the answers of earlier cycles.

    network: whose predictions are the guesses; None in the first cycle, before any training.
    notes, feature_map: for the page."""
    assert state.queried is not None
    dataset, names = files.dataset, files.dataset.all_class_names
    accepted = files.answers_by_index(state).values()
    votes = files.find_disagreements(state)
    count = len(state.queried)
    images = np.array([*state.queried, *(answer.image for answer in accepted)], dtype=np.int64)
    shown = _make_queries(dataset, images, network, amp)
    earlier = [
        replace(
            query,
            answer=name_of_label(answer.label, names) or skip_answer(names),
            cycle=answer.cycle,
            votes=votes.get(query.index, ""),
        )
        for query, answer in zip(shown[count:], accepted, strict=True)
    ]
    by_image = {one.image: query for one, query in zip(accepted, earlier, strict=True)}
    looks = state.second_looks
    second_looks = [
        queries.SecondLook(
            by_image[image],
            names[suggested],
            tuple(by_image[one] for one in examples if one in by_image),
        )
        for image, suggested, examples in zip(
            looks.images.tolist(), looks.suggested.tolist(), looks.examples.tolist(), strict=True
        )
        if image in by_image
    ]
    if votes:
        verb = "is" if len(votes) == 1 else "are"
        notes = (
            *notes,
            f"Annotators disagree about {pluralize(len(votes), 'image')}, which {verb} among the "
            "earlier answers; the majority counts.",
        )
    folder_name = str(files.folder.absolute())
    indices = dataset.dataset_indices[state.queried]
    page = queries.render_queries_page(
        shown[:count],
        names,
        storage_key=f"{folder_name} {dataset.fingerprint} {array_digest(indices)}",
        folder=folder_name,
        earlier=earlier,
        second_looks=second_looks,
        notes=notes,
        feature_map=feature_map,
    )
    table = queries.render_queries_csv(shown[:count], names, second_looks)
    for name, content in zip(QUERY_FILES, (table, page), strict=True):
        write_atomically(files.folder / name, content)


def _make_queries(
    dataset: ActiveDataset, positions: np.ndarray, network: torch.nn.Module | None, amp: bool
) -> list[queries.Query]:
    """The images at these positions (n,) of the training set, with the guesses of a network."""
    images = dataset.images.subset(positions)
    guesses: list[int | None] = [None] * len(positions)
    confidences = np.zeros(len(positions))
    if network is not None:
        _, probs = extract_outputs(network, images, amp=amp, location="guesses")
        top = probs.max(dim=1)
        guesses, confidences = top.indices.tolist(), top.values.cpu().numpy()
    pixels = dataset.pixels_to_show(positions)
    paths = dataset.image_paths
    return [
        queries.Query(
            int(dataset.dataset_indices[position]),
            pixels[i],
            paths[position] if paths else "",
            guesses[i],
            float(confidences[i]),
        )
        for i, position in enumerate(positions)
    ]


def describe_labels_file(folder: Path) -> str:
    """What may be wrong about a labels.csv that is missing, in brackets."""
    labels_file = folder / LABELS_FILE
    if labels_file.is_symlink():
        content = "the answers to earlier queries" if labels_file.exists() else "no file"
        return f" (the link there leads to {content}: {os.readlink(labels_file)})"
    names = sorted(os.listdir(folder))
    similar = [name for name in names if _may_be_labels_file(name)]
    if not similar:
        return ""
    is_spreadsheet = similar[0].lower().endswith(SPREADSHEET_ENDINGS)
    cure = f"save it as CSV UTF-8 under the name {LABELS_FILE}" if is_spreadsheet else "rename it"
    return f" (only {to_one_line(similar[0])!r} is there: {cure})"


def _may_be_labels_file(name: str) -> bool:
    """Whether a person may have meant labels.csv by the name of another file in its folder."""
    folded = name.lower()
    is_table = folded.endswith((".csv", ".txt", ".tsv", *SPREADSHEET_ENDINGS))
    is_named = "labels" in folded or folded.startswith("label.") or folded.startswith("queries")
    is_hidden = folded.startswith((".", "~"))  # of a program that has the file open
    return is_table and is_named and not is_hidden and name not in (LABELS_FILE, *QUERY_FILES)


def _wait_message(files: AnswerFiles, waits: str, hint: str = "") -> str:
    return (
        f"{waits}: open {files.folder / QUERY_FILES[1]}, save its {LABELS_FILE} in {files.folder}"
        f"{hint} and run the same command again"
    )
