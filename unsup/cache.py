"""Pre-trained weights, learned once and shared by every split and method.

A folder <root>/<dataset>/<arch>/<identity>: weights.pt, pretraining.csv, config.json, and while it
is being learned checkpoint.pt.  A lock lets one process learn; the others wait for it.
"""

import fcntl
from contextlib import contextmanager
from pathlib import Path

from data.augment import ImageBatches
from unsup.spec import Pretrainer
from utils.errors import UserError
from utils.run import tables
from utils.run.checkpoint import load_checkpoint, save_checkpoint
from utils.run.files import json_bytes, write_atomically
from utils.run.identity import digest, require_same
from utils.run.log import log


def pretrained_backbone(
    root: str,
    model,
    images: ImageBatches,
    row: Pretrainer,
    who: dict,
    *,
    anew: bool = False,
    checkpoint_epochs: int = 25,
    **settings,
) -> dict:
    """The backbone's weights, of the cache or learned and cached.

    model: the network with its initial weights; who: the identity of the weights
    (utils.run.identity); settings: of the row's `pretrain`; anew: learn even where there are
    weights; checkpoint_epochs: epochs between checkpoints, 0 for none.  A learning that was killed
    goes on from its checkpoint.  Raises UserError where the folder cannot be written, or holds
    what was learned otherwise."""
    folder = folder_of(root, who)
    weights, checkpoint = folder / "weights.pt", folder / "checkpoint.pt"
    with locked(folder):
        if weights.exists() and not anew:
            log.info("pre-trained weights: %s", weights)
            return _ours(weights, who)["backbone"]
        resume = _ours(checkpoint, who)["state"] if checkpoint.exists() else None
        log.info(
            "pre-training on all images without their labels, from epoch %d",
            len(resume["rows"]) if resume else 0,
        )

        def after_epoch(done: int, state: dict) -> None:
            if checkpoint_epochs and done % checkpoint_epochs == 0:
                save_checkpoint(checkpoint, {"state": state, "identity": who})

        rows = row.pretrain(model, images, resume=resume, after_epoch=after_epoch, **settings)
        write_atomically(folder / "config.json", json_bytes({"identity": who}))
        table = tables.render_csv(row.columns, rows)
        write_atomically(folder / "pretraining.csv", table.encode())
        backbone = model.backbone.state_dict()
        save_checkpoint(weights, {"backbone": backbone, "identity": who})
        checkpoint.unlink(missing_ok=True)
        last = ", ".join(f"{name} {_short(value)}" for name, value in rows[-1].items())
        log.info("pre-trained: %s; weights: %s", last, weights)
        return backbone


def folder_of(root: str, who: dict) -> Path:
    """Where the weights of this identity are."""
    return Path(root, who["options"]["dataset"], who["options"]["arch"], digest(who))


def _ours(path: Path, who: dict) -> dict:
    """A file of the cache.  Raises UserError where it is damaged or another identity's."""
    found = load_checkpoint(path)
    require_same(found.get("identity"), who, str(path), "delete it, and it is learned anew")
    return found


def _short(value) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def locked(folder: Path):
    """Hold the folder alone; wait, and say so, while another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"pre-training folder {folder} cannot be written: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.info("another run is learning the same pre-trained weights; waiting for them")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
