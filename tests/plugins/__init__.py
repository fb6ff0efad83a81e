"""A complete example of a new entry for each registry: copy one to start.

tests/test_registries.py runs them; no other code knows these entries or their options.
"""

import al_methods
import data
import models
import semisup
import unsup
from tests.plugins import algorithm, dataset, encoder, method, network, pretrainer

NAME = "plugin"  # the key of each entry in its registry
ENTRIES = (  # registry, entry
    (data.DATASETS, dataset.SPEC),
    (models.ARCHS, network.ARCH),
    (al_methods.METHODS, method.METHOD),
    (semisup.ALGORITHMS, algorithm.ALGORITHM),
    (unsup.PRETRAINERS, pretrainer.PRETRAINER),
    (models.ENCODERS, encoder.ENCODER),
)
