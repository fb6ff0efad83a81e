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
from data.active_dataset import BUDGET, PROBLEM, Problem, load_problem
from data.batches import BATCHES, TrainingBatches
from data.state import State, to_plain
from experiment import finished_runs, identity
from experiment.config import SEED, declared, needs_of
from experiment.environment import DEVICE, resolve_device
from experiment.pretrained_cache import pretrained_backbone
from experiment.run_folder import Run
from experiment.static_features import lasting
from models import ARCHS, HEAD, NETWORK, create_model
from semisup import ALGORITHMS
from semisup.spec import Algorithm
from training.learner import OPTIMIZER, Learner, create_optimizer
from training.lr_schedule import SCHEDULE
from training.network_outputs import NEEDS, Outputs
from unsup import PRETRAINERS
from utils import fingerprints
from utils.options.option import keywords
from utils.options.schema import check_fits, identity_options
from utils.seeding import derive, stream


@dataclass(frozen=True)
class Experiment:
    """What a run works with; what changes is the State, the learner and the rows of the run."""

    args: object  # all options, of utils.options.schema
    problem: Problem
    run: Run
    learner: Learner
    start: dict | None  # the backbone's weights that every cycle starts from

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[semisup.algorithm_of(self.args)]

    @cached_property
    def seed(self) -> int:
        return seed_of(self.args)

    def outputs(self, state: State) -> Outputs:
        """What the network as it is says of the training images."""
        chosen = declared().chosen(self.args)
        options = dict.fromkeys(option for _, _, row in chosen for option in row.options)
        given = self.keywords(options, *NEEDS.values())
        where = {"seed": self.seed, "cycle": state.cycle, "amp": self.args.amp}
        images = self.problem.images
        return Outputs(self.learner.judge, images, **where, options=given, lasting=self.lasting)

    @cached_property
    def lasting(self) -> dict:
        """What is the same in every cycle (the module of that name)."""
        make = network_maker(self.args, self.problem)
        return lasting(self.problem, make, self.start, self.seed, self.args.amp)

    def picks(self, name: str, state: State, budget: int, outputs, draws: str) -> np.ndarray:
        """What a method picks, of what a network says (`outputs`): (budget,) int64, in order of
        choice.  draws: what its random stream is derived from."""
        needs = needs_of(self.args, method := METHODS[name])
        return select(
            name,
            labels=state.pool.labels,
            budget=budget,
            num_classes=self.problem.num_classes,
            rng=stream(self.seed, draws, state.cycle),
            **outputs.of(needs, method.instead(needs)),
            **self.keywords(method.options, method.pick),
        )

    def batches(self, state: State) -> TrainingBatches:
        """The batches of the epoch that `state` has reached."""
        algorithm, moment = self.algorithm, (state.cycle, state.epoch)
        options = self.keywords((*BATCHES.options, *algorithm.options), algorithm.streams)
        rng = stream(self.seed, "batches", *moment)
        streams = algorithm.streams(state.targets, state.pool, rng, **options)
        rng = stream(self.seed, "augment", *moment)
        return TrainingBatches(self.problem.images, state.targets, streams, rng, algorithm.views)

    def save(self, state: State) -> None:
        """A checkpoint from which the run goes on as if nothing had happened."""
        self.run.save(self._whole(state))

    def keep(self, state: State) -> None:
        """What a signal that comes now would save; after training and judging in any case."""
        over = state.judged or state.epoch == self.args.epochs
        self.run.keep(lambda: self._whole(state), now=over)

    def _whole(self, state: State) -> dict:
        """All that a checkpoint holds but the rows: tensors and plain types."""
        training = state.targets is not None and not state.judged
        return {"state": to_plain(state), **self.learner.state_dict(training)}

    def keywords(self, options, *functions) -> dict:
        """The keyword arguments that the functions take of these options."""
        return keywords(self.args, options, *functions)


def seed_of(args) -> int:
    """Splits differ in more than their labels."""
    return derive(args.seed, "split", args.split)


def split_files(args, fingerprint: str) -> list[Path]:
    """Where the split of these data is or will be; nowhere, if the first labels are of no split."""
    if args.initial != al_methods.BALANCED:
        return []
    folder = splits.folder_name(args.dataset, fingerprint if DATASETS[args.dataset].own else "")
    return [splits.path_of(folder, args.initial_size, args.split)]


def sources(args) -> dict:
    """Sizes and times of the data's files, and of the split's where its name is known already."""
    row = DATASETS[args.dataset]
    paths = sorted(row.files(args.data_root)) if row.files else []
    return fingerprints.stamps([*paths, *([] if row.own else split_files(args, ""))])


def write_split(args, problem: Problem) -> dict:
    """Write the split's file if it is missing; -> its size and time, if that was so."""
    paths = split_files(args, problem.fingerprint)
    return fingerprints.stamps([path for path in paths if splits.write_missing(path, problem)])


