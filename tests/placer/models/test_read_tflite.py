import sys

import numpy as np
import pytest

from placer.errors import ProblemError
from placer.models.cut import cut
from placer.models.read_tflite import read_tflite
from tests.placer.tflite_models import (
    DATA,
    DATA_MODELS,
    Builtin,
    Options,
    Type,
    Whole,
    add,
    operator,
    schema,
    subgraph,
    synthetic,
    tensor,
    write,
)


@pytest.fixture
def conv_net(tmp_path):
    """A convolution, a depthwise convolution and a fully connected layer, which LiteRT runs."""
    rng = np.random.default_rng(0)
    shapes = [(4, 3, 3, 2), (4,), (1, 3, 3, 4), (4,), (5, 256), (5,)]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    strides = {"strideW": 1, "strideH": 1}
    conv, full = schema.Conv2DOptionsT(**strides), schema.FullyConnectedOptionsT()
    depthwise = schema.DepthwiseConv2DOptionsT(**strides, depthMultiplier=1)
    tensors = [tensor("image", (1, 8, 8, 2)), tensor("a", (1, 8, 8, 4)), tensor("b", (1, 8, 8, 4))]
    tensors += [tensor("scores", (1, 5))]
    tensors += [tensor(f"w{i}", shape, buffer=i + 1) for i, shape in enumerate(shapes)]
    operators = [
        operator(0, [0, 4, 5], [1], conv, Options.Conv2DOptions),
        operator(1, [1, 6, 7], [2], depthwise, Options.DepthwiseConv2DOptions),
        operator(2, [2, 8, 9], [3], full, Options.FullyConnectedOptions),
    ]
    kinds = [Builtin.CONV_2D, Builtin.DEPTHWISE_CONV_2D, Builtin.FULLY_CONNECTED]
    return write(tmp_path / "conv.tflite", kinds, [subgraph(tensors, operators, [0], [3])], weights)


def test_every_operator_is_an_op_with_its_macs_and_weights(conv_net):
    graph = read_tflite(conv_net)
    assert [(op.name, op.type, op.macs, op.weights_bytes) for op in graph.ops] == [
        ("conv_2d_0", "CONV_2D", 8 * 8 * 4 * 18, 4 * (72 + 4)),
        ("depthwise_conv_2d_1", "DEPTHWISE_CONV_2D", 8 * 8 * 4 * 9, 4 * (36 + 4)),
        ("fully_connected_2", "FULLY_CONNECTED", 5 * 256, 4 * (1280 + 5)),
    ]
    assert [(op.inputs, op.outputs, op.workspace_bytes) for op in graph.ops] == [
        (("image",), ("a",), 4 * (128 + 256)),
        (("a",), ("b",), 4 * (256 + 256)),
        (("b",), ("scores",), 4 * (256 + 5)),
    ]
    assert [(given.name, given.shape, given.dtype) for given in graph.inputs] == [("image", (1, 8, 8, 2), "float32")]
    assert [given.name for given in graph.outputs] == ["scores"]
    assert (graph.name, graph.format, graph.numeric) == ("conv", "tflite", "fp32")
    assert len({op.weights_id for op in graph.ops}) == 3


@pytest.mark.parametrize(
    ("name", "ops", "numeric", "macs"),
    [
        ("basic_pitch", 209, "fp32", 524_079_648),
        ("face_detection", 90, "fp32", 30_760_960),
        ("image_classification", 16, "int8", 12_501_632),
        ("micro_speech", 4, "int8", 336_000),
        ("wake_word", 6, "int8", 21_630),
    ],
)
def test_real_models(name, ops, numeric, macs):
    graph = read_tflite(DATA / f"{name}.tflite")
    assert (len(graph.ops), graph.numeric, graph.macs) == (ops, numeric, macs)


@pytest.mark.parametrize("name", DATA_MODELS)
def test_litert_agrees_about_every_tensor(name):
    # Each part's executor checks dtype and shape of what an op makes; inputs and outputs are the whole's.
    graph = read_tflite(DATA / f"{name}.tflite")
    made = Whole(graph).run(synthetic(graph.inputs, 0))
    assert [(one.shape, one.dtype) for one in graph.outputs] == [
        (made[one.name].shape, made[one.name].dtype.name) for one in graph.outputs
    ]


