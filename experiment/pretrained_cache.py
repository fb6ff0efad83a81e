"""Pre-trained weights, learned once and shared by every split and method.

A folder <root>/<dataset>/<arch>/<identity>: weights.pt, pretraining.csv, config.json, and while it
is being learned checkpoint.pt.  A lease lets one process learn; the others wait for it.
"""

from pathlib import Path

from data.augment import ImageBatches
from experiment.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from experiment.identity import digest, require_same
from unsup.feature_quality import Health, tell, watched
from unsup.spec import Pretrainer
from utils.console import log
from utils.files import json_bytes, render_csv, sweep, write_atomically
from utils.lease_wait import lease_of


def pretrained_backbone(
    root: str,
    model,
    images: ImageBatches,
    row: Pretrainer,
    who: dict,
    *,
    anew: bool = False,
    checkpoint_epochs: int | None = None,
    **settings,
) -> dict:
    """The backbone's weights, of the cache or learned and cached.

    model: the network with its initial weights; who: the identity of the weights
    (experiment.identity); settings: of the row's `pretrain`; anew: learn even where there are
    weights; checkpoint_epochs: epochs between checkpoints (as Checkpoints.due takes them).  A
    learning that was killed goes on from its checkpoint.  Raises UserError where the folder cannot
    be written, or holds what was learned otherwise."""
    weights = (folder := folder_of(root, who)) / "weights.pt"
    with lease_of(folder, "pre-training folder", _tell_wait) as lease:
        if weights.exists() and not anew:
            log.info("pre-trained weights: %s", weights)
            found = _ours(load_checkpoint(weights), who, weights)
            tell(*(Health(*seen) for seen in found["health"]))  # whoever uses them should know
            return found["backbone"]
        with Checkpoints(folder / "checkpoint.pt", lambda state: lease.require()) as checkpoints:
            settings |= _resumable(checkpoints, folder, who, checkpoint_epochs)
            rows, seen = watched(row.pretrain, model, images, **settings)
            lease.require()
            write_atomically(folder / "config.json", json_bytes({"identity": who}))
            table = render_csv(row.columns, rows).encode()
            write_atomically(folder / "pretraining.csv", table)
            backbone = model.backbone.state_dict()
            health = [list(one) for one in seen]
            save_checkpoint(weights, {"backbone": backbone, "identity": who, "health": health})
            checkpoints.forget()
        tell(*seen)
        last = ", ".join(f"{name} {_short(value)}" for name, value in rows[-1].items())
        log.info("pre-trained: %s; weights: %s", last, weights)
        return backbone


def _resumable(checkpoints: Checkpoints, folder: Path, who: dict, every: int | None) -> dict:
    """The keyword arguments `resume` and `after_epoch` of a row's `pretrain`: from the last
    checkpoint of the folder, and to the next."""
    before = checkpoints.last()
    resume = _ours(before, who, folder / "checkpoint.pt")["state"] if before else None
    sweep(folder)
    begun = len(resume["rows"]) if resume else 0
    log.info("pre-training on all images without their labels, from epoch %d", begun)

    def after_epoch(done: int, state: dict) -> None:
        whole = {"state": state, "identity": who}
        if checkpoints.due(done, every):
            checkpoints.save(whole)
        checkpoints.keep(lambda: whole)

    return {"resume": resume, "after_epoch": after_epoch}


def folder_of(root: str, who: dict) -> Path:
    """Where the weights of this identity are."""
    return Path(root, who["options"]["dataset"], who["options"]["arch"], digest(who))


def _tell_wait(who: str) -> None:
    log.info("waiting for the same pre-trained weights: %s", who)


def _ours(found: dict, who: dict, path: Path) -> dict:
    """A file of the cache.  Raises UserError where it is another identity's."""
    require_same(found.get("identity"), who, str(path), "delete it, and it is learned anew")
    return found


def _short(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
