"""Where a run keeps its files: the options of the run folder, and its path."""

import os
from dataclasses import dataclass
from pathlib import Path

import semisup
from al_methods import MethodOptions
from data import DatasetOptions
from data.active_dataset import DataOptions
from data.budget import BudgetOptions
from experiment.checkpoint import DEFAULT_CHECKPOINT_EPOCHS, MAX_SAVING_TIME_SHARE
from models import NetworkOptions
from unsup import PretrainingOptions
from utils.errors import UserError
from utils.options.converters import non_empty_text, non_negative_integer
from utils.options.option import Condition, OptionGroup, OptionValues, option


@dataclass(frozen=True)
class RunFolderOptions(OptionGroup):
    """Where a run keeps its files, and how it resumes."""

    section = "run"
    out: str = option(
        "runs",
        "Folder for run folders, pre-trained weights and missing split files.",
        type=non_empty_text,
        metavar="FOLDER",
        identity=False,
        read_if=Condition(
            lambda options: (
                options.run_dir is None
                or options.add_unsupervised_pretraining
                or options.initial == "balanced"
            ),
            "a run without --run-dir, or with --initial balanced",
        ),
    )
    run_dir: str | None = option(
        None,
        "Use exactly this run folder (default: one below --out).",
        type=non_empty_text,
        metavar="FOLDER",
        identity=False,
    )
    exp_name: str | None = option(
        None,
        "Name to put before the identity in the path of the run folder.",
        type=non_empty_text,
        metavar="NAME",
        identity=False,
        read_if=Condition(lambda options: options.run_dir is None, "a run without --run-dir"),
    )
    resume: bool = option(
        True,
        "Resume from the last checkpoint. False: move earlier files aside and start again.",
        identity=False,
    )
    checkpoint_epochs: int | None = option(
        None,
        "Number of epochs between checkpoints; 0: only between cycles.",
        type=non_negative_integer,
        metavar="N",
        default_text=(
            f"{DEFAULT_CHECKPOINT_EPOCHS}, or more where saving would take over "
            f"{MAX_SAVING_TIME_SHARE:.0%} of the time"
        ),
        identity=False,
    )
    tensorboard: bool = option(
        False, "Also write the results of every cycle for TensorBoard.", identity=False
    )

    def check(self, options: OptionValues) -> None:
        if self.exp_name is not None and set(self.exp_name) & set("/\\\0"):
            raise UserError(f"--exp-name {self.exp_name!r} must be a name without slashes")


def run_folder_path(options: OptionValues, name: str) -> Path:
    """<out>/<dataset>/budget<b>/<arch>/<method>[_with_<algorithm>][_pretrained]/<name>/split<k>,
    or --run-dir if given."""
    folder = options.of(RunFolderOptions)
    if folder.run_dir:
        return Path(folder.run_dir)
    algorithm, method = semisup.algorithm_name(options), options.of(MethodOptions).al_method
    method += f"_with_{algorithm}" if algorithm != semisup.DEFAULT else ""
    method += "_pretrained" if options.of(PretrainingOptions).add_unsupervised_pretraining else ""
    return Path(
        folder.out,
        options.of(DatasetOptions).dataset,
        f"budget{options.of(BudgetOptions).al_budget}",
        options.of(NetworkOptions).arch,
        method,
        name,
        f"split{options.of(DataOptions).split}",
    )


def possible_run_folders(options: OptionValues) -> list[Path]:
    """The folders that the run may have: a part of the name depends on the data."""
    folder = run_folder_path(options, "any")
    if options.of(RunFolderOptions).run_dir:
        return [folder]
    siblings = folder.parent.parent
    try:
        return [siblings / name / folder.name for name in sorted(os.listdir(siblings))]
    except OSError:  # reported when the folder is created
        return []
