"""The nearest-neighbour graph that label propagation and jLP share."""

from utils.graph.build import affinity, knn

__all__ = ["affinity", "knn"]
