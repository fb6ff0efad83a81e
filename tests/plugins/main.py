"""main_al.py with a row more in each registry: python -m tests.plugins.main [OPTION ...]

GUESTS=options in the environment takes the rows that have an option of their own."""

import os
import sys

import main_al
from al_methods import METHODS
from data import DATASETS
from models import ARCHS
from semisup import ALGORITHMS
from tests.plugins import algorithm, dataset, method, network, pretrainer
from unsup import PRETRAINERS

NAME = "WITH_OPTION" if os.environ.get("GUESTS") == "options" else "ROW"

DATASETS["guest"] = getattr(dataset, NAME)
ARCHS["guest"] = getattr(network, NAME)
METHODS["guest"] = getattr(method, NAME)
ALGORITHMS["guest"] = getattr(algorithm, NAME)
PRETRAINERS["guest"] = getattr(pretrainer, NAME)

if __name__ == "__main__":
    sys.exit(main_al.main())
