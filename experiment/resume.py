"""Where a run continues: its last state, and the labels that a person has corrected since then.

A run with corrected answers goes back to the first cycle that they change.  This cycle and the
later ones are trained and evaluated again, with the same queries, so that no answer is lost and no
image is queried twice.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import semisup
from al_methods import INITIAL_GIVEN
from data import export
from data.active_dataset import ActiveDataset
from data.state import QueryRecord, State, from_dict
from experiment.config import LoopOptions
from experiment.run_folder import RunFolder
from labeling.answer_files import AnswerFiles
from labeling.oracle import FILE_ORACLE, OracleOptions
from semisup import ALGORITHMS
from utils.console import pluralize, to_one_line
from utils.options.option import OptionValues


@dataclass(frozen=True)
class Resumed:
    """What a run continues from.

    state: None at the start of a run.
    dataset: with the classes of the run.
    learner: the state of the learner, None where the next cycle starts from new weights.
    notes: what the user has to know, one line each."""

    state: State | None
    dataset: ActiveDataset
    learner: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def is_finished(state: State, cycles: int) -> bool:
    """Whether this many cycles are done."""
    return state.evaluated and state.cycle + 1 >= cycles


def resume_run(options: OptionValues, dataset: ActiveDataset, run_folder: RunFolder) -> Resumed:
    """The last checkpoint, or an earlier cycle if answers in it have been corrected.

    Raises UserError if the data set has lost classes of the run, or if a person's answers have
    mistakes, SystemRefusal if they cannot be read."""
    checkpoint = run_folder.last_checkpoint
    if checkpoint is None:
        return Resumed(None, dataset)
    state = load_state(checkpoint, dataset, run_folder.path)
    dataset = dataset.with_classes(state.class_names)
    if options.of(OracleOptions).oracle != FILE_ORACLE:
        return Resumed(state, dataset, checkpoint)
    files = answer_files(options, dataset, run_folder)
    restored = files.restore_missing_files(state)
    notes = [f"{path} was missing and has been written again" for path in restored]
    files.accept_corrections(state, is_finished(state, options.al_nb_cycles))
    back, lines = go_back_if_corrected(options, files, run_folder, state)
    return Resumed(back, dataset, checkpoint if back is state else None, (*notes, *lines))


def answer_files(
    options: OptionValues, dataset: ActiveDataset, run_folder: RunFolder
) -> AnswerFiles:
    """The files of a person's answers in a run folder."""
    return AnswerFiles(run_folder.path, dataset, int(options.initial == INITIAL_GIVEN))


def answer_digests(
    options: OptionValues, dataset: ActiveDataset, run_folder: RunFolder, state: State
) -> dict[str, str]:
    """The digests of a person's answers that the run has read (AnswerFiles.answer_digests)."""
    if options.of(OracleOptions).oracle != FILE_ORACLE:
        return {}
    return answer_files(options, dataset, run_folder).answer_digests(state)


def go_back_if_corrected(
    options: OptionValues, files: AnswerFiles, run_folder: RunFolder, state: State
) -> tuple[State, list[str]]:
    """The state at the start of the first cycle whose answers differ from those in `state`, and a
    line about it; `state` itself where all are the same.  The rows of the cycles that will be
    repeated are removed from the tables.

    Raises UserError if the changed answers have mistakes."""
    changes = files.find_changes(state)
    if not changes:
        return state, []
    cycle = min(changes)
    reason = ""
    if cycle and _continues_from_previous_cycle(options):
        cycle, reason = 0, ", because each cycle continues from the one before"
    run_folder.forget_cycles(cycle)
    names = " and ".join(
        f"{files.path(n)} was corrected ({pluralize(count, 'image')})"
        for n, count in changes.items()
    )
    return state.back_to(cycle), [f"{names}: going back to cycle {cycle + 1}{reason}"]


def _continues_from_previous_cycle(options: OptionValues) -> bool:
    """Whether a cycle needs more of the previous one than the labels and the queries."""
    algorithm = ALGORITHMS[semisup.algorithm_name(options)]
    return options.of(LoopOptions).finetuning or algorithm.carry_over is not None


def load_state(checkpoint: dict[str, Any], dataset: ActiveDataset, folder: Path) -> State:
    """The state in a checkpoint, with the classes and the history of the run, which checkpoints of
    earlier versions do not have.

    folder: of the run."""
    state = from_dict(checkpoint["state"])
    if not state.class_names:
        state = replace(state, class_names=_earlier_class_names(dataset, folder))
    if not state.history:
        history = _earlier_history(state, checkpoint["rows"]["acquired"])
        state = replace(state, history=history)
    return state


def _earlier_class_names(dataset: ActiveDataset, folder: Path) -> tuple[str, ...]:
    """The names in classes.txt, as the data spell them."""
    path = folder / export.CLASSES_FILE
    if not path.exists():
        return dataset.class_names
    lines = export.read_class_lines(folder)
    names = {to_one_line(name): name for name in dataset.class_names}
    return tuple(names.get(line, line) for line in lines)


def _earlier_history(state: State, acquired: list[dict[str, Any]]) -> tuple[QueryRecord, ...]:
    """What each cycle has queried, from the rows of acquired.csv; the images of a balanced split
    have no rows and come first."""
    counts = Counter(row["cycle"] + 1 for row in acquired)
    sizes = [counts[cycle] for cycle in range(1, state.num_answered_cycles)]
    order = state.pool.labeled_order
    parts = np.split(order, len(order) - np.cumsum(sizes[::-1], dtype=int)[::-1])
    records = [QueryRecord(part, state.pool.labels[part]) for part in parts]
    return tuple(records[: state.num_answered_cycles])
