"""The labels alone: what every active-learning comparison starts from."""

from semisup.spec import Algorithm

ALGORITHM = Algorithm()
