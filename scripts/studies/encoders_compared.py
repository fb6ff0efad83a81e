"""Compare the two encoders with weights from PyPI: python scripts/studies/encoders_compared.py DIR

Share of the five nearest neighbours (cosine, centred) with an equal class, and the time per image,
on images that no result of this project is reported on: windows of the photographs in scikit-learn
and in scikit-image 0.19.3 (the folder skimage/data of its wheel), one class per photograph, and the
200 patches with and without a face in the same wheel.

    pip download --no-deps --python-version 3.10 --only-binary=:all: scikit-image==0.19.3
    unzip scikit_image-0.19.3-*.whl 'skimage/data/*'
    python scripts/studies/encoders_compared.py skimage/data
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models import ENCODERS

NAMES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    *("retina.jpg", "hubble_deep_field.jpg", "ihc.png", "camera.png", "coins.png", "brick.png"),
    *("grass.png", "gravel.png", "cell.png", "moon.png", "page.png", "text.png"),
    "clock_motion.png",
)
NEIGHBORS, BATCH = 5, 16


def cut_windows(
    photographs: list[Image.Image], side: int, count: int, seed: int
) -> tuple[list[Image.Image], np.ndarray]:
    """`count` windows of each photograph that is large enough, and its number."""
    rng, windows, labels = np.random.default_rng(seed), [], []
    for label, photograph in enumerate(photographs):
        if min(photograph.size) < 1.5 * side:
            continue
        for _ in range(count):
            left, top = (int(rng.integers(length - side)) for length in photograph.size)
            windows.append(photograph.crop((left, top, left + side, top + side)))
            labels.append(label)
    return windows, np.array(labels)


def image_sets(folder: Path) -> dict[str, tuple[list[Image.Image], np.ndarray]]:
    """Title -> images and classes.  folder: skimage/data"""
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    photographs += [Image.open(folder / name).convert("RGB") for name in NAMES]
    patches = np.uint8(255 * np.load(folder / "lfw_subset.npy"))
    return {
        "windows of 64 pixels": cut_windows(photographs, 64, 30, seed=0),
        "windows of 128 pixels": cut_windows(photographs, 128, 25, seed=1),
        "face or not": (
            [Image.fromarray(patch).convert("RGB") for patch in patches],
            np.arange(200) // 100,
        ),
    }


def neighbor_share(features: np.ndarray, labels: np.ndarray) -> float:
    """Percent of the nearest neighbours with an equal class.  features: (N, d); labels: (N,)"""
    features = features - features.mean(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = features @ features.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, :NEIGHBORS]
    return 100 * float((labels[nearest] == labels[:, None]).mean())


def main(folder: Path) -> None:
    """Print one line per set of images and encoder."""
    torch.set_num_threads(1)
    for title, (images, labels) in image_sets(folder).items():
        small = [np.asarray(image.resize((16, 16))).ravel() for image in images]
        share = neighbor_share(np.stack(small).astype(np.float64), labels)
        print(f"{title:<22} {'pixels':<20} {share:.1f} %")
        for name in ("mobilenet_v3_small", "efficientnet_lite0"):
            encoder, start = ENCODERS[name].load("", torch.device("cpu")), time.perf_counter()
            batches = [images[n : n + BATCH] for n in range(0, len(images), BATCH)]
            rows = [encoder.encode(np.stack([encoder.prepare(i) for i in one])) for one in batches]
            milliseconds = 1000 * (time.perf_counter() - start) / len(images)
            share = neighbor_share(np.concatenate(rows), labels)
            print(f"{title:<22} {name:<20} {share:.1f} %, {milliseconds:.0f} ms per image")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
