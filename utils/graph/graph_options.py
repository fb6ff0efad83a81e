"""The options of the graph and its diffusion, for every row that builds one."""

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
from utils.options.option import Option

GRAPH_SECTION = "graph (of label propagation and jLP)"


def check_knn_device(args, problem) -> None:
    """Raises UserError for a search that the device of the images does not have."""
    if args.knn == "approx" and problem.images.device.type == "cuda":
        raise UserError(
            "--knn approx is read only on the CPU: on a GPU the search is exact, leave it out"
        )


VIEW_SOURCES = ("features", "pretrained_features", "pixels")  # what a graph can be of
ALL_GRAPH_NEEDS = (*VIEW_SOURCES, *(f"{view}_agreement" for view in VIEW_SOURCES))
VIEW_WEIGHTINGS = ("equal", "agreement")


def graph_needs(*, views: str = "features", view_weights: str = "equal") -> tuple[str, ...]:
    """What the options VIEWS ask for, for a row's `needs`."""
    names = tuple(views.split(","))
    weighed = view_weights == "agreement" and len(names) > 1
    return names + tuple(f"{view}_agreement" for view in names if weighed)


def graph_inputs(seen: dict, views: str) -> dict:
    """What the graph is of, as keyword arguments of utils.graph.affinity; seen: by name, what
    graph_needs asks for."""
    names = views.split(",")
    weights = [float(seen[name]) for view in names if (name := f"{view}_agreement") in seen]
    return {"features": [seen[view] for view in names], "weights": weights or None}


VIEWS = (
    Option(
        "lp_views",
        "features",
        "what the graph is of, several with commas between them: the network's features as it is, "
        "those after pre-training and before any label, pixels",
        kind=comma_separated(VIEW_SOURCES),
        keyword="views",
        added=True,
        section=GRAPH_SECTION,
    ),
    Option(
        "lp_view_weights",
        "equal",
        "how much each of several counts: as much as the others, or as far as neighbours stay "
        "neighbours in it when images are augmented",
        kind=one_of(VIEW_WEIGHTINGS),
        keyword="view_weights",
        added=True,
        section=GRAPH_SECTION,
        when=(lambda args: "," in args.lp_views, "several --lp-views"),
    ),
)
GRAPH = (
    Option(
        "lp_k",
        50,
        f"neighbours of an image; auto: a thousandth of the images, from {MIN_AUTO_K} to {MAX_AUTO_K}",
        kind=type_or_word(positive_integer, auto="auto"),
        keyword="k",
        metavar="N",
        section=GRAPH_SECTION,
    ),
    Option(
        "lp_affinity",
        "cosine",
        "how near neighbours are: a power of the cosine, or a Gaussian of local width",
        kind=one_of(KERNELS),
        keyword="kernel",
        added=True,
        section=GRAPH_SECTION,
    ),
    Option(
        "lp_gamma",
        3.0,
        "exponent of the similarities",
        kind=positive_float,
        keyword="gamma",
        section=GRAPH_SECTION,
        when=(lambda args: args.lp_affinity == "cosine", "--lp-affinity cosine"),
    ),
    Option(
        "lp_alpha",
        0.99,
        "α of the diffusion",
        kind=fraction_below_one,
        keyword="alpha",
        section=GRAPH_SECTION,
    ),
    Option(
        "knn",
        "auto",
        "search of neighbours",
        kind=one_of(SEARCH_MODES),
        keyword="search",
        shown=f"auto: exact up to {MAX_EXACT_IMAGES:,} images",
        section=GRAPH_SECTION,
    ),
)
