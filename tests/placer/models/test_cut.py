import hashlib
import random

import networkx as nx
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.demo_data import IMAGE, INPUT_NAME, INPUT_SHAPE, MODEL
from placer.demo_data.png import read_png
from placer.demo_data.preprocess import preprocess
from placer.errors import ProblemError
from placer.models.cut import cut
from placer.models.onnx_run import open_session, synthetic_inputs
from placer.models.read_onnx import read_onnx

LIGHT_MODELS = ("densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet")
HEAVY_MODELS = ("bvlc_alexnet", "vgg19", "zfnet512")
BINDINGS = {"orientation": {INPUT_NAME: INPUT_SHAPE}, "shape_chain": {"x": [4, 3]}}


def random_segments(graph, seed, devices=3):
    """Give every op a random device, mostly its producer's; segments are what then runs without a break."""
    rng = random.Random(seed)
    jump = rng.choice((0.02, 0.1, 0.5))
    device, level = {}, {}
    for op in graph.ops:
        before = list(graph.digraph.predecessors(op.name))
        stays = before and rng.random() > jump
        device[op.name] = device[rng.choice(before)] if stays else rng.randrange(devices)
        level[op.name] = max((level[name] + (device[name] != device[op.name]) for name in before), default=0)
    joined = nx.Graph()
    joined.add_nodes_from(level)
    joined.add_edges_from(
        (one, two) for one, two in graph.digraph.edges if (device[one], level[one]) == (device[two], level[two])
    )
    segments = [sorted(segment) for segment in nx.connected_components(joined)]
    rng.shuffle(segments)
    return segments


def run_parts(graph, parts, feed):
    """Run parts as their inputs become known; return the model's outputs by name."""
    values, waiting = dict(feed), list(parts)
    while waiting:
        part = next(part for part in waiting if all(tensor.name in values for tensor in part.inputs))
        waiting.remove(part)
        session = open_session(part.blob, threads=1)
        assert [port.name for port in session.get_inputs()] == [tensor.name for tensor in part.inputs]
        made = session.run(None, {tensor.name: values[tensor.name] for tensor in part.inputs})
        for tensor, value in zip(part.outputs, made, strict=True):
            assert (value.shape, value.dtype.name) == (tensor.shape, tensor.dtype)
            values[tensor.name] = value
    return {tensor.name: values[tensor.name] for tensor in graph.outputs}


def assert_equal_whole(graph, segments, feed):
    with open(graph.path, "rb") as file:
        before = file.read()
    session = open_session(before, threads=1)
    parts = cut(graph, segments)
    outputs = run_parts(graph, parts, feed)
    for name, whole in zip(outputs, session.run(list(outputs), feed), strict=True):
        scale = np.max(np.abs(whole), initial=1e-30)
        assert np.max(np.abs(outputs[name].astype(float) - whole), initial=0) <= 1e-4 * scale, name
    with open(graph.path, "rb") as file:
        assert file.read() == before
    return parts


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_cut_of_a_small_model_computes_the_same(each_small, seed):
    graph = read_onnx(each_small, BINDINGS.get(each_small.stem, {}))
    assert_equal_whole(graph, random_segments(graph, seed), synthetic_inputs(graph.inputs, seed))


@pytest.mark.parametrize("seed", [69, 135, 188, 244, 6554981])
def test_a_part_with_quantized_weights_rounds_as_the_whole_model(small, seed):
    # ONNX Runtime would round the float input of the multiplication to int8 where a cut leaves one.
    graph = read_onnx(small("qdq"))
    feed = synthetic_inputs(graph.inputs, seed)
    assert_equal_whole(graph, [["x_q", "x_d"], ["m"], ["m_q"], ["y"]], feed)


