"""The labels of the queried images: from a person, for whom the page is written, or from the data;
also second answers and new classes."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from al_methods import INITIAL_BALANCED
from data.state import State
from experiment import result_tables, resume, setup
from experiment.experiment import Experiment
from experiment.label_tables import (
    describe_unseen_classes,
    estimate_unseen,
    log_unseen_classes,
    render_label_tables,
)
from labeling.answer_files import CycleAnswers
from labeling.feature_map import FeatureMap, choose_points, make_feature_map
from labeling.oracle import (
    OracleOptions,
    asks_person,
    flip_labels,
    read_human_answers,
    wait_for_answers,
)
from labeling.second_looks import describe_second_looks
from models.network import Network
from training.network_outputs import extract_outputs
from utils.arrays import as_numpy
from utils.console import log, pluralize, to_one_line
from utils.seeding import derive_seed, rng_for


def label_queried_images(experiment: Experiment, state: State) -> tuple[Experiment, State]:
    """The labels of the queried images, in the state and in acquired.csv.

    -> also the experiment, with a new network if there are new classes.  If a person has
    corrected earlier answers, the state is one of the first cycle that they change.

    Raises WaitingForLabels if a person has to label the images first (labeling.oracle)."""
    if asks_person(experiment.options, state.cycle):
        state = _wait_for_answers(experiment, state)
    answers = _read_answers(experiment, state)
    updated = _with_classes(experiment, answers, state.cycle)
    state = _amend_labels(experiment, state, answers)
    # The images of a balanced split are in its file, and not in acquired.csv.
    if state.cycle or experiment.methods.initial != INITIAL_BALANCED:
        assert state.queried is not None
        known = answers.labels >= 0
        indices = experiment.dataset.dataset_indices[state.queried[known]]
        rows = result_tables.make_acquired_rows(state.cycle - 1, indices, answers.labels[known])
        experiment.run_folder.table_rows["acquired"] += rows
        experiment.run_folder.write_tables()
    state = replace(state, class_names=answers.class_names)
    state = state.reveal_labels(answers.labels, answers.source)
    tables = render_label_tables(updated.options, updated.dataset, state)
    updated.run_folder.write_or_remove_files(tables)
    estimates = estimate_unseen(updated.options, updated.dataset, state)
    log_unseen_classes(estimates, asks_person(updated.options, state.cycle))
    return updated, state


def _wait_for_answers(experiment: Experiment, state: State) -> State:
    """The state when the person has answered; an earlier one if answers were corrected."""
    files = resume.answer_files(experiment.options, experiment.dataset, experiment.run_folder)
    ask_until_answered = experiment.options.of(OracleOptions).ask_until_answered
    last_results = experiment.run_folder.table_rows["results"][-1:]
    accuracy = filter(None, map(result_tables.describe_estimate, last_results))
    unseen = describe_unseen_classes(estimate_unseen(experiment.options, experiment.dataset, state))
    notes = [*accuracy, *unseen]
    network = experiment.learner.eval_model
    make_map = partial(_make_feature_map, experiment, state)
    wait_for_answers(state, files, network, experiment.amp, ask_until_answered, notes, make_map)
    run_folder = experiment.run_folder
    state, notes = resume.go_back_if_corrected(experiment.options, files, run_folder, state)
    for note in notes:
        log.info(note)
    return state


def _make_feature_map(experiment: Experiment, state: State) -> FeatureMap | None:
    """The map for the labeling page: of the features that no label has changed, or of the
    network's; None before there is either."""
    assert state.queried is not None
    static = experiment.static_features.get("pretrained_features")
    if static is None and not state.cycle:
        return None
    shown = np.concatenate([state.queried, state.answers_so_far()[0]])
    size = len(state.pool.labels)
    images = choose_points(size, shown, rng_for(experiment.split_seed, "map", 0))
    predicted, rows = None, torch.from_numpy(images).to(experiment.dataset.images.device)
    features = None if static is None else static()[rows]
    if state.cycle:
        network, store = experiment.learner.eval_model, experiment.dataset.images.subset(images)
        outputs, probs = extract_outputs(network, store, amp=experiment.amp, location="map")
        predicted = as_numpy(probs.argmax(dim=1), np.int64)
        features = outputs if features is None else features
    assert features is not None
    return make_feature_map(
        as_numpy(features, np.float32),
        images,
        labels=state.pool.labels,
        predicted=predicted,
        queried=state.queried,
        seed=experiment.split_seed % 2**32,
    )


def _read_answers(experiment: Experiment, state: State) -> CycleAnswers:
    """The labels of the queried images, which are known, and the classes of the run."""
    if asks_person(experiment.options, state.cycle):
        files = resume.answer_files(experiment.options, experiment.dataset, experiment.run_folder)
        return read_human_answers(state, files)
    assert state.queried is not None
    oracle, looks = experiment.dataset.oracle, state.second_looks.images
    labels = flip_labels(
        oracle.query_labels(state.queried),
        experiment.options.of(OracleOptions).label_noise,
        experiment.dataset.num_classes,
        rng_for(experiment.split_seed, "label noise", state.cycle),
    )
    right = oracle.query_labels(looks) if len(looks) else looks
    is_wrong = state.pool.labels[looks] != right
    second = dict(zip(looks[is_wrong].tolist(), right[is_wrong].tolist(), strict=True))
    return CycleAnswers(labels, experiment.dataset.class_names, "", second)


def _amend_labels(experiment: Experiment, state: State, answers: CycleAnswers) -> State:
    """The state with the second answers, which are also rows of second_looks.csv."""
    if not state.awaits_second_looks:
        return state
    before, looks = state.pool.labels, state.second_looks.images
    if asks_person(experiment.options, state.cycle):
        files = resume.answer_files(experiment.options, experiment.dataset, experiment.run_folder)
        state = files.write_second_answers(state, answers)
    else:
        state = state.amend_labels(answers.second_answers)
    indices = experiment.dataset.dataset_indices[looks]
    rows = result_tables.make_second_look_rows(
        state.cycle - 1, indices, before[looks], state.pool.labels[looks]
    )
    experiment.run_folder.add_second_looks(rows)
    log.info(describe_second_looks(len(looks), len(answers.second_answers)))
    return state


def _with_classes(experiment: Experiment, answers: CycleAnswers, cycle: int) -> Experiment:
    """The experiment, or one whose network has an output for every class of the answers.

    The backbone keeps its weights, for cycles that continue from them; the head is new."""
    names = answers.class_names
    if names == experiment.dataset.class_names:
        return experiment
    words = ", ".join(
        f"{to_one_line(name)} ({pluralize(int((answers.labels == number).sum()), 'image')})"
        for number, name in enumerate(names)
        if number >= experiment.dataset.num_classes
    )
    log.info("new classes: %s; the head of the network is made anew", words)
    dataset = experiment.dataset.with_classes(names)
    torch.manual_seed(derive_seed(experiment.split_seed, "weights", cycle))
    learner = setup.make_learner(experiment.options, dataset)
    before, after = experiment.learner.model, learner.model
    assert isinstance(before, Network) and isinstance(after, Network)
    after.backbone.load_state_dict(before.backbone.state_dict())
    experiment.run_folder.write_export_files(dataset.export_files)
    return replace(experiment, dataset=dataset, learner=learner)
