import dataclasses

import networkx as nx
import pytest

from placer.errors import ProblemError
from placer.models.graph import ModelGraph, Op, Tensor


def op(name, inputs, outputs, **changes):
    values = {"type": "Relu", "macs": 0, "weights_bytes": 0, "weights_id": "", "workspace_bytes": 0}
    return Op(name=name, inputs=inputs, outputs=outputs, **(values | changes))


def graph(ops, inputs=("x",), outputs=("y",), tensors=("x", "a", "b", "y")):
    made = {name: Tensor.dense(name, (2, 3), "float32") for name in tensors}
    return ModelGraph(
        name="g",
        format="onnx",
        path="g.onnx",
        sha256="0",
        numeric="fp32",
        inputs=tuple(made[name] for name in inputs),
        outputs=tuple(made[name] for name in outputs),
        ops=tuple(ops),
        tensors=made,
    )


DIAMOND = [op("1", ("x",), ("a",)), op("2", ("a",), ("b",), macs=5), op("3", ("a", "b"), ("y",))]


def test_knows_who_makes_and_who_reads_a_tensor():
    model = graph(DIAMOND)
    assert model.producer("x") is None
    assert model.producer("b").name == "2"
    assert [reader.name for reader in model.consumers("a")] == ["2", "3"]
    assert model.consumers("y") == ()
    assert model.macs == 5


def test_digraph_has_ops_as_nodes_and_tensors_on_edges_and_is_frozen():
    digraph = graph(DIAMOND).digraph
    assert digraph.nodes["2"]["op"].macs == 5
    assert [tensor.name for tensor in digraph.edges["1", "3"]["tensors"]] == ["a"]
    assert nx.is_directed_acyclic_graph(digraph)
    with pytest.raises(nx.NetworkXError):
        digraph.add_node("4")


def test_cannot_be_changed():
    model = graph(DIAMOND)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "h"
    with pytest.raises(TypeError):
        model.tensors["z"] = model.tensors["x"]


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([], "no ops"),
        ([op("1", ("x",), ("y",)), op("1", ("y",), ("a",))], "two ops are named '1'"),
        ([op("1", ("a",), ("y",)), op("2", ("x",), ("a",))], "reads 'a' before"),
        ([op("1", ("x",), ("y",)), op("2", ("x",), ("y",))], "'y' is made twice"),
        ([op("1", ("x",), ("x",))], "'x' is made twice"),
        ([op("1", ("x",), ("a",))], "'y' has no producer"),
    ],
)
def test_refuses_what_is_no_graph(ops, message):
    with pytest.raises(ProblemError, match=message):
        graph(ops)


def test_tensor_bytes_follow_from_shape_and_dtype():
    assert Tensor.dense("t", (1, 3, 4), "float16").bytes == 24
    assert Tensor.dense("scalar", (), "int64").bytes == 8
    assert Tensor.dense("nothing", (0, 4), "int8").bytes == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tensor.dense("t", (1,), "string"), "agents cannot exchange"),
        (lambda: Tensor.dense("t", (-1, 2), "int8"), "negative dimension"),
        (lambda: Tensor(name="t", shape=(2,), dtype="int8", bytes=3), "3 bytes, but int8"),
        (lambda: op("", ("x",), ("y",)), "no name"),
        (lambda: op("1", ("x",), ("y",), macs=-1), "macs is negative"),
    ],
)
def test_refuses_impossible_tensors_and_ops(make, message):
    with pytest.raises(ProblemError, match=message):
        make()
