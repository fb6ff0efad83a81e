"""Label propagation as an algorithm: when, with which options, and in which batches.

Source: Iscen et al., CVPR 2019, section 4; the maths is in semisup.label_propagation.
"""

import numpy as np

from data.batches import cycled, one_stream, require_listable
from data.pool import Pool, Targets
from semisup.label_propagation import BALANCES, MODES, propagate, propagated_targets
from semisup.log_once import tell_if_none, tell_once
from semisup.spec import Algorithm
from utils.errors import UserError
from utils.graph.graph_options import GRAPH, VIEWS, fits_device, graph_needs, shown
from utils.options.converters import number, one_of, otherwise, portion, positive
from utils.options.option import Option

LABELED_BATCH_SIZES = {64: 10, 128: 50}  # batch size: labeled images of it, where none is given


def due(cycle: int, epoch: int, *, step: int = 1) -> bool:
    """Every `step` epochs."""
    return epoch % step == 0


def renew(
    *,
    pool: Pool,
    num_classes: int,
    rng: np.random.Generator,
    cycle: int,
    views: str = "features",
    k: int | str = 50,
    gamma: float = 3,
    alpha: float = 0.99,
    search: str = "auto",
    kernel: str = "cosine",
    balance: str = "none",
    mode: str = "prob",
    percent: float = 0.5,
    tau: float = 0.0,
    weighted: bool = True,
    class_weighted: bool = False,
    loss_type: str = "ce",
    by_weight: bool = False,
    **seen,
) -> Targets:
    """Propagate, and choose what to train on: `propagate` and `propagated_targets`.

    seen: what graph_needs asks for, by name."""
    graph = {"k": k, "gamma": gamma, "search": search, "kernel": kernel}
    graph |= shown(seen, views)
    found = propagate(
        labels=pool.labels, num_classes=num_classes, alpha=alpha, balance=balance, **graph
    )
    targets = propagated_targets(
        found,
        pool,
        rng,
        mode=mode,
        percent=percent,
        tau=tau,
        weighted=weighted,
        class_weighted=class_weighted,
        loss_type=loss_type,
        by_weight=by_weight,
    )
    if found.unbalanced:
        tell_once(pool, "the classes cannot have the masses of --lp-balance: left as they are")
    tell_if_none(pool, targets, "the labels reach none that could be used")
    return targets


def streams(
    targets: Targets,
    pool: Pool,
    rng: np.random.Generator,
    *,
    batch_size: int = 32,
    labeled_batch_size: int | None = None,
    steps: int = 0,
) -> list[np.ndarray]:
    """Every batch is `labeled_batch_size` labeled images, cycled, and the rest pseudo-labeled; an
    epoch is one pass over the pseudo-labeled ones, or `steps` batches.

    Where the targets have odds, pseudo-labeled images are drawn by them, with replacement."""
    used = np.flatnonzero(targets.labels >= 0)
    pseudo = used[pool.labels[used] < 0]
    if not len(pseudo):
        return one_stream(used, batch_size, rng, steps)
    size = batch_size - labeled_batch_size
    if targets.odds is None:
        parts = one_stream(pseudo, size, rng, steps)
    else:
        odds = targets.odds[pseudo].astype(np.float64)
        count = steps * min(size, len(pseudo)) or len(pseudo)
        drawn = rng.choice(pseudo, size=count, p=odds / odds.sum())
        parts = np.array_split(drawn, steps or -(-count // size))
    labeled = np.split(cycled(pool.labeled, labeled_batch_size * len(parts), rng), len(parts))
    return [np.concatenate(pair) for pair in zip(labeled, parts, strict=True)]


def _check(args) -> None:
    if args.labeled_batch_size is None:
        raise UserError(
            f"--labeled-batch-size is needed at --batch-size {args.batch_size} "
            f"(known: {', '.join(f'{v} at {k}' for k, v in LABELED_BATCH_SIZES.items())})"
        )
    if args.labeled_batch_size >= args.batch_size:
        raise UserError(
            f"--labeled-batch-size {args.labeled_batch_size} leaves no room in --batch-size "
            f"{args.batch_size}: give less"
        )


def _fits(args, problem) -> None:
    fits_device(args, problem)
    images = len(problem.images)
    if args.labeled_batch_size > images:
        raise UserError(
            f"--labeled-batch-size {args.labeled_batch_size} is more than the {images} training "
            f"images of {args.dataset}: give fewer"
        )
    room = args.batch_size - args.labeled_batch_size
    batches = args.steps_per_epoch or -(-images // room)
    size = args.labeled_batch_size + min(room, images)
    words = f"--labeled-batch-size {args.labeled_batch_size} of --batch-size {args.batch_size}"
    require_listable(batches, size, words)


OPTIONS = (
    *VIEWS,
    Option(
        "lp_balance",
        "none",
        "class masses that the propagated labels are rescaled to: all the same, or the labels'",
        kind=otherwise(one_of(BALANCES), true="uniform", false="none"),
        keyword="balance",
        added=True,
    ),
    Option(
        "labeled_batch_size",
        None,
        "labeled images in a batch",
        kind=positive,
        metavar="N",
        shown=", ".join(f"{few} at batch {size}" for size, few in LABELED_BATCH_SIZES.items()),
        derive=lambda args: LABELED_BATCH_SIZES.get(args.batch_size),
    ),
    Option("lp_mode", "prob", "which pseudo-labels are used", kind=one_of(MODES), keyword="mode"),
    Option(
        "lp_percent",
        0.5,
        "part of the unlabeled images used",
        kind=portion,
        keyword="percent",
        when=(lambda args: args.lp_mode != "full", "--lp-mode certain, prob or uniform"),
    ),
    Option("lp_step", 1, "epochs between propagations", kind=positive, keyword="step", metavar="N"),
    Option("tau", 0.0, "least weight used", kind=number(float, at_least=0, at_most=1)),
    Option(
        "loss_type",
        "ce",
        "kl: the propagated distribution is the target",
        kind=one_of(("ce", "kl")),
    ),
    Option(
        "is_pW", True, "weight the pseudo-labels by their certainty", kind=bool, keyword="weighted"
    ),
    Option("is_cW", False, "class weights", kind=bool, keyword="class_weighted"),
    Option(
        "weighted_unlabeled_batch",
        False,
        "draw pseudo-labeled images by their certainty",
        kind=bool,
        keyword="by_weight",
        when=(lambda args: args.lp_mode == "full", "--lp-mode full"),
    ),
)

ROW = Algorithm(
    title="label propagation",
    summary="train on pseudo-labels of the graph too, in batches of 128",
    options=(*GRAPH, *OPTIONS),
    defaults={"batch_size": 128},
    # The features before any label are good from the start: chosen on splits 10 to 19 of digits and
    # of 5,000 MNIST digits, with the same for both.
    beside={
        "simclr": {
            "lp_views": "pretrained_features,pixels",
            "lp_view_weights": "agreement",
            "lp_k": "auto",
            "lp_balance": "uniform",
            "lp_mode": "full",
        }
    },
    check=_check,
    fits=_fits,
    due=due,
    renew=renew,
    needs=graph_needs,
    streams=streams,
    draws="propagation",
)
