"""From the options to what a run works with: the data, the folder, the network, its start.

Here and in the commands that import it the options object ends; what lies below takes keyword
arguments.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

import al_methods
import data
import semisup
import unsup
from al_methods import METHODS, select
from data import DATASETS, splits
from data.active_dataset import BUDGET, PROBLEM, ActiveDataset, load_active_dataset
from data.batches import BATCHES, BatchLoader
from data.state import State, to_dict
from experiment import finished_runs, identity
from experiment.config import SEED, component_needs, option_schema
from experiment.environment import DEVICE, resolve_device
from experiment.pretrained_cache import load_or_pretrain_backbone
from experiment.run_folder import RunFolder
from experiment.static_features import make_static_features
from models import ARCHS, HEAD, NETWORK, create_model
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.learner import OPTIMIZER, Learner, create_optimizer
from training.lr_schedule import SCHEDULE
from training.network_outputs import OUTPUT_FUNCTIONS, NetworkOutputs
from unsup import PRETRAINERS
from utils import fingerprints
from utils.options.option import keywords
from utils.options.schema import check_options_fit_data, identity_options
from utils.seeding import derive_seed, rng_for


@dataclass(frozen=True)
class Experiment:
    """What a run works with; what changes is the State, the learner and the rows of the run."""

    args: object  # all options, of utils.options.schema
    dataset: ActiveDataset
    run_folder: RunFolder
    learner: Learner
    pretrained_weights: dict | None  # the backbone's weights that every cycle starts from

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[semisup.algorithm_name(self.args)]

    @cached_property
    def split_seed(self) -> int:
        return derive_split_seed(self.args)

    def network_outputs(self, state: State) -> NetworkOutputs:
        """What the network as it is says of the training images."""
        chosen = option_schema().selections(self.args)
        options = dict.fromkeys(option for _, _, row in chosen for option in row.options)
        given = self.kwargs_for(options, *OUTPUT_FUNCTIONS.values())
        where = {"seed": self.split_seed, "cycle": state.cycle, "amp": self.args.amp}
        images = self.dataset.images
        return NetworkOutputs(
            self.learner.eval_model,
            images,
            **where,
            options=given,
            static_features=self.static_features,
        )

    @cached_property
    def static_features(self) -> dict:
        """What is the same in every cycle (the module of that name)."""
        make = network_factory(self.args, self.dataset)
        return make_static_features(
            self.dataset, make, self.pretrained_weights, self.split_seed, self.args.amp
        )

    def select_queries(
        self, name: str, state: State, budget: int, outputs, rng_purpose: str
    ) -> np.ndarray:
        """What a method picks, of what a network says (`outputs`): (budget,) int64, in order of
        choice.  draws: what its random stream is derived from."""
        needs = component_needs(self.args, method := METHODS[name])
        return select(
            name,
            labels=state.pool.labels,
            budget=budget,
            num_classes=self.dataset.num_classes,
            rng=rng_for(self.split_seed, rng_purpose, state.cycle),
            **outputs.get_tensors(needs, method.substitutes_for(needs)),
            **self.kwargs_for(method.options, method.pick),
        )

    def make_batch_loader(self, state: State) -> BatchLoader:
        """The batches of the epoch that `state` has reached."""
        algorithm, moment = self.algorithm, (state.cycle, state.epoch)
        options = self.kwargs_for((*BATCHES.options, *algorithm.options), algorithm.epoch_batches)
        rng = rng_for(self.split_seed, "batches", *moment)
        streams = algorithm.epoch_batches(state.targets, state.pool, rng, **options)
        rng = rng_for(self.split_seed, "augment", *moment)
        return BatchLoader(
            self.dataset.images, state.targets, streams, rng, algorithm.augmentations
        )

    def save_checkpoint(self, state: State) -> None:
        """A checkpoint from which the run goes on as if nothing had happened."""
        self.run_folder.save_checkpoint(self._checkpoint_dict(state))

    def take_snapshot(self, state: State) -> None:
        """What a signal that comes now would save; after training and judging in any case."""
        over = state.evaluated or state.epoch == self.args.epochs
        self.run_folder.take_snapshot(lambda: self._checkpoint_dict(state), force=over)

    def _checkpoint_dict(self, state: State) -> dict:
        """All that a checkpoint holds but the rows: tensors and plain types."""
        training = state.targets is not None and not state.evaluated
        return {"state": to_dict(state), **self.learner.state_dict(training)}

    def kwargs_for(self, options, *functions) -> dict:
        """The keyword arguments that the functions take of these options."""
        return keywords(self.args, options, *functions)


def derive_split_seed(args) -> int:
    """Splits differ in more than their labels."""
    return derive_seed(args.seed, "split", args.split)


def split_file_paths(args, fingerprint: str) -> list[Path]:
    """Where the split of these data is or will be; nowhere, if the first labels are of no split."""
    if args.initial != al_methods.INITIAL_BALANCED:
        return []
    folder = splits.split_folder_name(
        args.dataset, fingerprint if DATASETS[args.dataset].is_custom else ""
    )
    return [splits.split_path(folder, args.initial_size, args.split)]


def source_file_stats(args) -> dict:
    """Sizes and times of the data's files, and of the split's where its name is known already."""
    row = DATASETS[args.dataset]
    paths = sorted(row.list_files(args.data_root)) if row.list_files else []
    return fingerprints.file_stats([*paths, *([] if row.is_custom else split_file_paths(args, ""))])


def write_missing_split(args, problem: ActiveDataset) -> dict:
    """Write the split's file if it is missing; -> its size and time, if that was so."""
    paths = split_file_paths(args, problem.fingerprint)
    return fingerprints.file_stats(
        [path for path in paths if splits.write_missing_split(path, problem)]
    )


