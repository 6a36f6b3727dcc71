"""A flow of three small real models, two of ONNX and one of TFLite: a thumbnail, a gate, and a net behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from placer.planning import read_flow
from profiles import Flow, Stage, When
from tests.placer import tflite_models as tflite

if TYPE_CHECKING:
    from pathlib import Path

    from placer.models.flow_graph import FlowGraph

PICTURE = (1, 3, 8, 8)
SIZE = 3 * 8 * 8 * 4
"""Bytes of a picture."""


def thumbnail() -> bytes:
    """Averages of 2 x 2 pixels, channels last: `picture` to `small`, [1, 4, 4, 3]."""
    nodes = [
        helper.make_node("AveragePool", ["picture"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["pooled"], ["small"], "turn", perm=[0, 2, 3, 1]),
    ]
    return _model(nodes, {"picture": PICTURE}, {"small": (1, 4, 4, 3)})


def net() -> bytes:
    """A convolution and its sum, with a dynamic batch: `x` to `y`, [N, 2]."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("ReduceMean", ["r"], ["y"], "mean", axes=[2, 3], keepdims=0),
    ]
    return _model(nodes, {"x": ("N", 3, 8, 8)}, {"y": ("N", 2)}, onnx.numpy_helper.from_array(weights, "w"))


def _model(nodes: list[onnx.NodeProto], inputs: dict, outputs: dict, *constants: onnx.TensorProto) -> bytes:
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *ends, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def gate(path: Path) -> Path:
    """The mean of a thumbnail: `small` to `score`, [1]."""
    axes = np.array([0, 1, 2, 3], np.int32)
    tensors = [
        tflite.tensor("small", (1, 4, 4, 3)),
        tflite.tensor("axes", (4,), tflite.Type.INT32, buffer=1),
        tflite.tensor("score", (1,)),
    ]
    mean = tflite.operator(0, [0, 1], [2], tflite.schema.ReducerOptionsT(keepDims=False), tflite.Options.ReducerOptions)
    return tflite.write(path, [tflite.Builtin.MEAN], [tflite.subgraph(tensors, [mean], [0], [2])], [axes])


def write_models(folder: Path) -> None:
    (folder / "thumbnail.onnx").write_bytes(thumbnail())
    (folder / "net.onnx").write_bytes(net())
    gate(folder / "gate.tflite")


STAGES = (
    Stage(name="shrink", model="thumbnail.onnx", reads={"picture": "frame"}),
    Stage(name="gate", model="gate.tflite", reads={"small": "shrink/small"}),
    Stage(
        name="net",
        model="net.onnx",
        reads={"x": "frame"},
        when=When(tensor="gate/score", at_least=0.5, share=0.25),
    ),
)


def flow(stages: tuple[Stage, ...] = STAGES, outputs: tuple[str, ...] = (), **changes: object) -> Flow:
    fields = {"name": "look", "source": "camera", "sink": "camera", "rate_hz": 1.0, "label": "public"}
    return Flow(stages=stages, outputs=outputs, **{**fields, **changes})


def joined(folder: Path, stages: tuple[Stage, ...] = STAGES, outputs: tuple[str, ...] = ()) -> FlowGraph:
    write_models(folder)
    return read_flow(flow(stages, outputs), folder)
