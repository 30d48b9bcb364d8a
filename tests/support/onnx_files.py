"""Small ONNX files that compute embeddings of crops, and the same in torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

CROP = (32, 16)
WIDTH = 8
_KERNEL = np.random.default_rng(0).normal(size=(WIDTH, 3, 4, 4)).astype(np.float32)


def write_onnx(path, *, batch="n", crop=CROP, outputs=("y",), channels=3, inputs=("x",)):
    """Write a convolution with a global average pool; return its path."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", [inputs[0], "w"], ["c"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
    ]
    nodes += [helper.make_node("Flatten", ["p"], [name]) for name in outputs]
    kernel = onnx.numpy_helper.from_array(_KERNEL[:, :channels], "w")
    shape = [batch, channels, *crop]
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, kind, [batch, WIDTH]) for name in outputs],
        [kernel],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def embed_in_torch(crops):
    """Compute the embeddings of the ONNX files, not normalized."""
    return F.conv2d(torch.as_tensor(crops), torch.from_numpy(_KERNEL), stride=4).mean(dim=(2, 3))
