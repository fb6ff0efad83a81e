"""All options of a run in the order of the help, and the registries that they choose from."""

import al_methods
import data
import models
import semisup
import unsup
from data.active_dataset import BUDGET, PROBLEM
from data.batches import BATCHES
from experiment.environment import DEVICE
from experiment.run_folder_options import FOLDER
from labeling import oracle
from models import HEAD, NETWORK, require_dropout, require_input_kind
from training.learner import LEARNER, OPTIMIZER
from training.lr_schedule import SCHEDULE
from training.network_outputs import DROPOUT_OUTPUTS
from utils.errors import UserError
from utils.graph import graph_options
from utils.options.converters import non_negative_integer
from utils.options.option import Option, Part, asked, keywords
from utils.options.schema import Declared


def component_needs(args, component) -> tuple[str, ...]:
    """What a row of methods or algorithms needs of the network (experiment.Experiment.outputs)."""
    needs = getattr(component, "needs", ())
    return asked(needs, keywords(args, component.options, needs)) if callable(needs) else needs


def _check(args) -> None:
    require_input_kind(args, vectors := data.DATASETS[args.dataset].has_feature_vectors)
    if vectors:
        _reject_image_options(args)
    for choice, key, row in option_schema().selections(args):
        needs, who = set(component_needs(args, row)), choice.chosen.format(key)
        if DROPOUT_OUTPUTS & needs:
            require_dropout(args, who)
        if "pretrained_features" in needs and not vectors:
            by_views = callable(row.needs)  # which of its options asks for it
            unsup.require_pretraining(args, "--lp-views pretrained_features" if by_views else who)


def _reject_image_options(args) -> None:
    """Raises UserError for what needs images, where there are features in their place."""
    has = f"--dataset {args.dataset} has features"
    if args.add_unsupervised_pretraining:
        raise UserError(
            f"--add-unsupervised-pretraining needs images; {has}, which take the place of "
            "pre-trained ones: leave it out"
        )
    for choice, key, row in option_schema().selections(args):
        if "strong" in getattr(row, "augmentations", ()):
            raise UserError(f"{choice.chosen.format(key)} needs images to augment; {has}")
        for need in component_needs(args, row):
            if need == "pixels" or need.endswith("_agreement"):
                option = "--lp-views pixels" if need == "pixels" else "--lp-view-weights agreement"
                raise UserError(f"{option} needs images; {has}")


LOOP = Part(
    "training",
    options=(
        Option("finetuning", False, "start from the last cycle's weights", kind=bool, later=True),
    ),
    check=_check,
)
SEED = Part(
    "run",
    options=(
        Option(
            "seed", 7, "of everything random but the splits", kind=non_negative_integer, metavar="N"
        ),
    ),
)


def option_schema() -> Declared:
    return Declared(
        parts=(
            *(data.DATASET, PROBLEM, al_methods.AL_METHOD, oracle.ORACLE, BUDGET, NETWORK, HEAD),
            *(SCHEDULE, BATCHES, OPTIMIZER, LEARNER, LOOP, Part(graph_options.GRAPH_SECTION)),
            *semisup.make_switch_groups(),
            *(unsup.PRETRAINING, DEVICE, SEED, FOLDER),
        ),
        choices=(
            *(
                data.CHOICE,
                models.CHOICE,
                al_methods.CHOICE,
                al_methods.FIRST_CHOICE,
                semisup.CHOICE,
                unsup.CHOICE,
            ),
        ),
        repeats=(lambda args: args.al_nb_cycles > 1, "--al-nb-cycles above 1"),
    )
