"""Images -> features of a pre-trained encoder, for embed.py and for runs with --encoder.

A run keeps its features in <out>/encoded/<dataset>/<encoder>/<digest>, the digest of the images,
of the weights and of the preprocessing, and then reads them as --dataset features does.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data import DATASETS, DatasetOptions, features
from data.active_dataset import DataOptions
from data.custom import ValueOptions
from data.encode_shards import EncodeSettings
from data.encoder_inputs import (
    EncoderInputs,
    FileSource,
    ImageSource,
    find_scales,
    inputs_of_listing,
    inputs_of_loaded,
    part_masks,
)
from data.feature_files import read_description, write_features
from data.features import FeatureOptions
from data.folder import FolderOptions
from data.image_formats import UnreadableImage, ignore_warnings
from data.images import data_fingerprint
from data.spec import LoadedDataset
from data.value_scale import scale_from_dict
from experiment.environment import DeviceOptions, resolve_device
from experiment.run_folder_path import RunFolderOptions
from models import ENCODERS, encoder_key
from models.encoders.spec import Encoder
from utils.console import print_line, to_one_line
from utils.errors import UserError
from utils.options.option import OptionValues, kwargs_for

MAX_BATCH = {"cpu": 32, "cuda": 256}  # larger ones are not faster
MEMORY_SHARE = 0.25  # of the free memory, for a batch
# Memory per pixel of the input: about 64 maps of float32 at half its size.
BYTES_PER_PIXEL = 64


def list_weight_files(options: OptionValues) -> list[Path]:
    """The files of the encoder's weights; none without an encoder."""
    key = encoder_key(options)
    if key is None:
        return []
    list_files = ENCODERS[key].list_files
    return [Path(path) for path in list_files(**kwargs_for(options, list_files))]


def load_encoder(options: OptionValues) -> Encoder:
    """The encoder of --encoder on --device.  Raises UserError as its entry describes."""
    name, _, model = options.encoder.partition(":")
    load, device = ENCODERS[name].load, resolve_device(options.of(DeviceOptions).device)
    return load(model, device, **kwargs_for(options, load))


def describe_encoder(options: OptionValues, encoder: Encoder) -> dict[str, Any]:
    """What the numbers of the features depend on beside the images: plain types."""
    return {
        "encoder": options.encoder,
        "weights": encoder.weights_digest,
        "preprocessing": encoder.preprocessing,
    }


def encode_images(
    options: OptionValues,
    out: Path | None = None,
    batch_size: int | None = None,
    encoder: Encoder | None = None,
    only_cached: bool = False,
) -> tuple[Path, EncoderInputs]:
    """Encode the images of --dataset and --data-root; -> the folder of the features, and what was
    encoded.

    out: the folder, None for the cache of runs; batch_size: None to choose it by the free memory.
    Raises UserError for what the user can correct, SystemRefusal where the system refuses."""
    encoder = encoder or load_encoder(options)
    with ThreadPoolExecutor(os.cpu_count()) as executor, ignore_warnings():
        inputs = _make_inputs(options, executor)
        settings = EncodeSettings(
            encoder.prepare,
            encoder.encode,
            encoder.dimension,
            describe_encoder(options, encoder),
            encoder.fixed_batch_size or batch_size or _choose_batch_size(options, encoder, inputs),
            _skips_corrupt(options),
        )
        folder = out or _cache_folder(options, settings, inputs)
        if only_cached and not folder.is_dir():
            raise UserError(f"the features of its images are no longer in {folder}")
        write_features(folder, inputs, settings, executor)
    return folder, inputs


def load_encoded_dataset(options: OptionValues, only_cached: bool = False) -> LoadedDataset:
    """The data set as the encoder sees it, from the cache or encoded now.

    only_cached: raise UserError where the cache does not have it.

    The fingerprint depends on what the encoder saw of each image and on the labels, not on the last
    digits of the features, which differ between machines."""
    encoder = load_encoder(options)
    folder, inputs = encode_images(options, encoder=encoder, only_cached=only_cached)
    loaded = features.load(str(folder), files=FeatureOptions())
    description = read_description(folder)
    assert description is not None  # just written or found
    return loaded._replace(
        fingerprint=_fingerprint(description, loaded),
        contents_fingerprint="",
        warnings=(
            *inputs.warnings,
            *encoder.notes,
            *_describe_unreadable(inputs, description),
            *loaded.warnings,
        ),
        notes=(*inputs.notes, *describe_counts(inputs, description), *loaded.notes),
        preprocessing={**loaded.preprocessing, "encoder": describe_encoder(options, encoder)},
        value_scales=inputs.scales,
        page=inputs.page,
        shown_pixels=inputs.shown_pixels,
    )


def _fingerprint(description: dict[str, Any], loaded: LoadedDataset) -> str:
    digest = hashlib.sha256(description["inputs"].encode())
    for labels in (loaded.train.labels, loaded.test.labels):
        digest.update(labels.tobytes())
    return digest.hexdigest()[:16]


