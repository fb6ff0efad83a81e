"""Runs on data that do not fit into memory: python -m tests.benchmarks.custom_data KIND [--size N]

speed     reading from a memory-mapped file compared with memory, 32 x 32 images, one thread
images    a run on N (200,000) memory-mapped images of 64 x 64: seconds and peak memory
features  a cycle with label propagation on N (1,000,000) memory-mapped vectors of 128 numbers
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data.augment import ImageStore
from data.memmap import MemmapImages, MemmapImageStore
from tests.benchmarks.harness import compare, processor_name
from tests.benchmarks.synthetic_features import features_and_classes
from utils.options.cli import OneLineErrorParser
from utils.options.converters import one_of, positive_integer

ROOT = Path(__file__).resolve().parents[2]
NUM_TEST = 2000
NUM_READ = 20_000  # images, to measure the speed of reading
DEFAULT_SIZES = {"speed": 50_000, "images": 200_000, "features": 1_000_000}
COMMON = "--al-budget 100 --al-nb-cycles 2 --epochs 1 --device cpu"
RUNS = {
    "images": ("--dataset arrays --al-method uncertainty_entropy",),
    "features": (
        "--dataset features --add-lp --al-method coreset",
        "--dataset features --add-lp --al-method uncertainty_entropy",
    ),
}


def write_images(folder: Path, count: int) -> None:
    """Enlarged digits of scikit-learn, each in a random colour, written a thousand at a time."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    for name, num_images in (("", count), ("test_", NUM_TEST)):
        chosen = rng.integers(len(digits.target), size=num_images)
        path, shape = folder / f"{name}images.npy", (num_images, 64, 64, 3)
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for part in np.array_split(np.arange(num_images), -(-num_images // 1000)):
            grey = digits.images[chosen[part]].repeat(8, axis=1).repeat(8, axis=2)
            pixels[part] = grey[..., None] * rng.uniform(5, 15, (len(part), 1, 1, 3))
        np.save(folder / f"{name}labels.npy", digits.target[chosen])


def write_features(folder: Path, count: int) -> None:
    """Features like those of a trained network."""
    x, labels = features_and_classes(count + NUM_TEST)
    for name, part in (("", slice(0, count)), ("test_", slice(count, None))):
        np.save(folder / f"{name}features.npy", x[part])
        np.save(folder / f"{name}labels.npy", labels[part])


WRITERS = {"images": write_images, "features": write_features}


def measure_run(options: str, data: Path, out: Path) -> str:
    """Time and peak memory of a run in its own process."""
    command = [sys.executable, str(ROOT / "main_al.py"), *options.split(), *COMMON.split()]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen([*command, "--data-root", str(data), "--out", str(out)])
    peak_gib = 0.0  # not by getrusage, which includes the memory of this process at the fork
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = status.partition("VmHWM:")[2].split()
        peak_gib = max(peak_gib, int(peak[0]) / 2**20 if peak else 0)
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{options}: {seconds:.0f} s, {cpu_seconds:.0f} CPU seconds, peak {peak_gib:.2f} GiB"


def compare_reading(folder: Path, count: int) -> list[str]:
    """The speed of batches of 32 and 128 weakly augmented images."""
    torch.set_num_threads(1)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    path = folder / "pixels.bin"
    path.write_bytes(pixels.numpy().tobytes())
    mapped = MemmapImages(np.memmap(path, np.uint8, "r", shape=tuple(pixels.shape)))
    settings = ([0.5] * 3, [0.25] * 3, 4, True)
    in_memory, in_file = ImageStore(pixels, *settings), MemmapImageStore(mapped, *settings)

    def read(images: ImageStore, batch_size: int) -> None:
        rng = np.random.default_rng(0)
        for _ in range(NUM_READ // batch_size):
            images.weak_batch(rng.integers(count, size=batch_size), rng)

    lines = []
    for batch_size in (32, 128):
        row = compare("", partial(read, in_file, batch_size), partial(read, in_memory, batch_size))
        ratios = f"{row['ratio']} ({row['ratio_min']} to {row['ratio_max']})"
        lines.append(f"batches of {batch_size}: {ratios} of the speed of memory")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").partition(":")[0]
    parser = OneLineErrorParser(description=description, allow_abbrev=False)
    parser.add_argument("kind", type=one_of(DEFAULT_SIZES), help=", ".join(DEFAULT_SIZES))
    parser.add_argument(
        "--size", type=positive_integer, default=None, help="number of images or vectors"
    )
    parser.add_argument(
        "--keep", default=None, metavar="FOLDER", help="folder for the data, which are used again"
    )
    args = parser.parse_args(argv)
    size = args.size or DEFAULT_SIZES[args.kind]
    print(processor_name(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        if args.kind == "speed":
            print("\n".join(compare_reading(Path(temporary), size)))
            return 0
        data = Path(args.keep or temporary, f"{args.kind}{size}")
        if not data.exists():
            data.mkdir(parents=True)
            WRITERS[args.kind](data, size)
        for options in RUNS[args.kind]:
            print(measure_run(options, data, Path(temporary, "runs")), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
