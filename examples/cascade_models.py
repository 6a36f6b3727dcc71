"""Writes the two small models of cascade.yaml: `shrink.onnx`, which makes a thumbnail, and `page_gate.tflite`.

Both are written by hand, without training: the gate measures how much brightness changes from one pixel of the
thumbnail to the next, which is much on a printed page and nothing on an empty desk. Run it as
`python examples/cascade_models.py`; the files in this folder are what it wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

FOLDER = Path(__file__).parent
PICTURE = (1, 3, 224, 224)
THUMBNAIL = (1, 56, 56, 3)
GAIN, OFFSET = 20.0, 4.0
"""The score is a logistic function of GAIN x mean change - OFFSET."""


def shrink() -> bytes:
    """Average squares of 4 x 4 pixels and put the channels last: [1, 3, 224, 224] to [1, 56, 56, 3]."""
    nodes = [
        helper.make_node("AveragePool", ["picture"], ["small"], "average", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Transpose", ["small"], ["thumbnail"], "channels_last", perm=[0, 2, 3, 1]),
    ]
    ends = [
        helper.make_tensor_value_info("picture", TensorProto.FLOAT, PICTURE),
        helper.make_tensor_value_info("thumbnail", TensorProto.FLOAT, THUMBNAIL),
    ]
    graph = helper.make_graph(nodes, "shrink", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def page_gate() -> bytes:
    """Score how much a thumbnail looks like print: convolution, mean, sum, logistic; [1, 56, 56, 3] to [1, 1]."""
    # Brightness to the right minus here, below minus here, and both negated, as ReLU drops what is below 0.
    filters = np.zeros((4, 3, 3, 3), np.float32)
    for i, (row, column) in enumerate(((1, 2), (2, 1))):
        filters[i, row, column], filters[i, 1, 1] = 1 / 3, -1 / 3
        filters[i + 2] = -filters[i]
    weights = [
        filters,
        np.zeros(4, np.float32),
        np.array([1, 2], np.int32),
        np.full((1, 4), GAIN / 2, np.float32),
        np.array([-OFFSET], np.float32),
    ]
    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    tensors = [
        _tensor("thumbnail", THUMBNAIL),
        _tensor("filters", (4, 3, 3, 3), 1),
        _tensor("no_bias", (4,), 2),
        _tensor("change", (1, 54, 54, 4)),
        _tensor("axes", (2,), 3, schema.TensorType.INT32),
        _tensor("mean_change", (1, 4)),
        _tensor("gain", (1, 4), 4),
        _tensor("offset", (1,), 5),
        _tensor("sum", (1, 1)),
        _tensor("score", (1, 1)),
    ]
    relu = schema.ActivationFunctionType.RELU
    convolution = schema.Conv2DOptionsT(
        padding=schema.Padding.VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1,
        fusedActivationFunction=relu,
    )  # fmt: skip
    operators = [
        _operator(0, [0, 1, 2], [3], convolution, options.Conv2DOptions),
        _operator(1, [3, 4], [5], schema.ReducerOptionsT(keepDims=False), options.ReducerOptions),
        _operator(2, [5, 6, 7], [8], schema.FullyConnectedOptionsT(), options.FullyConnectedOptions),
        _operator(3, [8], [9], None, 0),
    ]
    codes = (kinds.CONV_2D, kinds.MEAN, kinds.FULLY_CONNECTED, kinds.LOGISTIC)
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(builtinCode=c, deprecatedBuiltinCode=c, version=1) for c in codes],
        subgraphs=[schema.SubGraphT(tensors=tensors, operators=operators, inputs=[0], outputs=[9])],
        # Buffer 0 is the empty one, as the format wants it.
        buffers=[schema.BufferT(), *(schema.BufferT(data=np.frombuffer(w.tobytes(), np.uint8)) for w in weights)],
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: tuple[int, ...], buffer: int = 0, kind: int = schema.TensorType.FLOAT32) -> Any:
    return schema.TensorT(name=name, shape=list(shape), type=kind, buffer=buffer)


def _operator(code: int, inputs: list[int], outputs: list[int], options: Any, kind: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=code, inputs=inputs, outputs=outputs, builtinOptions=options, builtinOptionsType=kind
    )


if __name__ == "__main__":
    for name, content in (("shrink.onnx", shrink()), ("page_gate.tflite", page_gate())):
        (FOLDER / name).write_bytes(content)
        print(f"wrote {FOLDER / name}: {len(content)} bytes")
