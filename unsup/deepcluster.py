"""DeepCluster: pre-training on all images by predicting their cluster.

Source: Caron, Bojanowski, Joulin & Douze, "Deep clustering for unsupervised learning of visual
features", ECCV 2018, section 3; before active learning: Siméoni et al., ICPR 2020, section 3.  Each
epoch: features -> unit length -> k-means -> a new head -> one epoch of training on the cluster
numbers, with images sampled uniformly over the clusters.  Only the backbone is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data.augment import ImageStore
from data.batches import BatchLoader
from data.pool import Targets
from models.network import Network
from training.epoch import train_epoch
from training.learner import create_optimizer
from training.losses import WeightedLoss
from training.network_outputs import extract_outputs
from unsup.shared_options import PretrainingLoopOptions, divergence_context
from unsup.spec import Pretrainer
from utils.arrays import as_numpy, l2_normalize
from utils.console import EpochProgressBar
from utils.errors import UserError
from utils.kmeans import assign_clusters
from utils.options.converters import non_negative_integer
from utils.options.option import OptionGroup, OptionValues, option
from utils.seeding import derive_seed, rng_for

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-5  # of the paper
CLUSTERS_PER_CLASS = 5


def _fitting_clusters(options: OptionValues, data: Any) -> int:
    """The default; half as many as images where five per class are more than there are images."""
    clusters = CLUSTERS_PER_CLASS * len(data.class_sizes)
    return options.pretraining_clusters if clusters <= data.images else max(data.images // 2, 2)


@dataclass(frozen=True)
class DeepClusterOptions(OptionGroup):
    """The number of clusters."""

    section = "unsupervised pre-training"
    pretraining_clusters: int = option(
        0,
        "Number of k-means clusters of DeepCluster.",
        type=non_negative_integer,
        metavar="N",
        default_text="0: five per class",
        default_for_data=_fitting_clusters,
    )

    def check_data(self, options: OptionValues, dataset: Any) -> None:
        images, clusters = len(dataset.all_images), self.num_clusters(dataset.num_classes)
        if clusters > images:
            raise UserError(
                f"--pretraining-clusters {clusters} is more than the {images} training images of "
                f"--dataset {options.dataset}: use a smaller number"
            )

    def num_clusters(self, num_classes: int) -> int:
        """The number of clusters for a number of classes."""
        return self.pretraining_clusters or CLUSTERS_PER_CLASS * num_classes


def pretrain(
    model: Network,
    images: ImageStore,
    *,
    num_classes: int,
    seed: int,
    loop: PretrainingLoopOptions,
    deepcluster: DeepClusterOptions,
    resume: dict[str, Any] | None = None,
    after_epoch: Callable[[int, dict[str, Any]], None] = lambda done, state: None,
    amp: bool = False,
) -> list[dict[str, Any]]:
    """Train `model.backbone` in place; returns one row per epoch, with epoch, loss and nmi.

    nmi: the normalised mutual information between the clusters of this epoch and of the previous
    one, None for the first epoch.  resume: a state that `after_epoch` received; after_epoch: called
    with the number of finished epochs and the state.  No label is used: the targets are cluster
    numbers.  Raises NotFinite where the training diverges."""
    clusters, lr = deepcluster.num_clusters(num_classes), loop.pretraining_lr
    epochs, batch_size = loop.pretraining_epochs, loop.pretraining_batch_size
    optimizer = create_optimizer(
        model.backbone, lr=lr, momentum=MOMENTUM, nesterov=False, weight_decay=WEIGHT_DECAY
    )
    rows: list[dict[str, Any]] = []
    assigned: np.ndarray | None = None
    if resume:
        model.backbone.load_state_dict(resume["backbone"])
        optimizer.load_state_dict(resume["optimizer"])
        rows, assigned = list(resume["rows"]), resume["assigned"].numpy()
    loss = WeightedLoss(clusters)
    with EpochProgressBar(range(len(rows), epochs), "pre-training") as progress:
        for epoch in progress:
            before = assigned
            features = extract_outputs(model, images, amp=amp, **divergence_context(epoch))[0]
            kmeans_seed = derive_seed(seed, "kmeans", 0, epoch)
            assigned = assign_clusters(l2_normalize(as_numpy(features)), clusters, kmeans_seed)
            torch.manual_seed(derive_seed(seed, "head", 0, epoch))
            replace_cluster_head(model, clusters, optimizer)
            batches = make_batches(images, assigned, clusters, batch_size, seed, epoch)
            torch.manual_seed(derive_seed(seed, "dropout", 0, epoch))
            mean_loss = train_epoch(
                model,
                optimizer,
                batches,
                loss,
                lr_schedule=lambda fraction: lr,
                amp=amp,
                **divergence_context(epoch),
            )
            rows.append({"epoch": epoch, "loss": mean_loss, "nmi": cluster_nmi(before, assigned)})
            progress.set_postfix_str(format_progress(rows[-1]))
            after_epoch(epoch + 1, make_checkpoint(model, optimizer, rows, assigned))
    # Raises NotFinite, so that weights that do not work are not saved.
    extract_outputs(model, images, amp=amp, **divergence_context(epochs - 1))
    return rows


def make_batches(
    images: ImageStore, assigned: np.ndarray, clusters: int, batch_size: int, seed: int, epoch: int
) -> BatchLoader:
    """The batches of an epoch, with the clusters `assigned` (N,) as classes."""
    cluster_rng = rng_for(seed, "clusters", 0, epoch)
    epoch_batches = sample_cluster_batches(assigned, batch_size, cluster_rng)
    targets, augment_rng = cluster_targets(assigned, clusters), rng_for(seed, "augment", 0, epoch)
    return BatchLoader(images, targets, epoch_batches, augment_rng)


def replace_cluster_head(model: Network, clusters: int, optimizer: torch.optim.Optimizer) -> None:
    """Replace the head by a new one for the clusters of this epoch, in the optimizer too."""
    model.replace_head(clusters)
    for group in optimizer.param_groups[1:]:
        for parameter in group["params"]:
            optimizer.state.pop(parameter, None)
    optimizer.param_groups[1:] = []
    optimizer.add_param_group({"params": list(model.head.parameters())})


def cluster_targets(assigned: np.ndarray, clusters: int) -> Targets:
    """The cluster of each image as its class, all with weight one.  assigned: (N,)."""
    weights = np.ones(len(assigned), np.float32)
    return Targets(assigned, weights, np.ones(clusters, np.float32))


def make_checkpoint(
    model: Network,
    optimizer: torch.optim.Optimizer,
    rows: list[dict[str, Any]],
    assigned: np.ndarray,
) -> dict[str, Any]:
    """The state that `pretrain` needs to resume: tensors and plain types."""
    return {
        "backbone": model.backbone.state_dict(),
        "optimizer": backbone_optimizer_state(optimizer),
        "rows": rows,
        "assigned": torch.tensor(assigned),
    }


def format_progress(row: dict[str, Any]) -> str:
    """The row of an epoch for the progress bar."""
    nmi = "" if row["nmi"] is None else f", NMI {row['nmi']:.3f}"
    return f"loss {row['loss']:.3f}{nmi}"


def sample_cluster_batches(
    assigned: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """N images, each drawn uniformly from a cluster that is drawn uniformly, in batches.

    assigned: (N,), the clusters -> index arrays of at most `batch_size` images."""
    count = len(assigned)
    order = np.argsort(assigned, kind="stable")
    sizes = np.bincount(assigned)
    starts = np.cumsum(sizes) - sizes
    clusters = rng.integers(len(sizes), size=count)
    images = order[starts[clusters] + rng.integers(sizes[clusters])]
    return np.array_split(images, -(-count // batch_size))


def cluster_nmi(before: np.ndarray | None, after: np.ndarray) -> float | None:
    """Normalised mutual information of two assignments (N,), in [0, 1]; None without the first."""
    from sklearn.metrics import normalized_mutual_info_score

    return None if before is None else float(normalized_mutual_info_score(before, after))


def backbone_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state without that of the head, which the next epoch replaces."""
    state = optimizer.state_dict()
    group = state["param_groups"][0]
    states = {key: value for key, value in state["state"].items() if key in group["params"]}
    return {"state": states, "param_groups": [group]}


PRETRAINER = Pretrainer(
    pretrain,
    columns=("epoch", "loss", "nmi"),
)
