"""Data that do not fit: python -m tests.benchmarks.custom_data KIND [--size N] [--keep FOLDER]

speed     reading from a mapped file beside reading from memory, 32 x 32 images, one thread
images    a run on N (200,000) images of 64 x 64, memory-mapped: seconds and peak memory
features  a cycle with label propagation on N (1,000,000) vectors of 128 numbers, memory-mapped
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from data.augment import ImageStore
from data.memmap import MemmapImages, MemmapImageStore
from tests.benchmarks.harness import compare, processor
from tests.benchmarks.synthetic_features import features_and_classes
from utils.options.cli import OneLineErrorParser
from utils.options.converters import one_of, positive_integer

ROOT = Path(__file__).resolve().parents[2]
TEST = 2000
READ = 20_000  # images, to tell the speed of reading them
SIZES = {"speed": 50_000, "images": 200_000, "features": 1_000_000}
COMMON = "--al-budget 100 --al-nb-cycles 2 --epochs 1 --device cpu"
RUNS = {
    "images": ("--dataset arrays --al-method uncertainty_entropy",),
    "features": (
        "--dataset features --add-lp --al-method coreset",
        "--dataset features --add-lp --al-method uncertainty_entropy",
    ),
}


def write_images(folder: Path, count: int) -> None:
    """scikit-learn's digits, enlarged, in a colour of their own, written a thousand at a time."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(0)
    for name, images in (("", count), ("test_", TEST)):
        shape, chosen = (images, 64, 64, 3), rng.integers(len(digits.target), size=images)
        path = folder / f"{name}images.npy"
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for some in np.array_split(np.arange(images), -(-images // 1000)):
            grey = digits.images[chosen[some]].repeat(8, axis=1).repeat(8, axis=2)
            pixels[some] = grey[..., None] * rng.uniform(5, 15, (len(some), 1, 1, 3))
        np.save(folder / f"{name}labels.npy", digits.target[chosen])


def write_features(folder: Path, count: int) -> None:
    """As a trained network gives them."""
    x, labels = features_and_classes(count + TEST)
    for name, part in (("", slice(0, count)), ("test_", slice(count, None))):
        np.save(folder / f"{name}features.npy", x[part])
        np.save(folder / f"{name}labels.npy", labels[part])


WRITERS = {"images": write_images, "features": write_features}


def measure(words: str, data: Path, out: Path) -> str:
    """A run in a process of its own."""
    command = [sys.executable, ROOT / "main_al.py", *words.split(), *COMMON.split()]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen([*command, "--data-root", data, "--out", out])
    most = 0.0  # not getrusage's, which counts what this process held when it started the other
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        held = status.partition("VmHWM:")[2].split()
        most = max(most, int(held[0]) / 2**20 if held else 0)
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return f"{words}: {seconds:.0f} s, {worked:.0f} s of processors, at most {most:.2f} GiB"


def speed(folder: Path, count: int) -> list[str]:
    """Batches of 32 and 128 of the weak view."""
    torch.set_num_threads(1)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    path = folder / "pixels.bin"
    path.write_bytes(pixels.numpy().tobytes())
    mapped = MemmapImages(np.memmap(path, np.uint8, "r", shape=tuple(pixels.shape)))
    how = ([0.5] * 3, [0.25] * 3, 4, True)
    held, kept = ImageStore(pixels, *how), MemmapImageStore(mapped, *how)

    def read(images, size):
        rng = np.random.default_rng(0)
        for _ in range(READ // size):
            images.weak_batch(rng.integers(count, size=size), rng)

    lines = []
    for size in (32, 128):
        row = compare("", lambda s=size: read(kept, s), lambda s=size: read(held, s))
        range_ = f"{row['ratio_min']} to {row['ratio_max']}"
        lines.append(f"batches of {size}: {row['ratio']} ({range_}) of the speed of memory")
    return lines


def main(argv=None) -> int:
    parser = OneLineErrorParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("kind", type=one_of(SIZES))
    parser.add_argument("--size", type=positive_integer, default=None)
    parser.add_argument("--keep", default=None, help="where the data go, and are used again")
    args = parser.parse_args(argv)
    size = args.size or SIZES[args.kind]
    print(processor(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(args.keep or temporary, f"{args.kind}{size}")
        if args.kind == "speed":
            print("\n".join(speed(Path(temporary), size)))
            return 0
        if not data.exists():
            data.mkdir(parents=True)
            WRITERS[args.kind](data, size)
        for words in RUNS[args.kind]:
            print(measure(words, data, Path(temporary, "runs")), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