@pytest.mark.parametrize(
    ("kind", "left", "right", "made", "macs"),
    [
        (Builtin.TRANSPOSE_CONV, (4,), (5, 2, 2, 3), (1, 8, 8, 5), 4 * 4 * 3 * 5 * 4),
        (Builtin.BATCH_MATMUL, (7, 2, 3), (7, 3, 5), (7, 2, 5), 7 * 2 * 3 * 5),
        (Builtin.CONV_3D, (1, 4, 4, 4, 2), (3, 3, 3, 2, 6), (1, 4, 4, 4, 6), 64 * 6 * 54),
        (Builtin.SVDF, (2, 10), (8, 10), (2, 4), 2 * 8 * 10),
        (Builtin.RELU, (2, 3), (2, 3), (2, 3), 0),
        (Builtin.CONV_2D, (), (), (2, 3), 6),
    ],
)
def test_macs_of_other_operators(tmp_path, kind, left, right, made, macs):
    tensors = [tensor("l", left, Type.INT8), tensor("r", right, Type.INT8), tensor("x", (1, 4, 4, 3), Type.INT8)]
    tensors.append(tensor("y", made, Type.INT8))
    path = write(tmp_path / "m.tflite", [kind], [subgraph(tensors, [operator(0, [0, 1, 2], [3])], [0, 1, 2], [3])])
    graph = read_tflite(path)
    assert (graph.macs, graph.numeric) == (macs, "int8")


def test_an_op_of_several_operators_keeps_room_for_what_lives_inside(tmp_path):
    # WHERE makes a tensor of unknown size, so it and its reader are one op.
    tensors = [tensor("x", (4,), Type.BOOL), tensor("at", (4, 1), Type.INT64, signature=[-1, 1])]
    tensors += [tensor("y", (2,), Type.INT32)]
    operators = [operator(0, [0], [1]), operator(1, [1], [2])]
    path = write(tmp_path / "m.tflite", [Builtin.WHERE, Builtin.SHAPE], [subgraph(tensors, operators, [0], [2])])
    (op,) = read_tflite(path).ops
    assert (op.name, op.type, op.inputs, op.outputs) == ("where_0", "WHERE+SHAPE", ("x",), ("y",))
    assert op.workspace_bytes == 4 * 8 + 2 * 4


def simple(tmp_path, **changed):
    tensors = [tensor("x", (2,), **changed), tensor("w", (2,), buffer=1), tensor("y", (2,))]
    made = subgraph(tensors, [add(0, 1, 2)], [0], [2])
    return write(tmp_path / "m.tflite", [Builtin.ADD], [made], [np.ones(2, np.float32)])


def test_inputs_have_the_shape_of_the_file(tmp_path):
    path = simple(tmp_path, signature=[-1])
    assert read_tflite(path, {"x": [2]}).inputs[0].shape == (2,)
    with pytest.raises(ProblemError, match=r"m\.tflite: input 'x' is \[2\] in the file, not \[3\]"):
        read_tflite(path, {"x": [3]})
    with pytest.raises(ProblemError, match=r"m\.tflite: has no input 'z'; its inputs are 'x'"):
        read_tflite(path, {"z": [2]})


def test_an_input_that_agents_cannot_exchange_is_refused(tmp_path):
    with pytest.raises(ProblemError, match=r"m\.tflite: tensor 'x' is of type string, which agents cannot exchange"):
        read_tflite(simple(tmp_path, kind=Type.STRING))


@pytest.mark.parametrize(
    ("kind", "signature", "outputs", "says"),
    [
        (Builtin.WHERE, None, [2], "size of the output 'made' depends on values"),
        (Builtin.CUSTOM, [-1, 1], [2], "size of the output 'made' depends on values"),
        (Builtin.CUSTOM, None, [2, 1], "output 'w' is a constant of the file"),
        (Builtin.CUSTOM, None, [0], "no output depends on an op"),
    ],
)
def test_outputs_that_no_plan_can_have_are_refused(tmp_path, kind, signature, outputs, says):
    tensors = [tensor("x", (4,)), tensor("w", (1,), buffer=1), tensor("made", (4, 1), signature=signature)]
    path = write(
        tmp_path / "m.tflite", [kind], [subgraph(tensors, [operator(0, [0], [2])], [0], outputs)], [np.ones(1, "f")]
    )
    with pytest.raises(ProblemError, match=rf"m\.tflite: .*{says}"):
        read_tflite(path)


def test_an_input_that_is_returned_needs_no_part(tmp_path):
    tensors = [tensor("x", (2,)), tensor("y", (2,))]
    path = write(tmp_path / "m.tflite", [Builtin.ADD], [subgraph(tensors, [add(0, 0, 1)], [0], [0, 1])])
    graph = read_tflite(path)
    assert [one.name for one in graph.outputs] == ["x", "y"]
    (part,) = cut(graph, [["add_0"]])
    assert [one.name for one in part.outputs] == ["y"]


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
