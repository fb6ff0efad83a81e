"""The options of the graph and its diffusion, for every row that builds one."""

from utils.errors import UserError
from utils.graph.neighbors import EXACT_UP_TO, SEARCHES
from utils.options.declare import Option
from utils.options.kinds import above_zero, fraction, one_of, positive

TITLE = "graph (of label propagation and jLP)"


def fits_device(args, problem) -> None:
    """Raises UserError for a search that the device of the images does not have."""
    if args.knn == "approx" and problem.images.device.type == "cuda":
        raise UserError(
            "--knn approx is read only on the CPU: on a GPU the search is exact, leave it out"
        )


GRAPH = (
    Option(
        "lp_k", 50, "neighbours of an image", kind=positive, keyword="k", metavar="N", section=TITLE
    ),
    Option(
        "lp_gamma",
        3.0,
        "exponent of the similarities",
        kind=above_zero,
        keyword="gamma",
        section=TITLE,
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
