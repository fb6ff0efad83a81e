"""All options of a run in the order of --help, and the registries that a run selects from."""

from dataclasses import dataclass

import al_methods
import data
import models
import semisup
import unsup
from al_methods import MethodOptions
from data import DatasetOptions
from data.active_dataset import DataOptions, ValidationOptions
from data.batches import BatchOptions
from data.budget import BudgetOptions
from data.duplicates import DuplicateOptions
from experiment.environment import DeviceOptions
from experiment.run_folder_path import RunFolderOptions
from experiment.stopping import StoppingOptions
from labeling.audit import AuditOptions, stores_predictions
from labeling.oracle import OracleOptions
from labeling.second_looks import SecondLookOptions
from models import (
    EncoderOptions,
    HeadOptions,
    NetworkOptions,
    SobelOptions,
    require_dropout,
    require_input_kind,
)
from training.learner import CompileOptions, EmaOptions, OptimizerOptions
from training.lr_schedule import ScheduleOptions
from training.network_outputs import DROPOUT_OUTPUTS
from unsup import PretrainingOptions
from utils.errors import UserError
from utils.options.converters import non_negative_integer
from utils.options.option import (
    Component,
    Condition,
    OptionGroup,
    OptionValues,
    kwargs_for,
    option,
    resolve_needs,
)
from utils.options.schema import OptionSchema

# Options of images that a run on the features of an encoder does not read -> why.
PIXEL_OPTIONS = {
    "image_size": "which has its own (--encoder-size)",
    "flip": "whose features are not augmented",
    "cache": "which reads the files at their full size",
}


@dataclass(frozen=True)
class LoopOptions(OptionGroup):
    """The loop over the cycles."""

    section = "training"
    finetuning: bool = option(
        False,
        "Start each cycle from the weights of the previous one.",
        after_first_cycle=True,
    )


@dataclass(frozen=True)
class SeedOptions(OptionGroup):
    """Randomness."""

    section = "run"
    seed: int = option(
        7,
        "Random seed for weights, batches, augmentation and k-means. Splits have their own "
        "(--split).",
        type=non_negative_integer,
        metavar="N",
    )


def component_needs(options: OptionValues, component: Component) -> tuple[str, ...]:
    """Names of the network outputs (training.network_outputs) that an acquisition method or a
    training algorithm needs with these options."""
    needs = getattr(component, "needs", ())
    return resolve_needs(needs, kwargs_for(options, needs) if callable(needs) else {})


def has_static_graph(options: OptionValues) -> bool:
    """Whether the run propagates labels on a graph that is the same in all cycles: of features that
    training does not change."""
    algorithm = semisup.ALGORITHMS[semisup.algorithm_name(options)]
    if algorithm.leave_one_out is None:
        return False
    has_own_features = models.ARCHS[options.arch].feature_dim is not None
    return not (has_own_features and "features" in component_needs(options, algorithm))


def _check_stop_rule(options: OptionValues) -> None:
    rule = options.of(StoppingOptions).stop_when
    if rule and not (has_static_graph(options) or stores_predictions(options)):
        raise UserError(
            f"--stop-when {rule} needs an estimate of the accuracy: add --audit N, or propagate "
            "labels on features that training does not change (--add-lp with --arch linear, or "
            "with --lp-views pretrained_features or pixels)"
        )


def _check_components(options: OptionValues) -> None:
    """Raises UserError if the selected components do not fit together."""
    _check_encoder(options)
    _check_stop_rule(options)
    has_features = data.DATASETS[options.dataset].has_feature_vectors or bool(options.encoder)
    require_input_kind(options, has_features)
    if has_features:
        _reject_image_options(options)
    for registry, key, component in SCHEMA.selections(options):
        needs, flag = set(component_needs(options, component)), registry.flag_for(key)
        if DROPOUT_OUTPUTS & needs:
            require_dropout(options, flag)
        if "pretrained_features" in needs and not has_features:
            from_views = callable(getattr(component, "needs", ()))  # an option requests it then
            unsup.require_pretraining(
                options, "--lp-views pretrained_features" if from_views else flag
            )


def _check_encoder(options: OptionValues) -> None:
    """Raises UserError if an encoder is selected for features, or beside options that only concern
    pixels."""
    if not options.encoder:
        return
    if data.DATASETS[options.dataset].has_feature_vectors:
        raise UserError(
            f"--encoder needs images; --dataset {options.dataset} has features: leave it out"
        )
    for name, remedy in PIXEL_OPTIONS.items():
        if options.is_explicit(name):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} has no effect with --encoder, {remedy}: leave it out")


def _reject_image_options(options: OptionValues) -> None:
    """Raises UserError for options that need images; the data set has feature vectors."""
    has = f"--dataset {options.dataset} has features"
    if options.encoder:
        has = f"--encoder {options.encoder} gives features"
    if options.add_unsupervised_pretraining:
        raise UserError(
            f"--add-unsupervised-pretraining needs images; {has}, which replace pre-trained ones: "
            "leave the option out"
        )
    for registry, key, component in SCHEMA.selections(options):
        if "strong" in getattr(component, "augmentations", ()):
            raise UserError(f"{registry.flag_for(key)} needs images to augment; {has}")
        for need in component_needs(options, component):
            if need == "pixels" or need.endswith("_agreement"):
                flag = "--lp-views pixels" if need == "pixels" else "--lp-view-weights agreement"
                raise UserError(f"{flag} needs images; {has}")


SCHEMA = OptionSchema(
    groups=(
        DatasetOptions,
        DataOptions,
        EncoderOptions,
        MethodOptions,
        OracleOptions,
        SecondLookOptions,
        DuplicateOptions,
        BudgetOptions,
        AuditOptions,
        StoppingOptions,
        NetworkOptions,
        HeadOptions,
        ScheduleOptions,
        BatchOptions,
        OptimizerOptions,
        EmaOptions,
        LoopOptions,
        ValidationOptions,
        PretrainingOptions,
        SobelOptions,
        DeviceOptions,
        SeedOptions,
        RunFolderOptions,
        CompileOptions,
    ),
    registries=(
        data.REGISTRY,
        models.ENCODER_REGISTRY,
        models.REGISTRY,
        al_methods.REGISTRY,
        al_methods.INITIAL_REGISTRY,
        semisup.REGISTRY,
        unsup.REGISTRY,
    ),
    repeats=Condition(lambda options: options.al_nb_cycles > 1, "--al-nb-cycles above 1"),
    checks=(semisup.check_single_algorithm, _check_components),
    last_section="run",
)
SCHEMA.require_all_read()
