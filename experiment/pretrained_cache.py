"""Pre-trained weights, learned once and shared by every split and method.

A folder <root>/<dataset>/<arch>/<identity>: weights.pt, pretraining.csv, config.json, and while it
is being learned checkpoint.pt.  A lease lets one process learn; the others wait for it.
"""

from pathlib import Path

from data.augment import ImageStore
from experiment.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from experiment.identity import check_same_identity, identity_digest
from unsup.feature_quality import FeatureQuality, log_feature_quality, pretrain_and_measure
from unsup.spec import Pretrainer
from utils.console import log
from utils.files import json_bytes, remove_leftovers, render_csv, write_atomically
from utils.lease_wait import wait_for_lease


def load_or_pretrain_backbone(
    root: str,
    model,
    images: ImageStore,
    pretrainer: Pretrainer,
    identity: dict,
    *,
    relearn: bool = False,
    checkpoint_epochs: int | None = None,
    **settings,
) -> dict:
    """The backbone's weights, of the cache or learned and cached.

    model: the network with its initial weights; who: the identity of the weights
    (experiment.identity); settings: of the row's `pretrain`; anew: learn even where there are
    weights; checkpoint_epochs: epochs between checkpoints (as Checkpoints.due takes them).  A
    learning that was killed goes on from its checkpoint.  Raises UserError where the folder cannot
    be written, or holds what was learned otherwise."""
    weights = (folder := cache_folder(root, identity)) / "weights.pt"
    with wait_for_lease(folder, "pre-training folder", _log_wait) as lease:
        if weights.exists() and not relearn:
            log.info("pre-trained weights: %s", weights)
            found = _check_identity(load_checkpoint(weights), identity, weights)
            log_feature_quality(
                *(FeatureQuality(*seen) for seen in found["health"])
            )  # whoever uses them should know
            return found["backbone"]
        with Checkpoints(
            folder / "checkpoint.pt", lambda state: lease.require_held()
        ) as checkpoints:
            settings |= _resume_arguments(checkpoints, folder, identity, checkpoint_epochs)
            rows, seen = pretrain_and_measure(pretrainer.pretrain, model, images, **settings)
            lease.require_held()
            write_atomically(folder / "config.json", json_bytes({"identity": identity}))
            table = render_csv(pretrainer.columns, rows).encode()
            write_atomically(folder / "pretraining.csv", table)
            backbone = model.backbone.state_dict()
            health = [list(one) for one in seen]
            save_checkpoint(weights, {"backbone": backbone, "identity": identity, "health": health})
            checkpoints.delete_all()
        log_feature_quality(*seen)
        last = ", ".join(f"{name} {_format_value(value)}" for name, value in rows[-1].items())
        log.info("pre-trained: %s; weights: %s", last, weights)
        return backbone


def _resume_arguments(
    checkpoints: Checkpoints, folder: Path, identity: dict, every: int | None
) -> dict:
    """The keyword arguments `resume` and `after_epoch` of a row's `pretrain`: from the last
    checkpoint of the folder, and to the next."""
    before = checkpoints.load_latest()
    resume = (
        _check_identity(before, identity, folder / "checkpoint.pt")["state"] if before else None
    )
    remove_leftovers(folder)
    begun = len(resume["rows"]) if resume else 0
    log.info("pre-training on all images without their labels, from epoch %d", begun)

    def after_epoch(done: int, state: dict) -> None:
        whole = {"state": state, "identity": identity}
        if checkpoints.is_due(done, every):
            checkpoints.save_next(whole)
        checkpoints.take_snapshot(lambda: whole)

    return {"resume": resume, "after_epoch": after_epoch}


def cache_folder(root: str, identity: dict) -> Path:
    """Where the weights of this identity are."""
    return Path(
        root, identity["options"]["dataset"], identity["options"]["arch"], identity_digest(identity)
    )


def _log_wait(lease_holder: str) -> None:
    log.info("waiting for the same pre-trained weights: %s", lease_holder)


def _check_identity(found: dict, identity: dict, path: Path) -> dict:
    """A file of the cache.  Raises UserError where it is another identity's."""
    check_same_identity(
        found.get("identity"), identity, str(path), "delete it, and it is learned anew"
    )
    return found


def _format_value(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
