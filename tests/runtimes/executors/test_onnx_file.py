"""What an ONNX file is refused for before a runtime sees it, and what it must not be refused for."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from placer.demo_data import MODEL
from runtimes.errors import BadManifest
from runtimes.executors.onnx_file import MOST_NODES, check_onnx
from tests.runtimes.isolation.models import NEG, doubling_functions, graph_model

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SHELL = helper.make_node("Shell", ["x"], ["y"], domain="evil")
NEG_NODE = helper.make_node("Neg", ["x"], ["y"])


def weight(**more) -> TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, **more)


def elsewhere() -> TensorProto:
    tensor = weight(dims=[1, 4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor)


def function(name: str, *calls: onnx.NodeProto, domain: str = "ours") -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ours", 1)]
    return helper.make_function(domain, name, ["x"], ["y"], list(calls), opsets)


def call(name: str) -> onnx.NodeProto:
    return helper.make_node(name, ["x"], ["y"], domain="ours")


def nested(depth: int) -> onnx.NodeProto:
    node = NEG_NODE
    for _ in range(depth):
        branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])])
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return node


def graphs_in_graphs(levels: int) -> bytes:
    """Written field by field: protobuf itself writes and reads no more than a hundred messages within each other."""
    written = b""
    for tag in [b"\x32", b"\x2a", b"\x0a"] * levels:  # a graph in an attribute in a node
        written = tag + bytes([len(written) & 0x7F | 0x80, len(written) >> 7]) + written
    return b"\x3a" + bytes([len(written) & 0x7F | 0x80, len(written) >> 7]) + written


OURS = (("", 18), ("ours", 1))
REFUSED = {
    "a tensor in another file": (graph_model([NEG_NODE], [elsewhere()]), "'w' has its data in another file"),
    "a constant in another file": (graph_model([constant(elsewhere())]), "'w' has its data in another file"),
    "more elements than data": (
        graph_model([NEG_NODE], [weight(dims=[1 << 20, 1 << 20], raw_data=b"\0" * 16)]),
        "'w' is said to have 1099511627776 elements, in 16 bytes of data",
    ),
    "no data at all": (graph_model([NEG_NODE], [weight(dims=[4])]), "4 elements, in 0 bytes"),
    "dimensions without end": (graph_model([NEG_NODE], [weight(dims=[9] * 65)]), "has 65 dimensions; at most 64"),
    "a negative dimension": (graph_model([NEG_NODE], [weight(dims=[-1], float_data=[1.0])]), "elements, in 4 bytes"),
    "an operator of somebody else's": (
        graph_model([SHELL], opsets=(("", 18), ("evil", 1))),
        "operator evil:Shell is not allowed",
    ),
    "one in a branch": (
        graph_model(
            [
                helper.make_node(
                    "If", ["c"], ["y"],
                    then_branch=helper.make_graph([SHELL], "b", [], []),
                    else_branch=helper.make_graph([NEG_NODE], "b", [], []),
                )
            ]
        ),
        "operator evil:Shell is not allowed",
    ),
    "one in a function": (
        graph_model([call("f")], functions=[function("f", SHELL)]),
        "operator evil:Shell is not allowed",
    ),
    "functions that double": (doubling_functions(26), f"expand to {2**26} nodes; at most {MOST_NODES}"),
    "a function of itself": (
        graph_model([call("f")], functions=[function("f", call("g")), function("g", call("f"))], opsets=OURS),
        "its function ours:f calls itself",
    ),
    "a long row of functions": (
        graph_model(
            [call("f0")],
            functions=[*(function(f"f{i}", call(f"f{i + 1}")) for i in range(99)), function("f99", NEG_NODE)],
        ),
        "call each other more than 32 deep",
    ),
    "graphs in graphs": (graphs_in_graphs(40), "nested more than 32 deep"),
    "training": (
        onnx.ModelProto(ir_version=9, training_info=[onnx.TrainingInfoProto()]).SerializeToString(),
        "training information",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_at_once_with_its_reason(what):
    model, says = REFUSED[what]
    started = time.process_time()
    with pytest.raises(BadManifest, match=says):
        check_onnx(model)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("model", [*sorted(LIGHT.glob("*.onnx")), MODEL], ids=lambda path: path.stem)
def test_real_models_pass(model):
    check_onnx(model.read_bytes())


@pytest.mark.parametrize(
    "model",
    [
        NEG,
        graph_model([nested(5)]),
        doubling_functions(8),
        # An empty tensor, typed values in all their fields, and strings, one of them empty.
        graph_model([NEG_NODE], [
            helper.make_tensor("none", TensorProto.FLOAT, [0, 4], []),
            helper.make_tensor("halves", TensorProto.FLOAT16, [3], [1.0, 2.0, 3.0]),
            helper.make_tensor("nibbles", TensorProto.INT4, [5], [1, 2, 3, 4, 5]),
            helper.make_tensor("longs", TensorProto.INT64, [3], [0, -1, 2**60]),
            helper.make_tensor("words", TensorProto.STRING, [2], [b"", b"x"]),
        ]),
    ],
)  # fmt: skip
def test_unusual_models_pass(model):
    check_onnx(model)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_empty(noise):
    with contextlib.suppress(BadManifest):
        check_onnx(noise)


@given(st.data())
def test_a_damaged_file_is_refused_or_passes_and_nothing_else(data):
    model = bytearray(REFUSED["one in a function"][0] + NEG)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(model) - 1))
        model[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadManifest):
        check_onnx(bytes(model[: data.draw(st.integers(0, len(model)))]))
