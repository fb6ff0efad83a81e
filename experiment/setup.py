"""Builds the parts of a run from its options: data, run folder, network, pre-trained weights.

Only this package and the commands read the options of a whole run; everything below takes plain
arguments, or the group of options that it declares.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

import semisup
from al_methods import INITIAL_BALANCED, INITIAL_GIVEN, MethodOptions
from data import DATASETS, DatasetOptions, splits
from data.active_dataset import (
    ActiveDataset,
    DataOptions,
    ValidationOptions,
    load_active_dataset,
)
from data.augment import ImageStore
from data.budget import BudgetOptions, DataSize
from data.duplicates import ASK_EACH, DuplicateOptions, digest_rows, find_groups
from data.feature_vectors import Features
from data.spec import DatasetSpec
from experiment import encoding, finished_runs, identity
from experiment.config import SCHEMA, SeedOptions
from experiment.environment import DeviceOptions, resolve_device
from experiment.pretrained_cache import load_or_pretrain_backbone
from experiment.run_folder import RunFolder
from experiment.run_folder_path import RunFolderOptions, possible_run_folders, run_folder_path
from experiment.stopping import StoppingOptions
from models import (
    ARCHS,
    HeadOptions,
    NetworkOptions,
    SobelOptions,
    create_model,
    encoder_key,
)
from models.network import Network
from semisup import ALGORITHMS
from training.learner import (
    CompileOptions,
    EmaOptions,
    Learner,
    OptimizerOptions,
    create_optimizer,
)
from training.lr_schedule import ScheduleOptions
from unsup import PRETRAINERS, PretrainingOptions
from utils import fingerprints
from utils.options.option import OptionGroup, OptionValues, kwargs_for
from utils.options.schema import (
    check_options_fit_data,
    fit_defaults_to_data,
    identity_options,
)
from utils.seeding import derive_seed, rng_for


def dataset_spec(options: OptionValues) -> DatasetSpec:
    """The selected entry of DATASETS; with an encoder, its images are features."""
    spec = DATASETS[options.of(DatasetOptions).dataset]
    return replace(spec, has_feature_vectors=True) if encoder_key(options) else spec


def derive_split_seed(options: OptionValues) -> int:
    """The seed of a run; each split has its own, also for weights and batches."""
    return derive_seed(options.of(SeedOptions).seed, "split", options.of(DataOptions).split)


def split_file_paths(options: OptionValues, fingerprint: str) -> list[Path]:
    """Where the split of these data is or will be; none if the first labels are of no split."""
    if options.of(MethodOptions).initial != INITIAL_BALANCED:
        return []
    name = options.of(DatasetOptions).dataset
    folder = splits.split_folder_name(name, fingerprint if DATASETS[name].is_custom else "")
    size = options.of(BudgetOptions).initial_size
    assert size is not None  # only --initial given has none
    out = options.of(RunFolderOptions).out
    return [splits.split_path(folder, size, options.of(DataOptions).split, out)]


def source_file_stats(options: OptionValues) -> dict:
    """Sizes and times of the data's files, and of the split's if its name does not depend on the
    data."""
    spec = dataset_spec(options)
    paths = sorted(spec.list_files(options.of(DataOptions).data_root)) if spec.list_files else []
    paths += encoding.list_weight_files(options)
    split = [] if spec.is_custom else split_file_paths(options, "")
    return fingerprints.file_stats([*paths, *split])


def write_missing_split(options: OptionValues, dataset: ActiveDataset) -> dict:
    """Write the split's file if it is missing; -> its size and time, if it was."""
    paths = split_file_paths(options, dataset.fingerprint)
    return fingerprints.file_stats(
        [path for path in paths if splits.write_missing_split(path, dataset)]
    )


