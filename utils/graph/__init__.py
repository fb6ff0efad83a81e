"""The nearest-neighbour graph that label propagation and jLP share."""

from utils.graph.affinity_graph import affinity, knn

__all__ = ["affinity", "knn"]
