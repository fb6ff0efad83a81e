"""Classify images with a finished run: python predict.py RUN [--images FOLDER] [--csv F.csv]

Writes the class and its probability for every image of the run's pool, or for every image in a
folder. Where the run held images out (a file without a test part, --use-val-set), these follow too,
marked in the column `part`. Images that were labeled in the run keep their label. No labels are
needed.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data import export
from data.active_dataset import ActiveDataset
from data.active_pool import ActivePool
from data.augment import ImageStore
from data.duplicates import with_inherited_labels
from data.feature_scale import scale_from_dict
from data.feature_vectors import FeatureStore
from data.folder_listing import list_images_below
from data.image_tree import format_names
from data.new_files import decode_for_run
from data.state import State
from experiment import encoding, setup
from experiment.result_tables import describe_estimate
from experiment.resume import load_state
from experiment.saved_network import (
    FinishedRun,
    ImageShape,
    check_data_unchanged,
    load_finished_run,
    load_network,
    use_recorded_scale,
)
from reports.output_files import path_ending_in
from semisup.label_propagation import propagate
from training.network_outputs import extract_outputs
from utils.console import escape_control_characters, make_streams_safe, print_line
from utils.errors import UserError
from utils.files import os_errors_refused, render_csv, write_atomically
from utils.graph.graph_options import GraphOptions, affinity_settings
from utils.memory import memory_errors_refused
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text
from utils.spreadsheets import escape_cell

PROGRAM = "predict.py"
PREDICTION_COLUMNS = ("index", "path", "class", "probability", "given")
PART_COLUMN = "part"  # train, validation or test; only where the run held images out
PSEUDO_LABEL_COLUMNS = ("pseudo", "pseudo_weight")
NAME_COLUMNS = ("path", "class", "pseudo")  # text that comes from the data


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    make_streams_safe()
    args = build_parser().parse_args(argv)
    try:
        with memory_errors_refused("classify fewer images at a time with --images"):
            write_predictions(args)
    except UserError as error:
        return print_error(error, PROGRAM)
    except KeyboardInterrupt:
        print_line(f"{PROGRAM}: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineErrorParser:
    """The command line of predict.py."""
    parser = OneLineErrorParser(
        PROGRAM, description="Classify images with a finished run.", allow_abbrev=False
    )
    add = parser.add_argument
    add("run", type=non_empty_text, help="folder of a finished run, .../split0")
    add(
        "--images",
        type=non_empty_text,
        metavar="FOLDER",
        help="classify the images in this folder (default: the pool of the run)",
    )
    add(
        "--csv",
        type=path_ending_in(".csv"),
        metavar="F.csv",
        help="write the table to this file (default: print it)",
    )
    add("--pseudo", action="store_true", help="add the labels that propagation gives to the pool")
    add(
        "--data-root",
        type=non_empty_text,
        metavar="FOLDER",
        help="where the data of the pool are now, if they have moved",
    )
    add(
        "--device",
        default="auto",
        metavar="D",
        help="device to compute on: auto, cpu, cuda or cuda:N (default: auto)",
    )
    return parser


def write_predictions(args: argparse.Namespace) -> None:
    """Print the table or write it to --csv. Raises UserError for what the user can correct."""
    if args.images and (args.pseudo or args.data_root):
        flag = "--pseudo" if args.pseudo else "--data-root"
        raise UserError(f"{flag} applies to the pool of the run: leave it out, or --images")
    if args.csv:
        check_output_file(args.csv)
    run = load_finished_run(Path(args.run), args.device)
    if args.images:
        rows = predict_folder(run, Path(args.images))
    else:
        rows = predict_pool(run, args.data_root, args.pseudo)
    part = (PART_COLUMN,) if PART_COLUMN in rows[0] else ()
    header = PREDICTION_COLUMNS + PSEUDO_LABEL_COLUMNS * args.pseudo + part
    if args.csv:
        text = render_csv(header, [map_names(row, escape_cell) for row in rows])
        write_atomically(args.csv, text.encode(errors="surrogateescape"))
        labeled = sum(row["given"] for row in rows)
        print_line(f"{len(rows)} images, {labeled} of them labeled in the run: {args.csv}")
        print_estimate(run, "stdout")
    else:
        printed = (map_names(row, escape_control_characters) for row in rows)
        text = render_csv(header, [map_names(row, escape_cell) for row in printed])
        print_line(text.rstrip("\n"))
        print_estimate(run, "stderr")  # not into the table


def print_estimate(run: FinishedRun, stream: str) -> None:
    """Print the estimate of the accuracy that the run made after its last cycle, if it made one."""
    if words := describe_estimate(run.checkpoint["rows"]["results"][-1]):
        print_line(words, stream)


def map_names(row: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The row with all paths and class names changed."""
    return {
        name: change(value) if name in NAME_COLUMNS and value is not None else value
        for name, value in row.items()
    }


