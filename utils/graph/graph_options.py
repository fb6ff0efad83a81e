"""Options of the graph and of the diffusion on it, for every component that builds one."""

from dataclasses import dataclass
from typing import Any

from utils.errors import UserError
from utils.graph.affinity_graph import KERNELS, MAX_AUTO_K, MIN_AUTO_K
from utils.graph.nearest_neighbors import MAX_EXACT_IMAGES, SEARCH_MODES
from utils.options.converters import (
    comma_separated,
    fraction_below_one,
    one_of,
    positive_float,
    positive_integer,
    type_or_word,
)
from utils.options.option import Condition, OptionGroup, OptionValues, option

GRAPH_SECTION = "graph (of label propagation and jLP)"
VIEW_SOURCES = ("features", "pretrained_features", "pixels")  # what a graph can be built from
ALL_GRAPH_NEEDS = (*VIEW_SOURCES, *(f"{view}_agreement" for view in VIEW_SOURCES))
VIEW_WEIGHTINGS = ("equal", "agreement")


@dataclass(frozen=True)
class GraphViewOptions(OptionGroup):
    """Which features the graph is built from."""

    section = GRAPH_SECTION
    lp_views: str = option(
        "features",
        "What the graph is built from; several with commas between them. features: of the current "
        "network. pretrained_features: of the pre-trained network. pixels: the images themselves.",
        type=comma_separated(VIEW_SOURCES),
    )
    lp_view_weights: str = option(
        "equal",
        "Weights for combining several --lp-views. equal: uniform. agreement: proportional to the "
        "share of nearest neighbours that survive augmentation.",
        type=one_of(VIEW_WEIGHTINGS),
        read_if=Condition(lambda options: "," in options.lp_views, "several --lp-views"),
    )


@dataclass(frozen=True)
class GraphOptions(OptionGroup):
    """The nearest-neighbour graph and the diffusion on it."""

    section = GRAPH_SECTION
    lp_k: int | str = option(
        50,
        "Number of nearest neighbours per image. auto: a thousandth of the number of images, from "
        f"{MIN_AUTO_K} to {MAX_AUTO_K}.",
        type=type_or_word(positive_integer, auto="auto"),
        metavar="N",
    )
    lp_affinity: str = option(
        "cosine",
        "Edge weight of two neighbours. cosine: a power of their cosine similarity. gaussian: a "
        "Gaussian of their distance with local width.",
        type=one_of(KERNELS),
    )
    lp_gamma: float = option(
        3.0,
        "Exponent of the cosine similarity of two neighbours.",
        type=positive_float,
        read_if=Condition(lambda options: options.lp_affinity == "cosine", "--lp-affinity cosine"),
    )
    lp_alpha: float = option(
        0.99,
        "Weight α of the graph in the diffusion; labels spread farther as it nears 1.",
        type=fraction_below_one,
    )
    knn: str = option(
        "auto",
        "How nearest neighbours are searched.",
        type=one_of(SEARCH_MODES),
        default_text=f"auto: exact up to {MAX_EXACT_IMAGES:,} images",
    )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        if self.knn == "approx" and dataset.images.device.type == "cuda":
            raise UserError(
                "--knn approx has no effect on a GPU, where the search is exact: leave it out"
            )


def graph_needs(*, views: GraphViewOptions) -> tuple[str, ...]:
    """Names of the inputs of a graph of these views, for a component's `needs`."""
    names = tuple(views.lp_views.split(","))
    weighted = views.lp_view_weights == "agreement" and len(names) > 1
    return names + tuple(f"{view}_agreement" for view in names if weighted)


def graph_inputs(outputs: dict[str, Any], views: GraphViewOptions) -> dict[str, Any]:
    """The keyword arguments `features` and `weights` of utils.graph.affinity.

    outputs: the inputs that `graph_needs` names."""
    names = views.lp_views.split(",")
    weights = [float(outputs[name]) for view in names if (name := f"{view}_agreement") in outputs]
    return {"features": [outputs[view] for view in names], "weights": weights or None}


def affinity_settings(graph: GraphOptions) -> dict[str, Any]:
    """The other keyword arguments of utils.graph.affinity."""
    return {
        "k": graph.lp_k,
        "gamma": graph.lp_gamma,
        "search": graph.knn,
        "kernel": graph.lp_affinity,
    }
