"""What a run's network says of images: python predict.py RUN [--images FOLDER] [--csv F.csv]

Reads a finished run: of every image of its pool, or of a folder of images, the class and its
probability.  Labels that the run was given are kept as they are.  No label is needed.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from data import export
from data.augment import ImageStore
from data.image_decoding import UnreadableImage, decode_image
from experiment import setup
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA
from experiment.environment import resolve_device
from experiment.finished_runs import read_run_config
from reports.output_files import path_ending_in
from semisup.label_propagation import propagate
from training.network_outputs import extract_outputs
from utils.console import make_streams_safe, print_line, to_one_line
from utils.errors import UserError
from utils.files import os_errors_refused, render_csv, write_atomically
from utils.graph.graph_options import GraphOptions, affinity_settings
from utils.options.cli import OneLineErrorParser, print_error
from utils.options.converters import non_empty_text
from utils.options.option import OptionValues
from utils.options.schema import fill_defaults

PROGRAM = "predict.py"
PREDICTION_COLUMNS = ("index", "path", "class", "probability", "given")
PSEUDO_LABEL_COLUMNS = ("pseudo", "pseudo_weight")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def main(argv=None) -> int:
    make_streams_safe()
    args = build_parser().parse_args(argv)
    try:
        write_predictions(args)
    except UserError as error:
        return print_error(error, PROGRAM)
    except KeyboardInterrupt:
        print_line(f"{PROGRAM}: interrupted", "stderr")
        return 130
    return 0


def build_parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(PROGRAM, description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("run", type=non_empty_text, help="a run's folder, .../split0")
    add(
        "--images",
        type=non_empty_text,
        metavar="FOLDER",
        help="images (default: the run's own pool)",
    )
    add(
        "--csv",
        type=path_ending_in(".csv"),
        metavar="F.csv",
        help="write here (default: the terminal)",
    )
    add("--pseudo", action="store_true", help="also the labels that propagation gives to the pool")
    add(
        "--data-root",
        type=non_empty_text,
        metavar="FOLDER",
        help="the pool's data, if they have moved",
    )
    add("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N")
    return parser


class FinishedRun(NamedTuple):
    """A finished run, as it lies in its folder."""

    folder: Path
    options: OptionValues
    data_fingerprint: str  # the fingerprint
    checkpoint: dict  # the last checkpoint
    device: torch.device


def write_predictions(args) -> None:
    """Print the table, or write it.  Raises UserError for what the user can mend."""
    if args.images and (args.pseudo or args.data_root):
        word = "--pseudo" if args.pseudo else "--data-root"
        raise UserError(f"{word} is of the run's own pool: leave it out, or --images")
    if args.csv:
        check_output_file(args.csv)
    run = load_finished_run(Path(args.run), args.device)
    rows = predict_folder(run, Path(args.images)) if args.images else predict_pool(run, args)
    text = render_csv(PREDICTION_COLUMNS + PSEUDO_LABEL_COLUMNS * args.pseudo, rows)
    if args.csv:
        write_atomically(args.csv, text.encode(errors="surrogateescape"))
        given = sum(row["given"] for row in rows)
        print_line(f"{len(rows)} images, of {given} of which the label was given: {args.csv}")
    else:
        print_line(text.rstrip("\n"))


def load_finished_run(folder: Path, device: str) -> FinishedRun:
    """Raises UserError where there is no run, or it is not finished."""
    config = read_run_config(folder)
    if config is None or not {"identity", "al_nb_cycles"} <= set(config):
        raise UserError(f"{folder} is no run's folder: one that holds config.json is right")
    if "finished" not in config:
        raise UserError(f"{folder} is not finished: give the command of the run again")
    names = {option.name for option in SCHEMA.options()}
    given = {name: value for name, value in config.items() if name in names}
    given |= {"device": device, "amp": False}
    where = resolve_device(device)
    saved = load_checkpoint(folder / "checkpoint.pt")
    options = fill_defaults(SCHEMA, given)
    return FinishedRun(folder, options, config["identity"]["data"], saved, where)


def load_network(run: FinishedRun, image_facts) -> torch.nn.Module:
    """The run's last network, the averaged weights where it has them.

    facts: num_classes, channels and size."""
    weights = run.checkpoint["model"]
    if averaged := run.checkpoint.get("averaged"):
        within = {name: value for name, value in averaged.items() if name.startswith("module.")}
        weights = {name.removeprefix("module."): value for name, value in within.items()}
    network = setup.network_factory(run.options, image_facts)()
    network.load_state_dict(weights)
    return network.to(run.device).eval()


def predict_pool(run: FinishedRun, args) -> list[dict]:
    """A row a training image, with the class that was given where one was."""
    options = run.options
    if args.data_root:
        options = options.replace(data_root=args.data_root)
    problem = setup.open_dataset(options)
    if problem.fingerprint != run.data_fingerprint:
        raise UserError(
            f"{run.folder} was made on other data (fingerprint {run.data_fingerprint}, not "
            f"{problem.fingerprint}): name those with --data-root"
        )
    features, probs = extract_outputs(load_network(run, problem), problem.images)
    known = run.checkpoint["state"]["pool"]["labels"].numpy()
    paths = (
        [problem.image_paths[index] for index in problem.dataset_indices]
        if problem.image_paths
        else None
    )
    rows = prediction_rows(problem.dataset_indices, paths, probs, known, problem.class_names)
    if args.pseudo:
        graph = run.options.of(GraphOptions)
        settings = affinity_settings(graph) | {"alpha": graph.lp_alpha}
        found = propagate(features, known, problem.num_classes, **settings)
        for row, label, weight in zip(rows, found.labels, found.weights, strict=True):
            pseudo = problem.class_names[label] if label >= 0 else None
            row |= dict(zip(PSEUDO_LABEL_COLUMNS, (pseudo, f"{weight:.4f}"), strict=True))
    return rows


def predict_folder(run: FinishedRun, folder: Path) -> list[dict]:
    """A row an image file in a folder or below it, by name; those that cannot be read are named."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: one with images in it is right")
    names, facts = export.read_export_files(run.folder)
    if facts["mean"] is None:
        raise UserError(f"{run.folder} learned from features, not from images: leave --images out")
    with os_errors_refused(folder, "read"):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    pixels, paths = [], []
    for path in files:
        try:
            pixels.append(decode_image(path, facts["size"], grey=facts["channels"] == 1))
        except UnreadableImage as error:
            print_line(to_one_line(f"left out: {path}: {error}"), "stderr")
        else:
            paths.append(str(path.relative_to(folder)))
    if not paths:
        raise UserError(f"{folder} holds no image that can be read")
    stack = torch.from_numpy(np.stack(pixels)).to(run.device)
    images = ImageStore(stack, facts["mean"], facts["std"])
    shape = SimpleNamespace(num_classes=len(names), channels=facts["channels"], size=facts["size"])
    _, probs = extract_outputs(load_network(run, shape), images)
    return prediction_rows(range(len(paths)), paths, probs, np.full(len(paths), -1), names)


def prediction_rows(indices, paths, probs: torch.Tensor, known: np.ndarray, names) -> list[dict]:
    """probs: (N, C); known: (N,) labels, -1 where the network has to say it.  The probability is
    the network's, also of a class that was given."""
    said = np.where(known >= 0, known, probs.argmax(dim=1).cpu().numpy())
    sure = probs.cpu().numpy()[np.arange(len(said)), said]
    paths = [""] * len(said) if paths is None else paths
    columns = (indices, paths, said, sure, known >= 0)
    return [
        dict(zip(PREDICTION_COLUMNS, (int(i), path, names[c], f"{p:.4f}", int(given)), strict=True))
        for i, path, c, p, given in zip(*columns, strict=True)
    ]


def check_output_file(path: Path) -> None:
    """Raises UserError where a file is that is not of this program."""
    with os_errors_refused(path):
        there = path.read_bytes()[:100] if path.exists() else b""
    if there and not there.startswith(",".join(PREDICTION_COLUMNS).encode()):
        raise UserError(f"{path} is there and is not of {PROGRAM}: give another, or delete it")


if __name__ == "__main__":
    sys.exit(main())
