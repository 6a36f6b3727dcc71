"""Stages joined to one graph: names, shares, conditions, and what does not fit."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from placer.errors import ProblemError
from placer.models.cut import cut
from profiles import Stage, When
from tests.placer.stages import STAGES, joined

replace = msgspec.structs.replace
SHRINK, GATE, NET = STAGES


def test_ops_bear_their_stage_and_a_condition_stands_before_what_it_lets_run(tmp_path):
    graph = joined(tmp_path)
    assert [op.name for op in graph.ops] == [
        "shrink/pool", "shrink/turn", "gate/mean_0", "when net/x", "net/conv", "net/relu", "net/mean",
    ]  # fmt: skip
    assert [t.name for t in graph.inputs] == ["frame"]
    assert [t.name for t in graph.outputs] == ["net/y"]
    assert {stage: model.format for stage, model in graph.stages.items()} == {
        "shrink": "onnx", "gate": "tflite", "net": "onnx",
    }  # fmt: skip
    # One tensor under its maker's name, whatever its reader calls it; the source's data by the name they are read by.
    assert [op.name for op in graph.consumers("shrink/small")] == ["gate/mean_0"]
    assert [op.name for op in graph.consumers("frame")] == ["shrink/pool", "when net/x"]
    assert graph.tensor_of("gate", "small") == "shrink/small"
    assert graph.op_in_model("net/conv") == "conv"
    # The batch of the net follows from what it reads.
    assert graph.tensors["net/y"].shape == (1, 2)


def test_a_condition_makes_a_copy_of_what_it_carries(tmp_path):
    graph = joined(tmp_path)
    (condition,) = graph.conditions.values()
    assert (condition.tests, condition.tested, condition.carries, condition.makes) == (
        "gate/score", "gate", "frame", "net/x",
    )  # fmt: skip
    op = graph.producer("net/x")
    assert (op.name, op.inputs, op.macs, op.weights_bytes) == ("when net/x", ("gate/score", "frame"), 0, 0)
    made, carried = graph.tensors["net/x"], graph.tensors["frame"]
    assert (made.shape, made.dtype, made.bytes) == (carried.shape, carried.dtype, carried.bytes)


def test_shares_multiply_along_conditions_and_the_smallest_goes_on_from_a_join(tmp_path):
    again = Stage(
        name="again",
        model="net.onnx",
        reads={"x": "frame"},
        when=When(tensor="net/y", element=1, at_most=3.0, share=0.5),
    )
    beside = Stage(name="beside", model="gate.tflite", reads={"small": "shrink/small"})
    graph = joined(tmp_path, (*STAGES, again, beside), ("again/y", "beside/score", "gate/score"))
    assert {op: share for op, share in graph.share.items() if op.endswith(("/x", "/conv", "/mean_0"))} == {
        # Every picture is sent to where the number of the net is, and then goes on with an eighth of them.
        "gate/mean_0": 1.0, "when net/x": 1.0, "net/conv": 0.25, "when again/x": 1.0, "again/conv": 0.125,
        "beside/mean_0": 1.0,
    }  # fmt: skip
    assert {t.name: graph.made[t.name] for t in graph.outputs} == {
        "again/y": 0.125, "beside/score": 1.0, "gate/score": 1.0,
    }  # fmt: skip
    assert graph.made["frame"] == 1.0


def test_each_input_of_a_stage_has_the_share_of_its_own_data(tmp_path):
    both = Stage(
        name="both",
        model="both.onnx",
        reads={"a": "frame", "b": "net/y"},
        when=When(tensor="gate/score", at_least=0.7, share=0.5),
    )
    nodes = [
        helper.make_node("ReduceMean", ["a"], ["l"], "left", keepdims=0),
        helper.make_node("Add", ["l", "b"], ["s"], "join"),
        helper.make_node("Neg", ["s"], ["t"], "after"),
    ]
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("a", (1, 3, 8, 8)), ("b", (1, 2)), ("t", (1, 2)))
    ]
    graph = helper.make_graph(nodes, "g", infos[:2], infos[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "both.onnx")
    graph = joined(tmp_path, (*STAGES, both, Stage(name="plain", model="both.onnx", reads=both.reads)))
    assert (graph.share["when both/a"], graph.made["both/a"]) == (1.0, 0.5)
    assert (graph.share["when both/b"], graph.made["both/b"]) == (1.0, 0.125)
    # An op that joins them waits for the seldom one; what it reads is sent as often as it is made.
    for stage, often, seldom in (("both", 0.5, 0.125), ("plain", 1.0, 0.25)):
        assert graph.share[f"{stage}/left"] == graph.made[f"{stage}/l"] == often
        assert (graph.share[f"{stage}/join"], graph.made[f"{stage}/s"]) == (often, seldom)
        assert graph.share[f"{stage}/after"] == graph.made[f"{stage}/t"] == seldom


def test_outputs_are_what_no_stage_takes_in_unless_they_are_named(tmp_path):
    assert [t.name for t in joined(tmp_path).outputs] == ["net/y"]
    named = joined(tmp_path, outputs=("gate/score", "net/y"))
    assert [t.name for t in named.outputs] == ["gate/score", "net/y"]


def test_what_leads_to_no_wanted_output_is_left_out_and_the_rest_is_cut_and_runs(tmp_path):
    nodes = [
        helper.make_node("Neg", ["x"], ["c"], "first"),
        helper.make_node("Abs", ["c"], ["y"], "wanted"),
        helper.make_node("Transpose", ["c"], ["z"], "turn", perm=[1, 0]),
        helper.make_node("Sqrt", ["z"], ["r"], "root"),
    ]
    shapes = {"x": (2, 3), "y": (2, 3), "z": (3, 2), "r": (3, 2)}
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    made = helper.make_graph(nodes, "g", infos[:1], infos[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx")
    two = Stage(name="two", model="two.onnx", reads={"x": "frame"})
    graph = joined(tmp_path, (two,), ("two/y",))
    assert [op.name for op in graph.ops] == ["two/first", "two/wanted"]
    assert set(graph.tensors) == {"frame", "two/c", "two/y"}
    first, second = cut(graph.stages["two"], [["first"], ["wanted"]])
    value = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    (c,) = onnxruntime.InferenceSession(first.blob).run(None, {"x": value})
    (y,) = onnxruntime.InferenceSession(second.blob).run(None, {"c": c})
    np.testing.assert_array_equal(y, np.abs(value))
    plain = joined(tmp_path, (replace(two, reads={}),), ("two/y",))
    assert plain.plain
    assert ([op.name for op in plain.ops], [t.name for t in plain.outputs]) == ([o.name for o in graph.ops], ["two/y"])
    with pytest.raises(ProblemError, match=r"^outputs\[0\]: .*two.onnx has no output 'yy'; did you mean 'y'\?"):
        joined(tmp_path, (replace(two, reads={}),), ("two/yy",))
    # What another stage reads is wanted, and so is all where the flow names nothing.
    reader = Stage(name="reader", model="neg.onnx", reads={"x": "two/z"})
    assert [op.name for op in joined(tmp_path, (two,)).ops] == ["two/first", "two/wanted", "two/turn", "two/root"]
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"], "neg")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 2))],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, (3, 2))],
    )  # fmt: skip
    onnx.save(
        helper.make_model(other, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "neg.onnx"
    )
    graph = joined(tmp_path, (two, reader), ("two/y", "reader/n"))
    assert [op.name for op in graph.ops] == ["two/first", "two/wanted", "two/turn", "reader/neg"]


def test_a_plain_flow_keeps_its_model_s_names_on_the_wire(tmp_path):
    plain = joined(tmp_path, (Stage(name="net", model="net.onnx", inputs={"x": (2, 3, 8, 8)}),))
    assert [t.name for t in plain.inputs] == ["net/x"]
    assert plain.wire_name("net/x") == "x"
    assert plain.tensors["net/y"].shape == (2, 2)
    assert joined(tmp_path).wire_name("net/y") == "net/y"


@pytest.mark.parametrize(
    ("stages", "outputs", "message"),
    [
        (
            (replace(SHRINK, reads={"pictur": "frame"}), GATE, NET),
            (),
            r"^stages\[0\].reads: .*thumbnail.onnx has no input 'pictur'; did you mean 'picture'\?",
        ),
        (
            (SHRINK, replace(GATE, reads={"small": "shrink/smal"}), NET),
            (),
            r"^stages\[1\].reads.small: .*thumbnail.onnx has no output 'smal'; did you mean 'small'\?",
        ),
        (
            (SHRINK, GATE, replace(NET, when=When(tensor="gate/scor", at_least=0.5, share=0.5))),
            (),
            r"^stages\[2\].when.tensor: .*gate.tflite has no output 'scor'; did you mean 'score'\?",
        ),
        (
            (SHRINK, GATE, replace(NET, when=When(tensor="gate/score", element=1, at_least=0.5, share=0.5))),
            (),
            r"^stages\[2\].when.element: 1 is beyond 'gate/score', which has 1 numbers",
        ),
        (
            (SHRINK, GATE, replace(NET, when=When(tensor="shrink/small", at_least=0.5, share=0.5))),
            (),
            r"^stages\[2\].when.tensor: 'shrink/small' has 48 numbers, shape \[1, 4, 4, 3\]; say which with `element`",
        ),
        (
            (SHRINK, replace(GATE, reads={"small": "frame"}), NET),
            (),
            r"^stages\[1\].model, which reads {small: frame}: .*\[1, 3, 8, 8\]",
        ),
        ((SHRINK, GATE, NET), ("net/z",), r"^outputs\[0\]: .*net.onnx has no output 'z'"),
        (
            (SHRINK, GATE, replace(NET, inputs={"x": (4, 3, 8, 8)})),
            (),
            r"^stages\[2\].reads.x: 'frame' is float32 \[1, 3, 8, 8\], but the model takes float32 \[4, 3, 8, 8\]",
        ),
        (
            (SHRINK, replace(GATE, model="none.tflite"), NET),
            (),
            r"^stages\[1\].model, which reads {small: shrink.small}: .*none.tflite.*No such file",
        ),
        (
            (SHRINK, replace(NET, when=When(tensor="shrink/small", element=0, at_least=0, share=1))),
            ("shrink/small", "net/y"),
            None,
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, stages, outputs, message):
    if message is None:
        assert joined(tmp_path, stages, outputs)
        return
    with pytest.raises(ProblemError, match=message):
        joined(tmp_path, stages, outputs)


def test_an_input_that_nothing_feeds_is_named(tmp_path):
    two = Stage(name="two", model="two.onnx", reads={"a": "frame"})
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 8, 8)) for n in ("a", "b", "s")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["s"])], "g", infos[:2], infos[2:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "two.onnx"
    )
    with pytest.raises(ProblemError, match=r"^stages\[0\].reads: nothing is read for input 'b'"):
        joined(tmp_path, (two,))
    with pytest.raises(ProblemError, match="'frame' is read by two inputs of one model"):
        joined(tmp_path, (replace(two, reads={"a": "frame", "b": "frame"}),))


def test_what_a_stage_takes_in_for_nothing_is_neither_made_nor_waited_for(tmp_path):
    nodes = [helper.make_node("Neg", ["a"], ["c"], "wanted"), helper.make_node("Abs", ["b"], ["d"], "idle")]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 2)) for n in "abcd"]
    made = helper.make_graph(nodes, "g", infos[:2], infos[2:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx")
    first = Stage(name="first", model="two.onnx", reads={"a": "one", "b": "two"})
    last = Stage(
        name="last",
        model="two.onnx",
        reads={"a": "first/c", "b": "first/d"},
        when=When(tensor="gate/score", at_least=0.5, share=0.5),
    )
    graph = joined(tmp_path, (*STAGES, first, last), ("last/c", "net/y"))
    assert [name for name in graph.conditions if name.startswith("when last")] == ["when last/a"]
    assert {op for op in graph.share if op.startswith(("first/", "last/"))} == {"first/wanted", "last/wanted"}
    # Every op leads to a sink; the data are the client's still.
    assert all(graph.consumers(t) or t in {o.name for o in graph.outputs} for op in graph.ops for t in op.outputs)
    assert [t.name for t in graph.inputs] == ["frame", "one", "two"]
    # Wanted, both are there.
    graph = joined(tmp_path, (*STAGES, first, last), ("last/c", "last/d", "net/y"))
    assert [name for name in graph.conditions if name.startswith("when last")] == ["when last/a", "when last/b"]
