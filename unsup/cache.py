"""Pre-trained weights, learned once and shared by every split and method.

A folder <root>/<dataset>/<arch>/<hash of the options>: weights.pt, pretraining.csv, config.json,
and while it is being learned checkpoint.pt.  A lock lets one process learn; the others wait for it.
"""

import fcntl
import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

from data.augment import ImageBatches
from unsup.deepcluster import pretrain
from utils import records
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import UserError
from utils.files import write_atomically
from utils.records import log

COLUMNS = ("epoch", "loss", "nmi")


def pretrained_backbone(
    root: str,
    model,
    images: ImageBatches,
    identity: dict,
    *,
    anew: bool = False,
    checkpoint_epochs: int = 25,
    **settings,
) -> dict:
    """The backbone's weights, of the cache or learned by DeepCluster and cached.

    model: the network with its initial weights; identity: what else tells the weights apart, with
    "dataset" and "arch"; settings: of `deepcluster.pretrain`; anew: learn even where there are
    weights; checkpoint_epochs: epochs between checkpoints, 0 for none.  A learning that was killed
    goes on from its checkpoint.  Raises UserError where the folder cannot be written."""
    config = identity | settings
    folder = folder_of(root, config)
    weights, checkpoint = folder / "weights.pt", folder / "checkpoint.pt"
    with locked(folder):
        if weights.exists() and not anew:
            log.info("pre-trained weights: %s", weights)
            return load_checkpoint(weights)["backbone"]
        resume = load_checkpoint(checkpoint) if checkpoint.exists() else None
        done = resume["progress"]["epoch"] if resume else 0
        log.info("pre-training on all images without their labels, from epoch %d", done)

        def after_epoch(progress, state: dict) -> None:
            if checkpoint_epochs and progress.epoch % checkpoint_epochs == 0:
                save_checkpoint(checkpoint, state)

        rows = pretrain(model, images, resume=resume, after_epoch=after_epoch, **settings)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        write_atomically(folder / "config.json", text.encode())
        write_atomically(folder / "pretraining.csv", records.render_csv(COLUMNS, rows).encode())
        backbone = model.backbone.state_dict()
        save_checkpoint(weights, {"backbone": backbone, "config": config})
        checkpoint.unlink(missing_ok=True)
        log.info(
            "pre-trained: loss %.3f, NMI %s; weights: %s", *list(rows[-1].values())[1:], weights
        )
        return backbone


def folder_of(root: str, config: dict) -> Path:
    """Where the weights learned with these options are."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]
    return Path(root, config["dataset"], config["arch"], digest)


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