def open_dataset(
    options: OptionValues, only_cached: bool = False
) -> tuple[ActiveDataset, OptionValues]:
    """Read and check the data; nothing is written.  -> also the options, whose defaults fit the
    data (utils.options.schema.fit_defaults_to_data).

    only_cached: raise UserError where an encoder would have to encode the images first.

    Raises UserError if the data are wrong or the options do not fit them."""
    spec, device = dataset_spec(options), options.of(DeviceOptions)
    root = options.of(DataOptions).data_root
    if encoder_key(options):
        loaded = encoding.load_encoded_dataset(options, only_cached)
    else:
        loaded = spec.load_and_check(root, **kwargs_for(options, spec.load))
    validation = options.of(ValidationOptions).use_val_set
    duplicates = options.of(DuplicateOptions).duplicates
    digests = None if duplicates == ASK_EACH else digest_rows(loaded.train)
    groups = find_groups(loaded.train, duplicates, digests) if digests else None
    size = DataSize.of(
        loaded.train.labels,
        loaded.spec_fields["num_classes"],
        validation,
        groups,
        is_table=isinstance(loaded.train, Features)
        and loaded.shown_pixels is None
        and not loaded.image_files
        and not encoder_key(options),
    )
    options, lines = fit_defaults_to_data(SCHEMA, options, size)
    if options.of(DuplicateOptions).duplicates == ASK_EACH:
        groups = None
    initial = options.of(MethodOptions).initial
    dataset = load_active_dataset(
        spec,
        root,
        name=options.of(DatasetOptions).dataset,
        split=options.of(DataOptions).split,
        size=options.of(BudgetOptions).initial_size,
        validation=validation,
        rng=rng_for(derive_split_seed(options), "validation"),
        device=resolve_device(device.device, device.amp),
        from_split=initial == INITIAL_BALANCED,
        use_all_labels=initial == INITIAL_GIVEN,
        out=options.of(RunFolderOptions).out,
        loaded=loaded,
        train_digests=digests,
        duplicate_groups=groups,
    )
    check_options_fit_data(SCHEMA, options, dataset)
    return replace(dataset, warnings=(*dataset.warnings, *lines)), options


def open_dataset_with_file_stats(
    options: OptionValues,
) -> tuple[ActiveDataset, OptionValues, dict[str, Any]]:
    """The data and the options as `open_dataset` gives them, and sizes and times of the files that
    data and split are read from.

    The files are examined before they are read: one that changes meanwhile is read again later."""
    file_stats = source_file_stats(options)
    dataset, options = open_dataset(options)
    split = fingerprints.file_stats(split_file_paths(options, dataset.fingerprint))
    return dataset, options, split | file_stats


def find_finished_run(options: OptionValues) -> Path | None:
    """The folder of the finished run with these options.

    None if there is none, or if only reading the data could tell."""
    folder = options.of(RunFolderOptions)
    if not folder.resume or dataset_spec(options).list_files is None:
        return None
    sources = source_file_stats(options)
    return finished_runs.match_finished_run(
        possible_run_folders(options),
        identity_options(SCHEMA, options),
        lambda data: fingerprints.file_stats(split_file_paths(options, data)) | sources,
        options.of(BudgetOptions).al_nb_cycles,
        lambda name, run_identity: (
            folder.run_dir is not None
            or name == finished_runs.run_folder_name(run_identity, folder.exp_name)
        ),
        options.of(StoppingOptions).stop_when,
    )


def open_run_folder(options: OptionValues, dataset: ActiveDataset) -> RunFolder:
    """The run's folder, new or with an earlier part of this run; protected by a lease.

    Raises UserError if another process uses it or it holds another run, SystemRefusal if it cannot
    be written."""
    labels = fingerprints.array_digest(
        dataset.dataset_indices[dataset.initial_indices], dataset.initial_labels
    )
    parts: dict[str, Any] = {"initial": labels}
    if dataset.has_class_names:
        parts["classes"] = list(dataset.data_class_names)
    if encoder_key(options):
        parts["encoder"] = dataset.preprocessing["encoder"]
    run_identity = identity.make_identity(
        identity_options(SCHEMA, options), dataset.fingerprint, **parts
    )
    folder = options.of(RunFolderOptions)
    return RunFolder(
        run_folder_path(options, finished_runs.run_folder_name(run_identity, folder.exp_name)),
        {**options.as_dict(), "identity": run_identity},
        device=dataset.images.device,
        resume=folder.resume,
        eval_prefixes=tuple(dataset.eval_sets),
        tensorboard=folder.tensorboard,
    )


