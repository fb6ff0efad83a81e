"""The parts of a run that stay the same over its cycles, and what the loop does with them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

import semisup
from al_methods import INITIAL_GIVEN, METHODS, MethodOptions, select
from data.active_dataset import ActiveDataset
from data.active_pool import ActivePool
from data.batches import BatchLoader
from data.budget import BudgetOptions
from data.duplicates import with_inherited_labels
from data.pool import Targets
from data.state import SecondLooks, State, to_dict
from experiment import setup
from experiment.config import LoopOptions, component_needs
from experiment.environment import DeviceOptions
from experiment.estimates import make_estimates, results_columns
from experiment.run_folder import RunFolder
from experiment.run_folder_path import RunFolderOptions
from experiment.static_features import make_static_features
from experiment.stopping import stop_reason
from labeling.audit import draw_audit, makes_estimates, stores_predictions
from labeling.second_looks import (
    NEEDS,
    SUBSTITUTES,
    SecondLookOptions,
    choose_second_looks,
)
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.learner import Learner
from training.lr_schedule import ScheduleOptions
from training.network_outputs import NetworkOutputs
from utils.arrays import as_numpy
from utils.console import log
from utils.options.option import OptionValues, kwargs_for
from utils.seeding import rng_for


@dataclass(frozen=True)
class Experiment:
    """The parts of a run. What changes during it is the State, the learner and the table rows.

    pretrained_weights: of the backbone, from which every cycle starts; None: random weights."""

    options: OptionValues
    dataset: ActiveDataset
    run_folder: RunFolder
    learner: Learner
    pretrained_weights: dict[str, torch.Tensor] | None

    @property
    def methods(self) -> MethodOptions:
        return self.options.of(MethodOptions)

    @property
    def budget(self) -> BudgetOptions:
        return self.options.of(BudgetOptions)

    @property
    def schedule(self) -> ScheduleOptions:
        return self.options.of(ScheduleOptions)

    @property
    def loop(self) -> LoopOptions:
        return self.options.of(LoopOptions)

    @property
    def initial_size(self) -> int:
        """Number of first labels; not for --initial given, where the data decide."""
        size = self.budget.initial_size
        assert size is not None
        return size

    @property
    def amp(self) -> bool:
        return self.options.of(DeviceOptions).amp

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[semisup.algorithm_name(self.options)]

    @cached_property
    def split_seed(self) -> int:
        return setup.derive_split_seed(self.options)

    @cached_property
    def static_features(self) -> dict[str, Callable[[], torch.Tensor]]:
        """Features that are the same in every cycle, by name (experiment.static_features)."""
        make_network = setup.network_factory(self.options, self.dataset)
        return make_static_features(
            self.dataset, make_network, self.pretrained_weights, self.split_seed, self.amp
        )

    def active_pool(self, state: State) -> ActivePool:
        """The images that training takes into account.  The same object while the labels stay."""
        last = self._last_active_pool
        if last.get("labels") is not state.pool:
            groups = self.dataset.duplicate_groups
            active = ActivePool.of(state.pool, groups, without=state.set_aside_indices)
            last |= {"labels": state.pool, "active": active}
        return last["active"]

    @cached_property
    def _last_active_pool(self) -> dict[str, Any]:
        return {}

    def initial_targets(self, state: State) -> Targets:
        """What the algorithm trains on at the start of a cycle."""
        active, num_classes = self.active_pool(state), self.dataset.num_classes
        carry_over = active.select(state.carry_over)
        targets = self.algorithm.initial_targets(active.pool, num_classes, carry_over)
        return active.spread_targets(targets)

    def labels_with_duplicates(self, state: State) -> np.ndarray:
        """(N,) int64, the labels and those that duplicates inherit; -1 where unknown."""
        return with_inherited_labels(self.dataset.duplicate_groups, state.pool)

    def network_outputs(self, state: State) -> NetworkOutputs:
        """The outputs of the network, as it is now, for all training images."""
        return NetworkOutputs(
            self.learner.eval_model,
            self.dataset.images,
            seed=self.split_seed,
            cycle=state.cycle,
            amp=self.amp,
            options=self.options,
            static_features=self.static_features,
        )

    def select_queries(
        self, name: str, state: State, budget: int, outputs: NetworkOutputs, rng_purpose: str
    ) -> np.ndarray:
        """The picks of an acquisition method: (budget,) int64, in order of choice.

        The method does not see images that a person has skipped, so that they are not queried
        again, and one image of each group of duplicates. Others are always left, because the
        budget of all cycles fits into the pool.

        name: of the method.
        outputs: of the network; what the method does not need is not computed.
        rng_purpose: what the method's random numbers are derived from."""
        if state.next_record is not None:  # before the run went back to correct labels
            return state.next_record.queried
        method = METHODS[name]
        needs = component_needs(self.options, method)
        options = {
            option: value
            for group in kwargs_for(self.options, *method.functions()).values()
            for option, value in vars(group).items()
        }
        inputs = outputs.get_tensors(needs, method.substitutes_for(needs))
        groups, skipped = self.dataset.duplicate_groups, state.skip_indices
        audit = self._draw_audit(state, ActivePool.of(state.pool, groups, without=skipped))
        without = np.concatenate([skipped, audit])
        candidates = ActivePool.of(state.pool, groups, without=without)
        picks = select(
            name,
            labels=candidates.pool.labels,
            budget=budget - len(audit),
            num_classes=self.dataset.num_classes,
            rng=rng_for(self.split_seed, rng_purpose, state.cycle),
            **candidates.select(inputs),
            **options,
        )
        return np.concatenate([audit, candidates.to_positions(picks)])

    def _draw_audit(self, state: State, candidates: ActivePool) -> np.ndarray:
        """The images (n,) of these candidates that the next cycle queries at random."""
        if not state.num_answered_cycles:  # the first labels
            return np.empty(0, dtype=np.int64)
        rng = rng_for(self.split_seed, "audit", state.cycle)
        positions = candidates.to_positions(np.arange(len(candidates.pool.labels)))
        return draw_audit(self.options, state.pool.labels, positions, rng)

    def estimate_accuracy(self, state: State) -> dict[str, Any]:
        """Add the rows of estimates.csv; -> the columns of results.csv."""
        if not makes_estimates(self.options):
            return results_columns([])
        with self.run_folder.time_stage(state.cycle, "estimate"):
            outputs, classes = self.network_outputs(state), self.dataset.num_classes
            active = self.active_pool(state)
            rows = make_estimates(self.options, state, active, outputs, classes)
        self.run_folder.table_rows["estimates"] += rows
        return results_columns(rows)

    def is_last_cycle(self, state: State) -> bool:
        """Whether the run ends after the current cycle: it is the last one, or --stop-when says
        that the labels are enough."""
        cycles, number = self.budget.al_nb_cycles, state.cycle + 1
        rows = self.run_folder.table_rows["estimates"]
        if number == cycles or (reason := stop_reason(self.options, state.cycle, rows)) is None:
            return number == cycles
        log.info("stopped after cycle %d of %d: %s", number, cycles, reason)
        self.run_folder.stop_reason = reason
        return True

    def add_predictions(self, state: State, outputs: NetworkOutputs) -> State:
        """`state`, the start of the next cycle, with the predictions of this cycle's network if an
        audit needs them."""
        if not stores_predictions(self.options):
            return state
        predicted = outputs.get_tensors(("probs",))["probs"].argmax(dim=1)
        return state.add_predictions(as_numpy(predicted, np.int32))

    def choose_second_looks(self, state: State, outputs: NetworkOutputs) -> SecondLooks:
        """Which labeled images are shown again with the next queries, because their labels may be
        wrong (labeling.second_looks).

        outputs: of the network; none is computed where no image is shown again."""
        count = self.options.of(SecondLookOptions).second_looks
        if state.next_record is not None:  # before the run went back to correct labels
            return state.next_record.second_looks
        if not count:
            return SecondLooks()
        can_be_amended = np.ones(len(state.pool.labels), dtype=bool)
        if self.methods.initial == INITIAL_GIVEN:  # these are corrected in the data
            can_be_amended[state.history[0].queried] = False
        return choose_second_looks(
            state,
            count,
            num_classes=self.dataset.num_classes,
            can_be_amended=can_be_amended,
            **outputs.get_tensors(NEEDS, SUBSTITUTES),
        )

    def make_batch_loader(self, state: State) -> BatchLoader:
        """The batches of the next epoch of `state`, which must have targets."""
        assert state.targets is not None
        algorithm, moment = self.algorithm, (state.cycle, state.epoch)
        active = self.active_pool(state)
        batches = algorithm.epoch_batches(
            active.select_targets(state.targets),
            active.pool,
            rng_for(self.split_seed, "batches", *moment),
            **kwargs_for(self.options, algorithm.epoch_batches),
        )
        batches = [active.to_positions(batch) for batch in batches]
        rng = rng_for(self.split_seed, "augment", *moment)
        return BatchLoader(
            self.dataset.images, state.targets, batches, rng, algorithm.augmentations
        )

    def save_checkpoint(self, state: State) -> None:
        """Write a checkpoint from which the run resumes as if it had not been interrupted."""
        self.run_folder.save_checkpoint(self._checkpoint_dict(state))

    def checkpoint_due(self, state: State) -> bool:
        """Whether it is time for a checkpoint within the cycle."""
        interval = self.options.of(RunFolderOptions).checkpoint_epochs
        is_due = self.run_folder.checkpoints.is_due(state.epoch, interval)
        return state.epoch < self.schedule.epochs and is_due

    def take_snapshot(self, state: State) -> None:
        """Keep in memory what a signal would save; always at the end of training and evaluation."""
        is_end_of_stage = state.evaluated or state.epoch == self.schedule.epochs
        self.run_folder.take_snapshot(lambda: self._checkpoint_dict(state), force=is_end_of_stage)

    def _checkpoint_dict(self, state: State) -> dict[str, Any]:
        """The contents of a checkpoint except the tables: tensors and plain types."""
        in_training = state.targets is not None and not state.evaluated
        return {"state": to_dict(state), **self.learner.state_dict(in_training)}
