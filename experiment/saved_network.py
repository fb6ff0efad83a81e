"""The network of a finished run, its options and its data, for what is computed after the run."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from data import export
from data.active_dataset import ActiveDataset
from data.feature_vectors import FeatureStore
from experiment import setup
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA
from experiment.environment import resolve_device
from experiment.finished_runs import require_run_config
from experiment.identity import missing_classes
from models.network import Network
from utils.errors import UserError
from utils.options.option import OptionValues
from utils.options.schema import fill_defaults


class FinishedRun(NamedTuple):
    """A finished run, read from its folder."""

    folder: Path
    options: OptionValues
    identity: dict[str, Any]
    checkpoint: dict[str, Any]  # the last one
    device: torch.device


class ImageShape(NamedTuple):
    """The shape of a network's input and output (experiment.setup.InputShape)."""

    num_classes: int
    channels: int
    size: int


def load_finished_run(folder: Path, device: str) -> FinishedRun:
    """Raises UserError if the folder is not a run folder or the run is not finished."""
    config = require_run_config(folder)
    if "finished" not in config:
        raise UserError(f"{folder} is not finished: run its main_al.py command again")
    names = {option.name for option in SCHEMA.options()}
    values = {name: value for name, value in config.items() if name in names}
    options = fill_defaults(SCHEMA, values | {"device": device, "amp": False})
    return FinishedRun(
        folder,
        options,
        identity=config["identity"],
        device=resolve_device(device),
        checkpoint=load_checkpoint(folder / "checkpoint.pt"),
    )


def load_network(run: FinishedRun, shape: setup.InputShape) -> Network:
    """The network of the last cycle, with averaged weights if the run has them."""
    weights = run.checkpoint["model"]
    if averaged := run.checkpoint.get("averaged"):
        prefix = "module."
        weights = {
            name.removeprefix(prefix): value
            for name, value in averaged.items()
            if name.startswith(prefix)
        }
    network = setup.network_factory(run.options, shape)()
    network.load_state_dict(weights)
    return network.to(run.device).eval()


def check_data_unchanged(run: FinishedRun, dataset: ActiveDataset) -> None:
    """Raises UserError, which says what has changed, unless these are the data of the run, perhaps
    with further classes that have no images."""
    now: dict[str, Any] = {}
    if dataset.has_class_names:
        now["classes"] = dataset.data_class_names
    missing = missing_classes(run.identity, now)
    fingerprint = run.identity["data"]
    if fingerprint in (dataset.fingerprint, dataset.contents_fingerprint) and not missing:
        return
    count = len(run.checkpoint["state"]["pool"]["labels"])
    changes = [f"the class {name!r} is missing" for name in missing]
    changes += [f"the class {name!r} is new" for name in missing_classes(now, run.identity)]
    if len(dataset.images) != count:
        changes.append(f"{len(dataset.images)} training images instead of {count}")
    if not changes:
        changes = [f"fingerprint {dataset.fingerprint} instead of {fingerprint}"]
    raise UserError(
        f"{run.folder} used other data (now {', '.join(changes)}): give the folder of its data "
        "with --data-root"
    )


def use_recorded_scale(run: FinishedRun, dataset: ActiveDataset) -> setup.InputShape:
    """Leave features as they are where the run was made before features were centred and scaled.

    -> the shape of the network's input and output."""
    stores = [dataset.images]
    stores += [images for images, _, _ in dataset.held_out.values()]
    _, facts = export.read_export_files(run.folder)
    if "feature_scale" in facts or not isinstance(dataset.images, FeatureStore):
        return dataset
    for store in stores:
        assert isinstance(store, FeatureStore)
        store.scale = None
    return ImageShape(dataset.num_classes, facts["channels"], facts["size"])
