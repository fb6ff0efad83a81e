"""Cache of pre-trained weights: learned once, shared by all splits and methods.

A folder <root>/<dataset>/<arch>/<identity> holds weights.pt, pretraining.csv, config.json and,
during the pre-training, checkpoint.pt. A lease lets one process pre-train while the others wait.
"""

from pathlib import Path
from typing import Any

import torch

from data.augment import ImageStore
from experiment.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from experiment.identity import check_same_identity, identity_digest
from models.network import Network
from unsup.feature_quality import FeatureQuality, log_feature_quality, pretrain_and_measure
from unsup.spec import Pretrainer
from utils.console import log
from utils.files import json_bytes, remove_leftovers, render_csv, write_atomically
from utils.lease import wait_for_lease


def load_or_pretrain_backbone(
    root: str | Path,
    model: Network,
    images: ImageStore,
    pretrainer: Pretrainer,
    identity: dict[str, Any],
    *,
    relearn: bool = False,
    checkpoint_epochs: int | None = None,
    **settings: Any,
) -> dict[str, torch.Tensor]:
    """The weights of a pre-trained backbone, from the cache or learned now and cached.

    model: the network with its initial weights, which is trained in place.
    identity: of the weights (experiment.identity).
    relearn: pre-train even if the cache has the weights.
    checkpoint_epochs: epochs between checkpoints, as in Checkpoints.is_due.
    settings: further arguments of `pretrainer.pretrain`.

    A pre-training that was killed resumes from its checkpoint. Raises UserError if the folder holds
    another identity or a damaged file, SystemRefusal if it cannot be written."""
    folder = cache_folder(root, identity)
    weights_file = folder / "weights.pt"
    with wait_for_lease(folder, "pre-training folder", _log_wait) as lease:
        if weights_file.exists() and not relearn:
            return _load_weights(weights_file, identity)
        with Checkpoints(
            folder / "checkpoint.pt", before_save=lambda _: lease.require_held()
        ) as checkpoints:
            settings |= _resume_arguments(checkpoints, folder, identity, checkpoint_epochs)
            rows, quality = pretrain_and_measure(pretrainer.pretrain, model, images, **settings)
            lease.require_held()
            write_atomically(folder / "config.json", json_bytes({"identity": identity}))
            table = render_csv(pretrainer.columns, rows).encode()
            write_atomically(folder / "pretraining.csv", table)
            backbone = model.backbone.state_dict()
            health = [list(values) for values in quality]
            save_checkpoint(
                weights_file, {"backbone": backbone, "identity": identity, "health": health}
            )
            checkpoints.delete_all()
        log_feature_quality(*quality)
        last_row = ", ".join(f"{name} {_format_value(value)}" for name, value in rows[-1].items())
        log.info("pre-trained: %s; weights: %s", last_row, weights_file)
        return backbone


def _load_weights(path: Path, identity: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The backbone's weights in the cache; logs the quality of their features again, as a warning
    about it concerns every run that uses them."""
    log.info("pre-trained weights: %s", path)
    cached = load_checkpoint(path)
    _check_identity(cached, identity, path)
    before, after = (FeatureQuality(*values) for values in cached["health"])
    log_feature_quality(before, after)
    return cached["backbone"]


def _resume_arguments(
    checkpoints: Checkpoints, folder: Path, identity: dict[str, Any], interval: int | None
) -> dict[str, Any]:
    """The arguments `resume` and `after_epoch` of a pre-training.

    interval: epochs between checkpoints, as in Checkpoints.is_due."""
    resume = None
    if checkpoint := checkpoints.load_latest():
        _check_identity(checkpoint, identity, folder / "checkpoint.pt")
        resume = checkpoint["state"]
    remove_leftovers(folder)
    first_epoch = len(resume["rows"]) if resume else 0
    log.info("pre-training on all images without their labels, from epoch %d", first_epoch)

    def after_epoch(epochs_done: int, state: dict[str, Any]) -> None:
        checkpoint = {"state": state, "identity": identity}
        if checkpoints.is_due(epochs_done, interval):
            checkpoints.save_next(checkpoint)
        checkpoints.take_snapshot(lambda: checkpoint)

    return {"resume": resume, "after_epoch": after_epoch}


def cache_folder(root: str | Path, identity: dict[str, Any]) -> Path:
    """The folder of the weights with this identity."""
    options = identity["options"]
    return Path(root, options["dataset"], options["arch"], identity_digest(identity))


def _log_wait(lease_holder: str) -> None:
    log.info("waiting for the same pre-trained weights: %s", lease_holder)


def _check_identity(contents: dict[str, Any], identity: dict[str, Any], path: Path) -> None:
    """Raises UserError if a file of the cache has another identity."""
    cure = "delete it to pre-train again"
    check_same_identity(contents.get("identity"), identity, str(path), cure)


def _format_value(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