def predict_pool(
    run: FinishedRun, data_root: str | None, with_pseudo_labels: bool
) -> list[dict[str, Any]]:
    """One row per training image; and with `part`, one per image that the run held out.

    data_root: where the data are, if not where they were for the run.
    with_pseudo_labels: also propagate the labels over the network's features."""
    options = run.options.replace(data_root=data_root) if data_root else run.options
    dataset, _ = setup.open_dataset(options)
    check_data_unchanged(run, dataset)
    state = load_state(run.checkpoint, dataset, run.folder)
    dataset = dataset.with_classes(state.class_names)
    for added in dataset.all_class_names[dataset.num_classes :]:
        print_line(f"{run.folder} does not know the class {added!r}, which is new", "stderr")
    network = load_network(run, use_recorded_scale(run, dataset))
    features, probs = extract_outputs(network, dataset.images)
    labels = with_inherited_labels(dataset.duplicate_groups, state.pool)
    rows = prediction_rows(
        dataset.dataset_indices, dataset.image_paths, probs, labels, dataset.class_names
    )
    if with_pseudo_labels:
        pseudo_labels, weights = propagate_labels(run, dataset, state, features)
        for row, label, weight in zip(rows, pseudo_labels, weights, strict=True):
            name = dataset.class_names[label] if label >= 0 else None
            row |= dict(zip(PSEUDO_LABEL_COLUMNS, (name, f"{weight:.4f}"), strict=True))
    if dataset.held_out:
        rows = [row | {PART_COLUMN: "train"} for row in rows]
        for part, (images, indices, paths) in dataset.held_out.items():
            _, probs = extract_outputs(network, images)
            unknown = np.full(len(indices), -1)
            others = prediction_rows(indices, paths, probs, unknown, dataset.class_names)
            more = dict.fromkeys(PSEUDO_LABEL_COLUMNS) if with_pseudo_labels else {}
            rows += [row | more | {PART_COLUMN: part} for row in others]
        rows.sort(key=lambda row: row["index"])
    return rows


def propagate_labels(
    run: FinishedRun, dataset: ActiveDataset, state: State, features: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The pseudo-labels (N,) and weights (N,) of all training images, from features (N, d); -1 and
    0 where there is none.  Duplicates get those of the image that stands for them."""
    graph, groups = run.options.of(GraphOptions), dataset.duplicate_groups
    active = ActivePool.of(state.pool, groups, without=state.set_aside_indices)
    propagation = propagate(
        active.select({"features": features})["features"],
        active.pool.labels,
        dataset.num_classes,
        alpha=graph.lp_alpha,
        **affinity_settings(graph),
    )
    stand_ins = active.find_stand_ins(groups)
    is_known = stand_ins >= 0
    labels = np.where(is_known, propagation.labels[stand_ins], -1)
    return labels, np.where(is_known, propagation.weights[stand_ins], 0)


def predict_folder(run: FinishedRun, folder: Path) -> list[dict[str, Any]]:
    """One row per image file in the folder and below it, sorted by path.

    Files that cannot be read are reported on standard error and left out."""
    if not folder.is_dir():
        raise UserError(f"--images {folder} is not a folder: give a folder with image files")
    names_in_file, facts = export.read_export_files(run.folder)
    class_names = run.checkpoint["state"].get("class_names") or names_in_file
    if facts["mean"] is None and not run.options.encoder:
        raise UserError(f"{run.folder} learned from features, not from images: leave --images out")
    if facts["channels"] not in (1, 3) and not run.options.encoder:
        raise UserError(
            f"{run.folder} learned from images of {facts['channels']} channels, which image files "
            "do not have: leave --images out"
        )
    with os_errors_refused(folder, "read"):
        names, other_files = list_images_below(folder)
    if other_files:
        print_line(
            f"{folder}: files without the extension of an image are left out "
            f"({len(other_files)}): {format_names(other_files)}",
            "stderr",
        )
    if run.options.encoder:
        paths, content = encoding.encode_for_run(run.options, folder, names, facts)
    else:
        paths, content = decode_for_run(folder, names, facts)
    if not paths:
        raise UserError(f"--images {folder} has no readable image: give a folder with image files")
    tensor = torch.from_numpy(content).to(run.device)
    images: ImageStore | FeatureStore
    if run.options.encoder:
        images = FeatureStore(tensor, scale_from_dict(facts["feature_scale"]))
    else:
        images = ImageStore(tensor, facts["mean"], facts["std"])
    shape = ImageShape(len(class_names), facts["channels"], facts["size"])
    _, probs = extract_outputs(load_network(run, shape), images)
    unknown = np.full(len(paths), -1)
    return prediction_rows(range(len(paths)), paths, probs, unknown, class_names)


def prediction_rows(
    indices: Iterable[int],
    paths: Sequence[str] | None,
    probs: torch.Tensor,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """One row per image: its label in the run or else the predicted class, and the probability that
    the network gives to this class.

    probs: (N, C).
    labels: (N,), -1 where the image has no label in the run."""
    classes = np.where(labels >= 0, labels, probs.argmax(dim=1).cpu().numpy())
    confidences = probs.cpu().numpy()[np.arange(len(classes)), classes]
    columns = (indices, paths or [""] * len(classes), classes, confidences, labels >= 0)
    rows = []
    for index, path, label, confidence, is_labeled in zip(*columns, strict=True):
        values = (int(index), path, class_names[label], f"{confidence:.4f}", int(is_labeled))
        rows.append(dict(zip(PREDICTION_COLUMNS, values, strict=True)))
    return rows


def check_output_file(path: Path) -> None:
    """Raises UserError if the file exists and was not written by this program."""
    with os_errors_refused(path):
        start = path.read_bytes()[:100] if path.exists() else b""
    if start and not start.startswith(",".join(PREDICTION_COLUMNS).encode()):
        raise UserError(f"{path} exists and was not written by {PROGRAM}: delete it or use another")


if __name__ == "__main__":
    sys.exit(main())
