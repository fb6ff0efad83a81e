"""Small archives in the original formats of the data sets, with real images: enlarged digits."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image
from sklearn.datasets import load_digits

SIZES = {"train": 60, "test": 20}


def grey_images(part: str, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """-> (N, size, size) uint8 and (N,) labels; all ten classes in both parts."""
    digits, start = load_digits(), 0 if part == "train" else 100
    chosen = slice(start, start + SIZES[part])
    pixels = np.uint8(digits.images[chosen] * 15).repeat(4, axis=1).repeat(4, axis=2)
    crop = (32 - size) // 2
    return pixels[:, crop : 32 - crop, crop : 32 - crop], digits.target[chosen]


def colour_images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """-> (N, 3, 32, 32) uint8 and (N,) labels."""
    pixels, labels = grey_images(part)
    return np.stack([pixels, 255 - pixels, pixels // 2], axis=1), labels


def write_array_file(path: Path) -> Path:
    """Digits of 8 x 8 with a test part: a process that reads them need not import scikit-learn,
    which takes a second."""
    digits = load_digits()
    images, labels = np.uint8(digits.images * 15), digits.target
    np.savez(
        path,
        x_train=images[:200],
        y_train=labels[:200],
        x_test=images[200:300],
        y_test=labels[200:300],
    )
    return path


def write_mnist(root: Path, name: str = "MNIST") -> None:
    """idx files: big-endian magic number and sizes, then bytes."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels, labels = grey_images(part, size=28)
        head = struct.pack(">IIII", 2051, *pixels.shape)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        head = struct.pack(">II", 2049, len(labels))
        content = head + labels.astype(np.uint8).tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(content)


def write_svhn(root: Path) -> None:
    """Matlab files: X (32, 32, 3, N) and y (N, 1), where class 10 stands for the digit zero."""
    (root / "SVHN").mkdir(parents=True)
    for part in SIZES:
        pixels, labels = colour_images(part)
        content = {"X": pixels.transpose(2, 3, 1, 0), "y": np.where(labels, labels, 10)[:, None]}
        scipy.io.savemat(root / "SVHN" / f"{part}_32x32.mat", content)


def write_cifar_batch(path: Path, pixels: np.ndarray, **labels: Any) -> None:
    """A pickled batch.  pixels: (N, ...) uint8; labels: lists of N, by their key."""
    content = {"data": pixels.reshape(len(pixels), -1), **labels}
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_cifar10(root: Path) -> None:
    """Five pickled training batches and a test batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels, labels = colour_images("train")
    for i, rows in enumerate(np.array_split(np.arange(len(labels)), 5), start=1):
        write_cifar_batch(folder / f"data_batch_{i}", pixels[rows], labels=labels[rows].tolist())
    pixels, labels = colour_images("test")
    write_cifar_batch(folder / "test_batch", pixels, labels=labels.tolist())


def write_cifar100(root: Path) -> None:
    """Two pickled parts, with coarse and fine labels."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for part in SIZES:
        pixels, labels = colour_images(part)
        write_cifar_batch(
            folder / part, pixels, coarse_labels=(labels // 5).tolist(), fine_labels=labels.tolist()
        )


def write_folder(root: Path) -> None:
    """PNG files of 32 x 20 pixels in train/<class> and test/<class>; below pages/ the same images
    as TIFF files, with a second page."""
    for part in SIZES:
        for number, (pixels, label) in enumerate(zip(*grey_images(part), strict=True)):
            path = root / "folder" / part / str(label) / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[:20]).save(path)
            stack = root / "pages" / part / str(label) / f"{number:03}.tif"
            stack.parent.mkdir(parents=True, exist_ok=True)
            second = Image.fromarray(pixels[12:])
            Image.fromarray(pixels[:20]).save(stack, save_all=True, append_images=[second])


WRITERS = {
    "mnist": write_mnist,
    "fashion_mnist": lambda root: write_mnist(root, "FashionMNIST"),
    "svhn": write_svhn,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
}