class InputShape(Protocol):
    """What a network has to know of the data: an ActiveDataset, for example."""

    @property
    def num_classes(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def size(self) -> int: ...


def network_factory(options: OptionValues, dataset: InputShape) -> partial[Network]:
    """A function that makes a network, with random weights from torch's default generator."""
    arch = options.of(NetworkOptions).arch
    return partial(
        create_model,
        arch,
        num_classes=dataset.num_classes,
        in_channels=dataset.channels,
        size=dataset.size,
        unit_length=options.of(NetworkOptions).isL2,
        sobel=options.of(SobelOptions).sobel,
        head_dropout=options.of(HeadOptions).head_dropout,
        **kwargs_for(options, ARCHS[arch].make_backbone),
    )


def make_learner(options: OptionValues, dataset: ActiveDataset) -> Learner:
    """The network on the device of the images, with its optimizer, average and loss."""
    algorithm, device = ALGORITHMS[semisup.algorithm_name(options)], dataset.images.device
    optimizer, schedule = options.of(OptimizerOptions), options.of(ScheduleOptions)
    loss_options = kwargs_for(options, algorithm.make_loss)
    compile_network = options.of(CompileOptions).compile
    return Learner(
        network_factory(options, dataset)().to(device),
        make_optimizer=partial(
            create_optimizer,
            lr=schedule.lr,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            weight_decay=optimizer.weight_decay,
        ),
        make_loss=lambda: algorithm.make_loss(dataset.num_classes, **loss_options).to(device),
        ema=options.of(EmaOptions).ema,
        example_images=dataset.images.plain_batch(slice(0, 2)) if compile_network else None,
    )


def load_or_pretrain_weights(
    options: OptionValues, run_folder: RunFolder, dataset: ActiveDataset
) -> dict[str, torch.Tensor] | None:
    """The backbone's weights from which every cycle starts; None without pre-training.

    They come from the cache that all splits and methods share, or are learned now. Raises UserError
    if the cache holds a damaged file or another identity, SystemRefusal if it cannot be written."""
    pretraining, seed = options.of(PretrainingOptions), options.of(SeedOptions).seed
    if not pretraining.add_unsupervised_pretraining:
        return None
    # Those that the data had at the start; the number of clusters may follow from them.
    classes = run_folder.config["identity"].get("classes", dataset.data_class_names)
    dataset = dataset.with_classes(tuple(classes))
    pretrainer = PRETRAINERS[pretraining.pretraining_method]
    groups: tuple[type[OptionGroup], ...] = (
        DatasetOptions,
        *dataset_spec(options).groups(),
        NetworkOptions,
        SobelOptions,
        *ARCHS[options.of(NetworkOptions).arch].groups(),
        PretrainingOptions,
        *pretrainer.groups(),
        DeviceOptions,
        SeedOptions,
    )
    weights_options = identity_options(SCHEMA, options, groups)
    assert isinstance(dataset.all_images, ImageStore)  # config.py refuses features
    folder = options.of(RunFolderOptions)
    torch.manual_seed(derive_seed(seed, "pretraining weights"))
    with run_folder.time_stage("all", "pretrain"):
        return load_or_pretrain_backbone(
            str(Path(folder.out, "pretrained")),
            network_factory(options, dataset)(head_dropout=0).to(dataset.images.device),
            dataset.all_images,
            pretrainer,
            identity.make_identity(weights_options, dataset.fingerprint),
            relearn=(
                pretraining.learn_unsupervised_pretraining and run_folder.last_checkpoint is None
            ),
            checkpoint_epochs=folder.checkpoint_epochs,
            num_classes=dataset.num_classes,
            seed=seed,
            amp=options.of(DeviceOptions).amp,
            **kwargs_for(options, pretrainer.pretrain),
        )
