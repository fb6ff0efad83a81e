"""Files of models with random weights: of real networks, and small ONNX files."""

from pathlib import Path

import numpy as np
import torch


def save_timm(path: Path, name: str, **settings) -> torch.nn.Module:
    """The weights of a network of timm, with its classifier; -> the network."""
    import safetensors.torch
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, **settings).eval()
    safetensors.torch.save_file(network.state_dict(), path)
    return network


def save_onnx(path: Path, shape, *, outputs=("embedding",), kind="float", seed=0) -> Path:
    """Means over a grid of 2 x 2 windows, times random weights: input x of this shape, (B, 3, S, S)
    or (B, S, S, 3), each output (B, 5)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    element = {"float": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[kind]
    nodes, name = [], "x"
    if kind == "uint8":
        nodes.append(helper.make_node("Cast", [name], ["as_float"], to=TensorProto.FLOAT))
        name = "as_float"
    if shape[3] == 3:
        nodes.append(helper.make_node("Transpose", [name], ["first"], perm=[0, 3, 1, 2]))
        name = "first"
    kernel = rng.standard_normal((5, 3, 8, 8)).astype(np.float32)
    nodes += [
        helper.make_node("Conv", [name, "kernel"], ["maps"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        *(helper.make_node("Flatten", ["pooled"], [output]) for output in outputs),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [shape[0], 5]) for o in outputs],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path
