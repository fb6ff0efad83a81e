"""Damaged files of weights and models: one line, or an encoder that gives finite features."""

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.encoders import onnx_model
from models.encoders.onnx_model import OnnxOptions
from models.encoders.spec import SizeOptions, WeightsOptions
from models.encoders.weights import load_weights, read_weights
from tests.damage import Reader, read_damaged
from tests.examples import examples
from tests.models.encoders.model_files import save_onnx


def network():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def torch_file():
    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save({"state_dict": network().state_dict(), "epoch": 3}, file)
    return file.getvalue()


def safetensors_file():
    save = pytest.importorskip("safetensors.torch").save
    torch.manual_seed(0)
    return save(network().state_dict())


WEIGHTS = {"w.pth": torch_file, "w.safetensors": safetensors_file}


@pytest.mark.parametrize("name", WEIGHTS)
@examples(60)
@given(data=st.data())
def test_files_of_weights(name, data):
    def read(folder):
        loaded = network()
        load_weights(loaded, read_weights(str(folder / name)), [], name, "the model")
        return loaded

    def check(loaded):
        assert [value.shape for value in loaded.parameters()] == [
            value.shape for value in network().parameters()
        ]

    read_damaged(Reader({name: WEIGHTS[name]()}, read, check), data)


@functools.cache
def onnx_file():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        return Path(save_onnx(Path(folder, "model.onnx"), ["B", 3, 8, 8])).read_bytes()


@examples(60)
@given(data=st.data())
def test_onnx_models(data):
    def read(folder):
        encoder = onnx_model.load(
            "",
            torch.device("cpu"),
            weights=WeightsOptions(str(folder / "model.onnx")),
            size=SizeOptions(None),
            onnx=OnnxOptions(None, None, None),
        )
        return encoder.encode(np.stack([encoder.prepare(Image.new("RGB", (9, 9)))] * 2))

    def check(features):
        assert features.ndim == 2 and len(features) == 2 and features.dtype == np.float32

    read_damaged(Reader({"model.onnx": onnx_file()}, read, check), data)
