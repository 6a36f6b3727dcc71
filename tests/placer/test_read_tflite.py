import sys

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from placer.cut import cut
from placer.errors import ProblemError
from placer.read_tflite import read_tflite

Builtin, Type = schema.BuiltinOperator, schema.TensorType


def tensor(name, shape, kind=Type.FLOAT32, buffer=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), kind, buffer
    return made


def operator(index, inputs, outputs, options=None, options_type=0):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = index, inputs, outputs
    made.builtinOptions, made.builtinOptionsType = options, options_type
    return made


def write(path, kinds, tensors, operators, inputs, outputs, weights):
    """Write a model; buffer 0 is the empty one, as the format wants it."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    for array in weights:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        model.buffers.append(buffer)
    model.operatorCodes = []
    for kind in kinds:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
        model.operatorCodes.append(code)
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, inputs, outputs
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture
def conv_net(tmp_path):
    """A convolution, a depthwise convolution and a fully connected layer, which LiteRT runs."""
    rng = np.random.default_rng(0)
    shapes = [(4, 3, 3, 2), (4,), (1, 3, 3, 4), (4,), (5, 256), (5,)]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    conv, depthwise, full = schema.Conv2DOptionsT(), schema.DepthwiseConv2DOptionsT(), schema.FullyConnectedOptionsT()
    conv.strideW = conv.strideH = conv.dilationWFactor = conv.dilationHFactor = 1
    depthwise.strideW = depthwise.strideH = depthwise.dilationWFactor = depthwise.dilationHFactor = 1
    depthwise.depthMultiplier = 1
    tensors = [tensor("image", (1, 8, 8, 2)), tensor("a", (1, 8, 8, 4)), tensor("b", (1, 8, 8, 4))]
    tensors += [tensor("scores", (1, 5))]
    tensors += [tensor(f"w{i}", shape, buffer=i + 1) for i, shape in enumerate(shapes)]
    options = schema.BuiltinOptions
    return write(
        tmp_path / "conv.tflite",
        [Builtin.CONV_2D, Builtin.DEPTHWISE_CONV_2D, Builtin.FULLY_CONNECTED],
        tensors,
        [
            operator(0, [0, 4, 5], [1], conv, options.Conv2DOptions),
            operator(1, [1, 6, 7], [2], depthwise, options.DepthwiseConv2DOptions),
            operator(2, [2, 8, 9], [3], full, options.FullyConnectedOptions),
        ],
        [0],
        [3],
        weights,
    )


def test_a_model_is_one_op_with_its_macs_and_weights(conv_net):
    graph = read_tflite(conv_net)
    (op,) = graph.ops
    assert op.macs == 8 * 8 * 4 * 18 + 8 * 8 * 4 * 9 + 5 * 256
    assert op.weights_bytes == 4 * (72 + 4 + 36 + 4 + 1280 + 5)
    assert op.workspace_bytes == 2 * 4 * 256
    assert [(given.name, given.shape, given.dtype) for given in graph.inputs] == [("image", (1, 8, 8, 2), "float32")]
    assert [given.name for given in graph.outputs] == ["scores"]
    assert (graph.format, graph.numeric, op.inputs, op.outputs) == ("tflite", "fp32", ("image",), ("scores",))


def test_litert_agrees_about_inputs_and_outputs(conv_net):
    from ai_edge_litert.interpreter import Interpreter

    graph = read_tflite(conv_net)
    interpreter = Interpreter(model_content=conv_net.read_bytes())
    interpreter.allocate_tensors()
    interpreter.invoke()
    for ports, tensors in (
        (interpreter.get_input_details(), graph.inputs),
        (interpreter.get_output_details(), graph.outputs),
    ):
        assert [(port["name"], tuple(port["shape"])) for port in ports] == [(one.name, one.shape) for one in tensors]


def test_its_only_segment_is_the_file(conv_net):
    graph = read_tflite(conv_net)
    (part,) = cut(graph, [["conv"]])
    assert part.blob == conv_net.read_bytes()
    assert (part.inputs, part.outputs, part.sha256) == (graph.inputs, graph.outputs, graph.sha256)
    conv_net.write_bytes(conv_net.read_bytes() + b"\0")
    with pytest.raises(ProblemError, match="changed since it was read"):
        cut(graph, [["conv"]])


@pytest.mark.parametrize(
    ("kind", "left", "right", "made", "macs"),
    [
        (Builtin.TRANSPOSE_CONV, (4,), (5, 2, 2, 3), (1, 8, 8, 5), 4 * 4 * 3 * 5 * 4),
        (Builtin.BATCH_MATMUL, (7, 2, 3), (7, 3, 5), (7, 2, 5), 7 * 2 * 3 * 5),
        (Builtin.CONV_3D, (1, 4, 4, 4, 2), (3, 3, 3, 2, 6), (1, 4, 4, 4, 6), 64 * 6 * 54),
        (Builtin.RELU, (2, 3), (2, 3), (2, 3), 0),
    ],
)
def test_macs_of_other_operators(tmp_path, kind, left, right, made, macs):
    tensors = [tensor("l", left, Type.INT8), tensor("r", right, Type.INT8), tensor("x", (1, 4, 4, 3), Type.INT8)]
    tensors.append(tensor("y", made, Type.INT8))
    path = write(tmp_path / "m.tflite", [kind], tensors, [operator(0, [0, 1, 2], [3])], [0, 1, 2], [3], [])
    graph = read_tflite(path)
    assert (graph.macs, graph.numeric) == (macs, "int8")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + b"\xff" * 40])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match=r"m\.tflite: (not a TFLite model|a damaged TFLite model)"):
        read_tflite(path)


def test_a_missing_file_or_reader_is_named(tmp_path, monkeypatch):
    with pytest.raises(ProblemError, match="cannot read the model file"):
        read_tflite(tmp_path / "absent.tflite")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ProblemError, match=r"pip install 'placer-joules\[tflite\]'"):
        read_tflite(tmp_path / "absent.tflite")
