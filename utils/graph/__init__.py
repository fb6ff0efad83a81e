"""The nearest-neighbour graph that label propagation and jLP share."""

from utils.graph.affinity_graph import affinity, degrees_of, knn

__all__ = ["affinity", "degrees_of", "knn"]
