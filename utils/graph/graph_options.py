"""The options of the graph and its diffusion, for every row that builds one."""

from utils.errors import UserError
from utils.graph.affinity_graph import KERNELS, LEAST_K, PAPERS_K
from utils.graph.nearest_neighbors import EXACT_UP_TO, SEARCHES
from utils.options.converters import above_zero, fraction, one_of, otherwise, positive, some_of
from utils.options.option import Option

TITLE = "graph (of label propagation and jLP)"


def fits_device(args, problem) -> None:
    """Raises UserError for a search that the device of the images does not have."""
    if args.knn == "approx" and problem.images.device.type == "cuda":
        raise UserError(
            "--knn approx is read only on the CPU: on a GPU the search is exact, leave it out"
        )


SEEN = ("features", "pretrained_features", "pixels")  # what a graph can be of
GRAPHS_NEED = (*SEEN, *(f"{view}_agreement" for view in SEEN))
WEIGHTS = ("equal", "agreement")


def graph_needs(*, views: str = "features", view_weights: str = "equal") -> tuple[str, ...]:
    """What the options VIEWS ask for, for a row's `needs`."""
    names = tuple(views.split(","))
    weighed = view_weights == "agreement" and len(names) > 1
    return names + tuple(f"{view}_agreement" for view in names if weighed)


def shown(seen: dict, views: str) -> dict:
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
        kind=some_of(SEEN),
        keyword="views",
        added=True,
        section=TITLE,
    ),
    Option(
        "lp_view_weights",
        "equal",
        "how much each of several counts: as much as the others, or as far as neighbours stay "
        "neighbours in it when images are augmented",
        kind=one_of(WEIGHTS),
        keyword="view_weights",
        added=True,
        section=TITLE,
        when=(lambda args: "," in args.lp_views, "several --lp-views"),
    ),
)
GRAPH = (
    Option(
        "lp_k",
        50,
        f"neighbours of an image; auto: a thousandth of the images, from {LEAST_K} to {PAPERS_K}",
        kind=otherwise(positive, auto="auto"),
        keyword="k",
        metavar="N",
        section=TITLE,
    ),
    Option(
        "lp_affinity",
        "cosine",
        "how near neighbours are: a power of the cosine, or a Gaussian of local width",
        kind=one_of(KERNELS),
        keyword="kernel",
        added=True,
        section=TITLE,
    ),
    Option(
        "lp_gamma",
        3.0,
        "exponent of the similarities",
        kind=above_zero,
        keyword="gamma",
        section=TITLE,
        when=(lambda args: args.lp_affinity == "cosine", "--lp-affinity cosine"),
    ),
    Option("lp_alpha", 0.99, "α of the diffusion", kind=fraction, keyword="alpha", section=TITLE),
    Option(
        "knn",
        "auto",
        "search of neighbours",
        kind=one_of(SEARCHES),
        keyword="search",
        shown=f"auto: exact up to {EXACT_UP_TO:,} images",
        section=TITLE,
    ),
)
