"""The parts of a run that stay the same over its cycles, and what the loop does with them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

import semisup
from al_methods import METHODS, MethodOptions, select
from data.active_dataset import ActiveDataset
from data.batches import BatchLoader
from data.budget import BudgetOptions
from data.state import State, to_dict
from experiment import setup
from experiment.config import LoopOptions, component_needs
from experiment.environment import DeviceOptions
from experiment.run_folder import RunFolder, RunFolderOptions
from experiment.static_features import make_static_features
from labeling.oracle import get_oracle_labels
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.learner import Learner
from training.lr_schedule import ScheduleOptions
from training.network_outputs import NetworkOutputs
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

        name: of the method.
        outputs: of the network; what the method does not need is not computed.
        rng_purpose: what the method's random numbers are derived from."""
        method = METHODS[name]
        needs = component_needs(self.options, method)
        options = {
            option: value
            for group in kwargs_for(self.options, *method.functions()).values()
            for option, value in vars(group).items()
        }
        return select(
            name,
            labels=state.pool.labels,
            budget=budget,
            num_classes=self.dataset.num_classes,
            rng=rng_for(self.split_seed, rng_purpose, state.cycle),
            **outputs.get_tensors(needs, method.substitutes_for(needs)),
            **options,
        )

    def make_batch_loader(self, state: State) -> BatchLoader:
        """The batches of the next epoch of `state`, which must have targets."""
        assert state.targets is not None
        algorithm, moment = self.algorithm, (state.cycle, state.epoch)
        batches = algorithm.epoch_batches(
            state.targets,
            state.pool,
            rng_for(self.split_seed, "batches", *moment),
            **kwargs_for(self.options, algorithm.epoch_batches),
        )
        rng = rng_for(self.split_seed, "augment", *moment)
        return BatchLoader(
            self.dataset.images, state.targets, batches, rng, algorithm.augmentations
        )

    def oracle_labels(self, state: State) -> np.ndarray:
        """The classes (n,) of the queried images.

        Raises WaitingForLabels if a person has to label them first (labeling.oracle)."""
        return get_oracle_labels(
            state,
            dataset=self.dataset,
            folder=self.run_folder.path,
            network=self.learner.eval_model,
            options=self.options,
            amp=self.amp,
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