def encode_files(
    encoder: Encoder, images: ImageSource, batch_size: int = 32
) -> tuple[np.ndarray, dict[int, str]]:
    """Features (n, d) of the images that can be read, and position -> reason of the others."""
    rows, faults = [], {}
    with ignore_warnings():
        for start in range(0, len(images), batch_size):
            batch = []
            for position in range(start, min(start + batch_size, len(images))):
                try:
                    batch.append(encoder.prepare(images.read(position)))
                except UnreadableImage as error:
                    faults[position] = str(error)
            if batch:
                rows.append(encoder.encode(np.stack(batch)))
    empty = np.empty((0, encoder.dimension), np.float32)
    return np.concatenate(rows) if rows else empty, faults


def encode_for_run(
    options: OptionValues, folder: Path, names: Sequence[str], facts: dict[str, Any]
) -> tuple[list[str], np.ndarray]:
    """The files that can be read, and their features (n, d) by the encoder of a finished run.

    names: relative to the folder; facts: the run's preprocessing.  Files that cannot be read are
    reported on standard error.  Values of a kind that the run did not have get their own scale.
    Raises UserError where the encoder is not the run's any more."""
    encoder = load_encoder(options)
    now, before = describe_encoder(options, encoder), facts["encoder"]
    if now != before:
        name = next(name for name in now if now[name] != before.get(name))
        raise UserError(
            f"--encoder {now['encoder']} has other {name} than in the run ({now[name]}, not "
            f"{before.get(name)}): restore its file or package"
        )
    paths, scales = [folder / name for name in names], facts["value_scales"]
    known = {kind: scale_from_dict(plain) for kind, plain in scales.items()}
    with ThreadPoolExecutor(os.cpu_count()) as executor, ignore_warnings():
        own, _ = find_scales(paths, facts["page"], None, executor)
    rows, faults = encode_files(encoder, FileSource(paths, facts["page"], {**own, **known}))
    for position, reason in faults.items():
        print_line(to_one_line(f"left out: {paths[position]}: {reason}"), "stderr")
    return [name for n, name in enumerate(names) if n not in faults], rows


def _make_inputs(options: OptionValues, executor: ThreadPoolExecutor) -> EncoderInputs:
    """Raises UserError for faults of the data."""
    name, root = options.of(DatasetOptions).dataset, options.of(DataOptions).data_root
    spec = DATASETS[name]
    if spec.list_images is None:
        loaded = spec.load_and_check(root, **kwargs_for(options, spec.load))
        fingerprint = loaded.fingerprint or data_fingerprint(loaded.train, loaded.test)
        return inputs_of_loaded(loaded, fingerprint, f"{root} ({name})")
    listing, page = spec.list_images(root), options.of(FolderOptions).page
    paths = [listing.root / path for path in listing.image_paths]
    scales, lines = find_scales(paths, page, options.of(ValueOptions).scale, executor)
    return inputs_of_listing(listing, page, scales, lines)


def _skips_corrupt(options: OptionValues) -> bool:
    return options.of(FolderOptions).skip_corrupt


def _choose_batch_size(options: OptionValues, encoder: Encoder, inputs: EncoderInputs) -> int:
    """A power of two: as many images as a share of the free memory holds, up to MAX_BATCH."""
    device = resolve_device(options.of(DeviceOptions).device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    images = inputs.parts[0].images
    for position in range(len(images)):
        try:
            pixels = encoder.prepare(images.read(position)).size // 3
            break
        except UnreadableImage:
            continue
    else:
        raise UserError(f"no image in {inputs.source} can be read")
    fitting = int(MEMORY_SHARE * free / (pixels * BYTES_PER_PIXEL))
    largest = MAX_BATCH.get(device.type, MAX_BATCH["cpu"])
    return 1 << max(min(fitting, largest), 1).bit_length() - 1


def _cache_folder(options: OptionValues, settings: EncodeSettings, inputs: EncoderInputs) -> Path:
    """<out>/encoded/<dataset>/<encoder>/<digest>, with --run-dir beside that folder."""
    folder = options.of(RunFolderOptions)
    root = Path(folder.run_dir).parent if folder.run_dir else Path(folder.out)
    key = [settings.description, inputs.list_name, inputs.stamp, settings.skip_corrupt]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:10]
    encoder = options.encoder.replace(":", "_").replace("/", "_")
    return root / "encoded" / options.of(DatasetOptions).dataset / encoder / digest


def _describe_unreadable(inputs: EncoderInputs, description: dict[str, Any]) -> Sequence[str]:
    count = sum(map(len, description["unreadable"].values()))
    if not count:
        return []
    total = sum(len(part.images) for part in inputs.parts)
    return [f"{count} of {total} images in {inputs.source} cannot be read and are left out"]


def describe_counts(inputs: EncoderInputs, description: dict[str, Any]) -> Sequence[str]:
    """The line that counts every image of a folder."""
    if inputs.listing is None:
        return []
    masks = part_masks(inputs.listing)
    unreadable = [
        int(np.flatnonzero(masks[prefix])[int(position)])
        for prefix, positions in description["unreadable"].items()
        for position in positions
    ]
    counts = inputs.listing.describe_counts(np.array(sorted(unreadable), np.int64))
    return [f"{inputs.source}: {counts}"]
