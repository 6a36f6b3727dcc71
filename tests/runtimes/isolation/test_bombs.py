"""Small files that ask for much: refused when they are loaded, or stopped by the limits; the agent never suffers."""

from __future__ import annotations

import resource
import time

import flatbuffers
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

from runtimes.errors import AgentError, BadRequest, DeadlineExceeded, Exhausted, Failed
from runtimes.isolation.limits import Limits
from runtimes.specs import TensorSpec
from tests.runtimes.isolation.models import Opened, doubling_functions, endless_from, graph_model
from tests.runtimes.plans import tensor
from tests.runtimes.test_session import BASIC_PITCH, segment

INT64 = TensorProto.INT64
# One gibibyte: beyond our limit, and below those that ONNX Runtime has of its own.
SIDE = helper.make_tensor("side", INT64, [2], [1 << 14, 1 << 14])
# What the result takes from it, so that it cannot be left out.
ADDED = (
    helper.make_node("ReduceMin", ["much"], ["least"], keepdims=0),
    helper.make_node("Add", ["x", "least"], ["y"]),
)


def growing_loop() -> bytes:
    """A loop that appends a megabyte to a sequence with each of its 2^40 turns."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("ConstantOfShape", ["megabyte"], ["more"]),
            helper.make_node("SequenceInsert", ["kept", "more"], ["keep"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("kept", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("keep", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["none"]),
        helper.make_node("Loop", ["turns", "", "none"], ["all"], body=body),
        helper.make_node("ConcatFromSequence", ["all"], ["much"], axis=0),
        *ADDED,
    ]
    return graph_model(
        nodes,
        [helper.make_tensor("turns", INT64, [], [1 << 40]), helper.make_tensor("megabyte", INT64, [1], [1 << 18])],
    )


def sparse() -> bytes:
    """A dense tensor of one gibibyte, written as one value that is not zero."""
    values = helper.make_tensor("much", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("at", INT64, [1], [0])
    model = onnx.load_from_string(graph_model(ADDED))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 14, 1 << 14]))
    return model.SerializeToString()


BOMBS = {
    "ConstantOfShape": graph_model([helper.make_node("ConstantOfShape", ["side"], ["much"]), *ADDED], [SIDE]),
    "Expand": graph_model([
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "side"], ["much"]), *ADDED], [SIDE]),
    "Tile": graph_model([helper.make_node("Tile", ["x", "side"], ["much"]), *ADDED], [SIDE]),
    "a loop that keeps": growing_loop(),
    "a sparse initializer": sparse(),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_asks_for_too_much_memory_is_refused_when_it_is_loaded(bomb):
    model = BOMBS[bomb]
    assert len(model) < 1000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AgentError) as caught:
        Opened(segment(model, [tensor("x")], [tensor("y")]), model)
    assert isinstance(caught.value, Exhausted), caught.value
    # Kilobytes: nothing of it arose here.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_functions_that_double_are_refused_before_the_runtime_expands_them():
    model = doubling_functions(30)
    started = time.monotonic()
    with pytest.raises(BadRequest, match=r"expand to 1073741824 nodes"):
        Opened(segment(model, [tensor("x")], [tensor("y")]), model)
    assert time.monotonic() - started < 10


def test_a_warm_up_that_does_not_end_is_refused_in_the_time_that_loading_has():
    _, model = endless_from()
    endless = onnx.load_from_string(model)
    # Whatever the input, it begins.
    endless.graph.node[1].CopyFrom(helper.make_node("Cast", ["one"], ["begin"], to=TensorProto.BOOL))
    endless.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    model = endless.SerializeToString()
    spec = segment(model, [TensorSpec(name="x", port="a", dtype="FP32", shape=(1, 4))], [tensor("y")])
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Opened(spec, model, timeout_s=3)
    assert time.monotonic() - started < 6


def test_boundary_tensors_beyond_the_limit_are_refused():
    shape = (1 << 14, 1 << 14)
    model = b"never read"
    with pytest.raises(BadRequest, match=r"boundary tensors take 2147483712 bytes"):
        Opened(segment(model, [tensor("x", shape)], [tensor("y", shape)]), model)


def branching_into_itself() -> bytes:
    """A TFLite graph whose only operator is a branch, both ways of which are that graph."""
    inputs = [schema.TensorT(), schema.TensorT()]
    for port, (tensor_, name) in enumerate(zip(inputs, (b"x", b"y"), strict=True)):
        tensor_.name, tensor_.shape, tensor_.type = name, [1], schema.TensorType.BOOL
        tensor_.buffer, tensor_.hasRank = port + 1, True
    code, branch, options = schema.OperatorCodeT(), schema.OperatorT(), schema.IfOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
    options.thenSubgraphIndex = options.elseSubgraphIndex = 0
    branch.builtinOptionsType, branch.builtinOptions = schema.BuiltinOptions.IfOptions, options
    branch.opcodeIndex, branch.inputs, branch.outputs = 0, [0, 0], [1]
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.inputs, graph.outputs, graph.operators = b"main", inputs, [0], [1], [branch]
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT() for _ in range(3)]
    model.operatorCodes, model.subgraphs = [code], [graph]
    return packed(model)


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_file_that_crashes_its_runtime_is_refused_with_the_signal():
    data = branching_into_itself()
    spec = segment(data, [tensor("x", (1,), "BOOL")], [tensor("y", (1,), "BOOL")], "tflite")
    with pytest.raises(Failed, match="its process was ended by SIGSEGV while it loaded the model"):
        Opened(spec, data)


def test_a_tflite_model_with_somebodys_own_operator_is_refused():
    model = schema.ModelT.InitFromPackedBuf(BASIC_PITCH.with_name("wake_word.tflite").read_bytes(), 0)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"Shell"
    data = packed(model)
    spec = segment(data, [tensor("x")], [tensor("y")], "tflite")
    with pytest.raises(BadRequest, match="Shell"):
        Opened(spec, data)


def test_a_tflite_model_that_asks_for_too_much_memory_is_refused():
    data = BASIC_PITCH.read_bytes()
    # The file is good; what it needs for this many inputs is beyond the limit.
    inputs = [TensorSpec(name="x", port="serving_default_input_2:0", dtype="FP32", shape=(100, 43844, 1))]
    outputs = [TensorSpec(name="y", port="StatefulPartitionedCall:1", dtype="FP32", shape=(100, 172, 88))]
    with pytest.raises(BadRequest, match="LiteRT cannot load it"):
        Opened(segment(data, inputs, outputs, "tflite"), data, limits=Limits(memory_bytes=256 << 20, run_s=30))