def open_problem(args) -> Problem:
    """Read and check the data; nothing is written."""
    spec = DATASETS[args.dataset]
    options = (*PROBLEM.options, *BUDGET.options)
    problem = load_problem(
        spec,
        args.data_root,
        name=args.dataset,
        rng=stream(seed_of(args), "validation"),
        device=resolve_device(args.device, args.amp),
        drawn=args.initial == al_methods.BALANCED,
        given=args.initial == al_methods.GIVEN,
        **keywords(args, options, load_problem),
        **keywords(args, spec.options, spec.load),
    )
    check_fits(declared(), args, problem)
    return problem


def opened(args) -> tuple[Problem, dict]:
    """The data, and sizes and times of the files that they and the split are read from."""
    before = sources(args)
    problem = open_problem(args)
    return problem, fingerprints.stamps(split_files(args, problem.fingerprint)) | before


def folder_of(args, name: str) -> Path:
    """<out>/<dataset>/budget<b>/<arch>/<method>[_with_<algorithm>][_pretrained]/<name>/split<k>, or
    --run-dir."""
    if args.run_dir:
        return Path(args.run_dir)
    algorithm, words = semisup.algorithm_of(args), args.al_method
    words += f"_with_{algorithm}" if ALGORITHMS[algorithm].title else ""
    words += "_pretrained" if args.add_unsupervised_pretraining else ""
    budget = f"budget{args.al_budget}"
    return Path(args.out, args.dataset, budget, args.arch, words, name, f"split{args.split}")


def finished_before(args) -> Path | None:
    """The run's folder, where it is over and that can be told without reading the data."""
    if not args.resume or DATASETS[args.dataset].files is None:
        return None
    where, options, read = folder_of(args, "*"), identity_options(declared(), args), sources(args)
    return finished_runs.finished_before(
        where, options, lambda data: fingerprints.stamps(split_files(args, data)) | read,
        args.al_nb_cycles, args.exp_name,
    )  # fmt: skip


def open_run(args, problem: Problem) -> Run:
    """The run's folder, locked; what it holds is this run's or nothing."""
    labels = fingerprints.array_digest(problem.ids[problem.initial], problem.initial_labels)
    options = identity_options(declared(), args)
    who = identity.identity(options, problem.fingerprint, initial=labels)
    where = folder_of(args, finished_runs.run_name(who, args.exp_name))
    judges = tuple(problem.judges)
    config = {**vars(args), "identity": who}
    more = {"resume": args.resume, "judges": judges, "scalars": args.tensorboard}
    return Run(where, config, device=problem.images.device, **more)


def network_maker(args, problem: Problem) -> partial:
    """What makes the network, from torch's default generator."""
    row = ARCHS[args.arch]
    own = keywords(args, row.options, row.backbone)
    shared = keywords(args, (*NETWORK.options, *HEAD.options), create_model)
    facts = {"in_channels": problem.channels, "size": problem.size}
    return partial(create_model, num_classes=problem.num_classes, **facts, **shared, **own)


def new_learner(args, problem: Problem) -> Learner:
    """A network on its device, with what trains it."""
    algorithm, device = ALGORITHMS[semisup.algorithm_of(args)], problem.images.device
    own = keywords(args, algorithm.options, algorithm.loss)
    return Learner(
        network_maker(args, problem)().to(device),
        make_optimizer=partial(
            create_optimizer,
            **keywords(args, (*SCHEDULE.options, *OPTIMIZER.options), create_optimizer),
        ),
        make_loss=lambda: algorithm.loss(problem.num_classes, **own).to(device),
        ema=args.ema,
        example=problem.images.plain(slice(0, 2)) if args.compile else None,
    )


def pretrained(args, run: Run, problem: Problem) -> dict | None:
    """The backbone's weights that every cycle starts from, of the cache that all splits and methods
    share, or learned; None without pre-training."""
    if not args.add_unsupervised_pretraining:
        return None
    row, spec, arch = PRETRAINERS[args.pretraining_method], DATASETS[args.dataset], ARCHS[args.arch]
    parts = (data.DATASET, spec, NETWORK, arch, unsup.PRETRAINING, row, DEVICE, SEED)
    options = identity_options(declared(), args, parts)
    torch.manual_seed(derive(args.seed, "pretraining weights"))
    with run.timed("all", "pretrain"):
        return pretrained_backbone(
            str(Path(args.out, "pretrained")),
            network_maker(args, problem)(head_dropout=0).to(problem.images.device),
            problem.everything,
            row,
            identity.identity(options, problem.fingerprint),
            anew=args.learn_unsupervised_pretraining and run.state is None,
            checkpoint_epochs=args.checkpoint_epochs,
            num_classes=problem.num_classes,
            seed=args.seed,
            amp=args.amp,
            **keywords(args, row.options, row.pretrain),
        )
