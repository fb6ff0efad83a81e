"""All options of a run in the order of the help, and the registries that they choose from."""

import al_methods
import data
import models
import semisup
import unsup
from al_methods import METHODS
from data.batches import BATCHES
from data.problem import BUDGET, PROBLEM
from models import HEAD, NETWORK, require_dropout
from utils.graph import options as graph_options
from utils.options.declare import Option, Part
from utils.options.kinds import natural
from utils.options.parse import Declared
from utils.run.environment import DEVICE
from utils.run.options import FOLDER
from utils.training.learner import LEARNER, OPTIMIZER
from utils.training.outputs import NEEDS_DROPOUT
from utils.training.schedule import SCHEDULE


def _check(args) -> None:
    if NEEDS_DROPOUT & set(METHODS[args.al_method].needs):
        require_dropout(args, f"--al-method {args.al_method}")


LOOP = Part(
    "training",
    options=(
        Option("finetuning", False, "start from the last cycle's weights", kind=bool, later=True),
    ),
    check=_check,
)
SEED = Part(
    "run",
    options=(Option("seed", 7, "of everything random but the splits", kind=natural, metavar="N"),),
)


def declared() -> Declared:
    return Declared(
        parts=(
            *(data.DATASET, PROBLEM, al_methods.AL_METHOD, BUDGET, NETWORK, HEAD),
            *(SCHEDULE, BATCHES, OPTIMIZER, LEARNER, LOOP, Part(graph_options.TITLE)),
            *semisup.switches(),
            *(unsup.PRETRAINING, DEVICE, SEED, FOLDER),
        ),
        choices=(*(data.CHOICE, models.CHOICE, al_methods.CHOICE, semisup.CHOICE, unsup.CHOICE),),
        repeats=(lambda args: args.al_nb_cycles > 1, "--al-nb-cycles above 1"),
    )
