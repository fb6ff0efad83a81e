"""DeepCluster: pre-training on all images by predicting their cluster.

Source: Caron, Bojanowski, Joulin & Douze, "Deep clustering for unsupervised learning of visual
features", ECCV 2018, section 3; as a start for active learning: Siméoni et al., ICPR 2020,
section 3.  Each epoch: features -> unit length -> k-means -> a fresh head -> one epoch of training
on the cluster ids, sampled uniformly over the clusters.  The backbone is what is kept.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch

from data.augment import ImageBatches
from data.batches import TrainingBatches
from data.pool import Targets
from unsup.kmeans import cluster
from utils import training
from utils.arrays import as_numpy, unit_length
from utils.seeding import derive, stream
from utils.training import Progress

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-5  # as DeepCluster has them


def pretrain(
    model,
    images: ImageBatches,
    *,
    clusters: int,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    resume: dict | None = None,
    after_epoch: Callable[[Progress, dict], None] = lambda progress, state: None,
    amp: bool = False,
) -> list[dict]:
    """Train `model`'s backbone in place; -> a row an epoch: epoch, loss, nmi.

    clusters: how many, at most N; resume: a state that `after_epoch` was given; nmi: normalised
    mutual information between this epoch's clusters and the last one's, None for the first.  No
    label enters: targets are cluster ids."""
    optimizer = training.create_optimizer(
        model.backbone, lr=lr, momentum=MOMENTUM, nesterov=False, weight_decay=WEIGHT_DECAY
    )
    rows, assigned, progress = [], None, Progress()
    if resume:
        model.backbone.load_state_dict(resume["backbone"])
        optimizer.load_state_dict(resume["optimizer"])
        rows, assigned = list(resume["rows"]), resume["assigned"].numpy()
        progress = Progress(**resume["progress"])

    def batches_of(epoch: int) -> TrainingBatches:
        nonlocal assigned
        before = assigned
        features, _ = training.extract(model, images, amp=amp)
        features = unit_length(as_numpy(features))
        assigned = cluster(features, clusters, derive(seed, "kmeans", 0, epoch))
        rows.append({"epoch": epoch, "loss": None, "nmi": agreement(before, assigned)})
        torch.manual_seed(derive(seed, "head", 0, epoch))
        model.renew_head(clusters)
        for group in optimizer.param_groups[1:]:  # the last epoch's head
            for parameter in group["params"]:
                optimizer.state.pop(parameter, None)
        optimizer.param_groups[1:] = []
        optimizer.add_param_group({"params": list(model.head.parameters())})
        streams = cluster_streams(assigned, batch_size, stream(seed, "clusters", 0, epoch))
        targets = Targets(
            assigned, np.ones(len(assigned), np.float32), np.ones(clusters, np.float32)
        )
        return TrainingBatches(images, targets, streams, stream(seed, "augment", 0, epoch))

    def record(progress: Progress) -> str:
        rows[-1]["loss"] = progress.loss
        state = {
            "backbone": model.backbone.state_dict(),
            "optimizer": backbone_state(optimizer),
            "rows": rows,
            "assigned": torch.from_numpy(assigned),
            "progress": asdict(progress),
        }
        after_epoch(progress, state)
        nmi = rows[-1]["nmi"]
        return f"loss {progress.loss:.3f}" + (f", NMI {nmi:.3f}" if nmi is not None else "")

    training.fit(
        model,
        optimizer,
        batches_of,
        epochs=epochs,
        rate=lambda epoch: lr,
        seed_of=lambda epoch: derive(seed, "dropout", 0, epoch),
        start=progress,
        stage="pre-training",
        after_epoch=record,
        amp=amp,
    )
    return rows


def cluster_streams(assigned: np.ndarray, batch_size: int, rng) -> list[np.ndarray]:
    """N draws, uniform over the clusters and then over a cluster's images, in batches.

    assigned: (N,) -> index arrays of at most `batch_size`."""
    count = len(assigned)
    order = np.argsort(assigned, kind="stable")
    sizes = np.bincount(assigned)
    starts = np.cumsum(sizes) - sizes
    drawn = rng.integers(len(sizes), size=count)
    images = order[starts[drawn] + rng.integers(sizes[drawn])]
    return np.array_split(images, -(-count // batch_size))


def agreement(before: np.ndarray | None, after: np.ndarray) -> float | None:
    """Normalised mutual information of two assignments (N,), in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    return None if before is None else float(normalized_mutual_info_score(before, after))


def backbone_state(optimizer) -> dict:
    """The optimizer's state less that of the head, which the next epoch replaces."""
    state = optimizer.state_dict()
    group = state["param_groups"][0]
    kept = {key: value for key, value in state["state"].items() if key in group["params"]}
    return {"state": kept, "param_groups": [group]}
