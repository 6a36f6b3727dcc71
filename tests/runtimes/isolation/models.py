"""Models that misbehave, as real files, and the sessions that hold them."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
from onnx import TensorProto, helper

from runtimes.isolation.limits import Limits
from runtimes.isolation.session import IsolatedSession
from runtimes.specs import SegmentSpec, TensorSpec
from tests.runtimes.plans import operator_model, tensor
from tests.runtimes.test_session import segment

LIMITS = Limits(memory_bytes=512 << 20, run_s=30.0)
NEG = operator_model("Neg", ("x",), ("y",))
NEG_SPEC = segment(NEG, [tensor("x")], [tensor("y")])
ONES, ZEROS = np.ones((1, 4), np.float32), np.zeros((1, 4), np.float32)


class Opened:
    """A session in a process of its own, and a way to wait until it is ready, or not."""

    def __init__(self, spec: SegmentSpec, model: bytes, limits: Limits = LIMITS, timeout_s: float = 30.0) -> None:
        changed = self._changed = threading.Condition()

        # Without us: it must not keep the session alive.
        def tell() -> None:
            with changed:
                changed.notify_all()

        self.session = IsolatedSession(
            spec, read_model=lambda: model, threads_limit=1, limits=limits, timeout_s=timeout_s, changed=tell
        )

    def run(self, x: np.ndarray, within_s: float = math.inf) -> dict[str, np.ndarray]:
        return self.session.run({self.session.spec.inputs[0].name: x}, time.monotonic() + within_s)

    def wait_until_down(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self.session.ready, 30)

    def wait_for_another(self, process_id: int | None) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.session.process_id not in (None, process_id), 30)


def graph_model(nodes, initializers=(), functions=(), opsets=(("", 18),)) -> bytes:
    """A model of float [1, 4] in ``x`` and out ``y``, out of these nodes."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], list(initializers))
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], ir_version=9, functions=list(functions)
    )
    return made.SerializeToString()


def endless_from(name: str = "x") -> tuple[SegmentSpec, bytes]:
    """A segment that never ends unless its input is zero."""
    from tests.runtimes.plans import endless

    model = endless()
    return segment(model, [TensorSpec(name=name, port="a", dtype="FP32", shape=(1, 4))], [tensor("y")]), model


def greedy() -> tuple[SegmentSpec, bytes]:
    """A segment that wants 16 GiB when its input is ones, and 4 bytes when it is zeros."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "side"], ["wide"]),
        helper.make_node("Add", ["wide", "one"], ["wider"]),
        helper.make_node("Cast", ["wider"], ["size"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["size", "pair"], ["shape"]),
        helper.make_node("Concat", ["shape", "shape"], ["square"], axis=0),
        helper.make_node("Expand", ["most", "square"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["peak"], keepdims=0),
        helper.make_node("Add", ["x", "peak"], ["y"]),
    ]
    constants = [
        helper.make_tensor("side", TensorProto.FLOAT, [], [65536.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("pair", TensorProto.INT64, [1], [1]),
    ]
    model = graph_model(nodes, constants)
    return segment(model, [tensor("x")], [tensor("y")]), model


def doubling_functions(levels: int) -> bytes:
    """Local functions, each of which calls the next one twice: 2 ** ``levels`` nodes in some kilobytes."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ours", 1)]
    functions = []
    for level in range(levels):
        last = level == levels - 1
        name, domain = ("Neg", "") if last else (f"f{level + 1}", "ours")
        calls = [helper.make_node(name, [a], [b], domain=domain) for a, b in (("x", "h"), ("h", "y"))]
        functions.append(helper.make_function("ours", f"f{level}", ["x"], ["y"], calls, opsets))
    return graph_model([helper.make_node("f0", ["x"], ["y"], domain="ours")], functions=functions,
                       opsets=(("", 18), ("ours", 1)))  # fmt: skip