def open_dataset(args) -> ActiveDataset:
    """Read and check the data; nothing is written."""
    spec = DATASETS[args.dataset]
    options = (*PROBLEM.options, *BUDGET.options)
    problem = load_active_dataset(
        spec,
        args.data_root,
        name=args.dataset,
        rng=rng_for(derive_split_seed(args), "validation"),
        device=resolve_device(args.device, args.amp),
        from_split=args.initial == al_methods.INITIAL_BALANCED,
        use_all_labels=args.initial == al_methods.INITIAL_GIVEN,
        **keywords(args, options, load_active_dataset),
        **keywords(args, spec.options, spec.load),
    )
    check_options_fit_data(option_schema(), args, problem)
    return problem


def open_dataset_with_file_stats(args) -> tuple[ActiveDataset, dict]:
    """The data, and sizes and times of the files that they and the split are read from."""
    before = source_file_stats(args)
    problem = open_dataset(args)
    return problem, fingerprints.file_stats(split_file_paths(args, problem.fingerprint)) | before


def run_folder_path(args, name: str) -> Path:
    """<out>/<dataset>/budget<b>/<arch>/<method>[_with_<algorithm>][_pretrained]/<name>/split<k>, or
    --run-dir."""
    if args.run_dir:
        return Path(args.run_dir)
    algorithm, words = semisup.algorithm_name(args), args.al_method
    words += f"_with_{algorithm}" if ALGORITHMS[algorithm].title else ""
    words += "_pretrained" if args.add_unsupervised_pretraining else ""
    budget = f"budget{args.al_budget}"
    return Path(args.out, args.dataset, budget, args.arch, words, name, f"split{args.split}")


def find_finished_run(args) -> Path | None:
    """The run's folder, where it is over and that can be told without reading the data."""
    if not args.resume or DATASETS[args.dataset].list_files is None:
        return None
    where, options, read = (
        run_folder_path(args, "*"),
        identity_options(option_schema(), args),
        source_file_stats(args),
    )
    return finished_runs.match_finished_run(
        where, options, lambda data: fingerprints.file_stats(split_file_paths(args, data)) | read,
        args.al_nb_cycles, args.exp_name,
    )  # fmt: skip


def open_run_folder(args, problem: ActiveDataset) -> RunFolder:
    """The run's folder, locked; what it holds is this run's or nothing."""
    labels = fingerprints.array_digest(
        problem.dataset_indices[problem.initial_indices], problem.initial_labels
    )
    options = identity_options(option_schema(), args)
    who = identity.make_identity(options, problem.fingerprint, initial=labels)
    where = run_folder_path(args, finished_runs.run_folder_name(who, args.exp_name))
    judges = tuple(problem.eval_sets)
    config = {**vars(args), "identity": who}
    more = {"resume": args.resume, "judges": judges, "scalars": args.tensorboard}
    return RunFolder(where, config, device=problem.images.device, **more)


def network_factory(args, problem: ActiveDataset) -> partial:
    """What makes the network, from torch's default generator."""
    row = ARCHS[args.arch]
    own = keywords(args, row.options, row.make_backbone)
    shared = keywords(args, (*NETWORK.options, *HEAD.options), create_model)
    facts = {"in_channels": problem.channels, "size": problem.size}
    return partial(create_model, num_classes=problem.num_classes, **facts, **shared, **own)


def make_learner(args, problem: ActiveDataset) -> Learner:
    """A network on its device, with what trains it."""
    algorithm, device = ALGORITHMS[semisup.algorithm_name(args)], problem.images.device
    own = keywords(args, algorithm.options, algorithm.make_loss)
    return Learner(
        network_factory(args, problem)().to(device),
        make_optimizer=partial(
            create_optimizer,
            **keywords(args, (*SCHEDULE.options, *OPTIMIZER.options), create_optimizer),
        ),
        make_loss=lambda: algorithm.make_loss(problem.num_classes, **own).to(device),
        ema=args.ema,
        example_images=problem.images.plain_batch(slice(0, 2)) if args.compile else None,
    )


def load_or_pretrain_weights(args, run: RunFolder, problem: ActiveDataset) -> dict | None:
    """The backbone's weights that every cycle starts from, of the cache that all splits and methods
    share, or learned; None without pre-training."""
    if not args.add_unsupervised_pretraining:
        return None
    row, spec, arch = PRETRAINERS[args.pretraining_method], DATASETS[args.dataset], ARCHS[args.arch]
    parts = (data.DATASET, spec, NETWORK, arch, unsup.PRETRAINING, row, DEVICE, SEED)
    options = identity_options(option_schema(), args, parts)
    torch.manual_seed(derive_seed(args.seed, "pretraining weights"))
    with run.time_stage("all", "pretrain"):
        return load_or_pretrain_backbone(
            str(Path(args.out, "pretrained")),
            network_factory(args, problem)(head_dropout=0).to(problem.images.device),
            problem.all_images,
            row,
            identity.make_identity(options, problem.fingerprint),
            relearn=args.learn_unsupervised_pretraining and run.last_checkpoint is None,
            checkpoint_epochs=args.checkpoint_epochs,
            num_classes=problem.num_classes,
            seed=args.seed,
            amp=args.amp,
            **keywords(args, row.options, row.pretrain),
        )
