import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert_same_bits,
    decode,
    operator,
    pack,
    schema,
    segments_of,
    subgraph,
    synthetic,
    tensor,
    write,
)


@pytest.fixture(scope="module", params=DATA_MODELS)
def real(request):
    return read_tflite(DATA / f"{request.param}.tflite")


@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20))
def test_any_cut_of_a_real_model_gives_the_same_bits(real, seed):
    assert_same_bits(real, segments_of(real, seed), seed)


def test_real_models_cut_at_every_op_give_the_same_bits(real):
    if len(real.ops) < 100:
        assert_same_bits(real, [[op.name] for op in real.ops], seed=1)


def test_inputs_tell_outputs_apart(real):
    # Else equal bits of whole and parts would say little.
    whole = Whole(real)
    first, second = (whole.run(synthetic(real.inputs, seed)) for seed in (0, 1))
    if "wake" not in real.path:  # which hears nothing in noise
        assert any(first[name].tobytes() != second[name].tobytes() for name in first)


def test_parts_carry_their_own_weights_and_no_others(real):
    halves = [op.name for op in real.ops[: len(real.ops) // 2]], [op.name for op in real.ops[len(real.ops) // 2 :]]
    for part, names in zip(cut(real, halves), halves, strict=True):
        model = decode(part.blob)
        stored = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
        assert stored <= sum(op.weights_bytes for op in real.ops if op.name in names)
        used = {one.buffer for graph in model.subgraphs for one in graph.tensors} | {0}
        assert used == set(range(len(model.buffers)))
        codes = {one.opcodeIndex for graph in model.subgraphs for one in graph.operators}
        assert codes == set(range(len(model.operatorCodes)))
        assert not model.metadata
        assert not model.signatureDefs


def test_constants_are_aligned_as_kernels_expect(real):
    (part,) = cut(real, [[op.name for op in real.ops]])
    start = np.frombuffer(part.blob, np.uint8).ctypes.data
    constants = [buffer.data for buffer in decode(part.blob).buffers if buffer.data is not None]
    assert constants
    assert all((array.ctypes.data - start) % 16 == 0 for array in constants)


def test_cutting_repeats(real):
    segments = segments_of(real, 3)
    first, again = cut(real, segments), cut(real, segments)
    assert first == again
    assert [part.sha256 for part in first] == [hashlib.sha256(part.blob).hexdigest() for part in first]


def test_int8_crosses_with_its_quantization():
    graph = read_tflite(DATA / "image_classification.tflite")
    first, second = cut(graph, [["conv_2d_0"], [op.name for op in graph.ops[1:]]])
    assert [(one.dtype, one.shape) for one in first.outputs] == [("int8", (1, 32, 32, 16))]
    whole = {one.name: one for one in decode((DATA / "image_classification.tflite").read_bytes()).subgraphs[0].tensors}
    for part, ends in ((first, "outputs"), (second, "inputs")):
        main = decode(part.blob).subgraphs[0]
        (port,) = (main.tensors[index] for index in getattr(main, ends))
        wanted = whole[port.name].quantization
        assert port.quantization.scale.tobytes() == wanted.scale.tobytes()
        assert port.quantization.zeroPoint.tobytes() == wanted.zeroPoint.tobytes()


def test_dequantized_constants_follow_their_readers():
    graph = read_tflite(DATA / "face_detection.tflite")
    assert "DEQUANTIZE" not in {op.type for op in graph.ops}
    parts = cut(graph, [[op.name] for op in graph.ops])
    for op, part in zip(graph.ops, parts, strict=True):
        model = decode(part.blob)
        codes = [model.operatorCodes[one.opcodeIndex].deprecatedBuiltinCode for one in model.subgraphs[0].operators]
        wanted = {"CONV_2D": [Builtin.DEQUANTIZE] * 2, "DEPTHWISE_CONV_2D": [Builtin.DEQUANTIZE] * 2}.get(op.type, [])
        assert codes[:-1] == wanted
        assert [one.name for one in part.inputs] == list(op.inputs)


def test_names_that_repeat_or_lack_become_unique(tmp_path):
    tensors = [tensor("x", (2,)), tensor("x", (2,)), tensor("", (2,)), tensor("x", (2,))]
    path = write(
        tmp_path / "m.tflite", [Builtin.ADD], [subgraph(tensors, [add(0, 0, 1), add(1, 0, 2), add(2, 1, 3)], [0], [3])]
    )
    graph = read_tflite(path)
    assert list(graph.tensors) == ["x", "x#1", "#2", "x#3"]
    parts = cut(graph, [[op.name] for op in graph.ops])
    assert [[one.name for one in part.inputs] for part in parts] == [["x"], ["x#1", "x"], ["#2", "x#1"]]
    # The file's own names cannot be told apart by an executor, so only parts are run here.
    from runtimes.executors.tflite import TfliteExecutor

    values = {"x": np.array([1, 2], np.float32)}
    for part in parts:
        (values[part.outputs[0].name],) = TfliteExecutor(part.blob, 1, {}).run(
            {one.name: values[one.name] for one in part.inputs}, [part.outputs[0].name]
        )
    np.testing.assert_array_equal(values["x#3"], [5, 10])


@pytest.fixture
def branching(tmp_path):
    """x -> doubled -> IF(flag): doubled + doubled, or doubled + x; the else branch is subgraph 2, used alone."""
    body_tensors = [tensor("l", (2,)), tensor("r", (2,)), tensor("s", (2,)), tensor("one", (2,), buffer=1)]
    then_body = subgraph(body_tensors, [add(0, 0, 2)], [0, 1], [2])
    else_body = subgraph(body_tensors, [add(1, 3, 2)], [0, 1], [2])
    unused = subgraph(body_tensors, [add(0, 1, 2)], [0, 1], [2])
    tensors = [tensor("flag", (1,), Type.BOOL), tensor("x", (2,)), tensor("doubled", (2,)), tensor("y", (2,))]
    branch = schema.IfOptionsT(thenSubgraphIndex=3, elseSubgraphIndex=2)
    main = subgraph(tensors, [add(1, 1, 2), operator(1, [0, 2, 1], [3], branch, Options.IfOptions)], [0, 1], [2, 3])
    weights = [np.array([10, 20], np.float32)]
    return write(tmp_path / "if.tflite", [Builtin.ADD, Builtin.IF], [main, unused, else_body, then_body], weights)


def test_control_flow_moves_with_its_bodies(branching):
    graph = read_tflite(branching)
    assert [(op.name, op.inputs, op.weights_bytes) for op in graph.ops] == [
        ("add_0", ("x",), 0),
        ("if_1", ("flag", "doubled", "x"), 8),
    ]
    first, second = assert_same_bits(graph, [["add_0"], ["if_1"]], seed=0, runs=4)
    assert len(decode(first.blob).subgraphs) == 1
    bodies = decode(second.blob)
    assert len(bodies.subgraphs) == 3
    assert bodies.subgraphs[0].operators[0].builtinOptions.thenSubgraphIndex == 1


def test_state_stays_the_same_over_inferences():
    graph = read_tflite(DATA / "wake_word.tflite")
    assert len(graph.ops) > 1
    assert [op.name for op in graph.ops if "CALL_ONCE" in op.type] == ["call_once_0"]
    assert_same_bits(graph, [[op.name] for op in graph.ops], seed=5, runs=12)


def test_an_output_that_is_also_read_inside_is_kept(branching):
    graph = read_tflite(branching)
    (part,) = assert_same_bits(graph, [["add_0", "if_1"]], seed=2)
    assert [one.name for one in part.outputs] == ["doubled", "y"]


def test_a_file_that_changed_is_refused(branching):
    graph = read_tflite(branching)
    branching.write_bytes((DATA / "micro_speech.tflite").read_bytes())
    with pytest.raises(ProblemError, match="changed since it was read"):
        cut(graph, [["add_0", "if_1"]])


def test_weights_behind_the_flatbuffer_are_found(tmp_path):
    weights = np.array([3, 4], np.float32)
    made = subgraph([tensor("x", (2,)), tensor("w", (2,), buffer=1), tensor("y", (2,))], [add(0, 1, 2)], [0], [2])
    path = write(tmp_path / "m.tflite", [Builtin.ADD], [made], [weights])
    inside = read_tflite(path)
    whole = decode(path.read_bytes())
    whole.buffers[1] = schema.BufferT(offset=4096, size=8)
    outside_path = tmp_path / "outside.tflite"
    outside_path.write_bytes(pack(whole).ljust(4096, b"\0") + weights.tobytes())
    outside = read_tflite(outside_path)
    assert outside.ops[0].weights_bytes == inside.ops[0].weights_bytes == 8
    assert cut(outside, [["add_0"]])[0].blob == cut(inside, [["add_0"]])[0].blob
    outside_path.write_bytes(outside_path.read_bytes()[:-1])
    with pytest.raises(ProblemError, match="buffer 1 is at bytes 4096 to 4104, the file has 4103"):
        read_tflite(outside_path)