@pytest.mark.parametrize("name", ["densenet121", "inception_v1", "shufflenet", "squeezenet"])
@settings(max_examples=2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_any_cut_of_a_real_graph_computes_the_same(zoo, name, seed):
    graph = read_onnx(zoo(name))
    assert_equal_whole(graph, random_segments(graph, seed), synthetic_inputs(graph.inputs, seed))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_cut_of_the_demo_computes_the_same_on_its_image(seed):
    graph = read_onnx(str(MODEL), BINDINGS["orientation"])
    feed = {INPUT_NAME: preprocess(read_png(IMAGE.read_bytes()))}
    assert_equal_whole(graph, random_segments(graph, seed), feed)


@pytest.mark.long
@pytest.mark.parametrize("name", [*LIGHT_MODELS, *HEAVY_MODELS])
def test_many_cuts_of_every_real_graph(zoo, name):
    graph = read_onnx(zoo(name))
    for seed in range(3 if name in HEAVY_MODELS else 25):
        feed = synthetic_inputs(graph.inputs, seed)
        assert_equal_whole(graph, random_segments(graph, seed, devices=2 + seed % 4), feed)


def test_parts_say_what_crosses_each_boundary(small):
    graph = read_onnx(small("constant_nodes"))
    first, second = cut(graph, [["a", "b"], ["x_again", "d", "y"]])
    assert [tensor.name for tensor in first.inputs] == ["x"]
    assert [tensor.name for tensor in first.outputs] == ["a", "b"]
    assert [tensor.name for tensor in second.inputs] == ["b", "a"]
    assert [tensor.name for tensor in second.outputs] == ["x_again", "y"]
    assert first.sha256 == hashlib.sha256(first.blob).hexdigest()


def test_an_output_that_is_also_read_inside_is_kept(small):
    graph = read_onnx(small("if_captures"))
    (part,) = cut(graph, [[op.name for op in graph.ops]])
    assert [tensor.name for tensor in part.outputs] == ["shifted", "y"]


def test_constants_follow_their_readers_and_nothing_else_does(small):
    graph = read_onnx(small("constant_nodes"))
    parts = [onnx.load_from_string(part.blob) for part in cut(graph, [["a"], ["b"], ["x_again", "d"], ["y"]])]
    kinds = [sorted(node.op_type for node in part.graph.node) for part in parts]
    assert kinds == [["Add", "Constant", "Mul"], ["Add", "Constant"], ["Add", "Constant", "Identity", "Sub"], ["Mul"]]
    shared = [onnx.load_from_string(part.blob) for part in cut(read_onnx(small("old_ir")), [["a"], ["b"], ["y"]])]
    assert [len(part.graph.initializer) for part in shared] == [1, 1, 0]


def test_parts_keep_opsets_and_functions_and_are_valid(small):
    for name in ("function", "if_captures", "loop", "qdq", "old_ir"):
        whole = onnx.load(small(name))
        graph = read_onnx(small(name))
        for part in cut(graph, [[op.name] for op in graph.ops]):
            model = onnx.load_from_string(part.blob)
            onnx.checker.check_model(model)
            assert list(model.opset_import) == list(whole.opset_import)
            assert list(model.functions) == list(whole.functions)
            assert model.ir_version == max(whole.ir_version, 4)


def test_an_input_that_is_returned_needs_no_part(small):
    graph = read_onnx(small("passed_through"))
    (part,) = cut(graph, [["a", "y"]])
    assert [tensor.name for tensor in part.inputs] == ["x"]
    assert [tensor.name for tensor in part.outputs] == ["y"]


def test_nodes_of_parts_carry_the_names_of_their_ops(small):
    graph = read_onnx(small("old_ir"))
    (part,) = cut(graph, [["a", "b", "y"]])
    assert [node.name for node in onnx.load_from_string(part.blob).graph.node] == ["a", "b", "y"]


def test_cutting_repeats(small):
    graph = read_onnx(small("if_captures"))
    segments = [["shifted"], ["y0", "y"]]
    assert cut(graph, segments) == cut(graph, segments)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([["a", "b", "x_again", "d"]], "no segment holds 1 ops, the first is 'y'"),
        ([["a", "b", "x_again", "d", "y"], ["b"]], "'b' is in segments 0 and 1"),
        ([["a", "b", "x_agin", "d", "y"]], "no op 'x_agin'; did you mean 'x_again'"),
        ([["a", "b", "x_again", "d", "y"], []], "segment 1 has no ops"),
        ([["a", "d"], ["b", "x_again", "y"]], "wait for each other in a circle"),
    ],
)
def test_segments_that_make_no_plan_are_refused(small, segments, message):
    graph = read_onnx(small("constant_nodes"))
    with pytest.raises(ProblemError, match=message):
        cut(graph, segments)


def test_a_file_that_changed_is_refused(small, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(small("old_ir").read_bytes())
    graph = read_onnx(path)
    path.write_bytes(small("constant_nodes").read_bytes())
    with pytest.raises(ProblemError, match="changed since it was read"):
        cut(graph, [["a", "b", "y"]])
