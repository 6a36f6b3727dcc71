"""A chain of three agents against its parts alone, and a branching plan with a join against a chain of equal bytes."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks.runtime.plans import FLOW, MAX_MESSAGE_BYTES, Step, deployment, model_of
from benchmarks.runtime.sink import ECHO, sink_server
from placer.deployment.deploy import deploy, next_epoch
from runtimes.channel import open_channel
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIZES_BYTES = (602_112, 8_388_608)
_WARM_UP = 5
DEVICES = ("a", "b", "c")


def _relu(device: str, given: str, made: str) -> Step:
    return Step(device=device, nodes=(("Relu", (given,), (made,)),), inputs=(given,), outputs=(made,))


CHAIN = (_relu("a", "x", "p"), _relu("b", "p", "q"), _relu("c", "q", "y"))
# Both send the two halves of x from a to b, where they are added; the branch sends each as soon as it is there.
_SPLIT = ("Split", ("x",), ("l", "r"))
_SIDES = (("Relu", ("l",), ("u",)), ("Relu", ("r",), ("v",)))
_JOIN = ("Add", ("u", "v"), ("y",))
BRANCH = (
    Step(device="a", nodes=(_SPLIT,), inputs=("x",), outputs=("l", "r")),
    Step(device="b", nodes=(_SIDES[0],), inputs=("l",), outputs=("u",)),
    Step(device="a", nodes=(_SIDES[1],), inputs=("r",), outputs=("v",)),
    Step(device="b", nodes=(_JOIN,), inputs=("u", "v"), outputs=("y",)),
)
LINE = (
    Step(device="a", nodes=(_SPLIT, _SIDES[1]), inputs=("x",), outputs=("l", "v")),
    Step(device="b", nodes=(_SIDES[0], _JOIN), inputs=("l", "v"), outputs=("y",)),
)


def _message(model: str, elements: int) -> Any:
    x = np.linspace(-1, 1, elements, dtype=np.float32)
    message = oip.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=(1, elements))
    return message


def _medians(targets: Mapping[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """Time all targets, one call of each in turn, so that what disturbs one disturbs all alike."""
    measured: dict[str, list[float]] = {name: [] for name in targets}
    for turn in range(calls + _WARM_UP):
        for name, call in targets.items():
            started = time.perf_counter()
            call()
            if turn >= _WARM_UP:
                measured[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in measured.items()}


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def measure_chain(calls: int, options: tuple[str, ...]) -> list[dict[str, float]]:
    """Time a request through three agents and back to the first against its executions and hops alone.

    A request is a message with the tensor and its reply with another (client to a), three messages between the agents,
    and three executions. The parts alone are the same: hops to three servers that execute nothing, in turn, since a
    server that is asked again and again finds its memory warm, and three executions in this process.
    """
    rows = []
    with ExitStack() as stack:
        sinks = [stack.enter_context(sink_server()) for _ in DEVICES]
        channels = [stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES)) for address in sinks]
        hops = [Stub(channel, INFERENCE_SERVICE) for channel in channels]
        agents = stack.enter_context(LocalAgents(DEVICES, options=options))
        channel = stack.enter_context(open_channel(agents.addresses["a"], MAX_MESSAGE_BYTES))
        asked = Stub(channel, INFERENCE_SERVICE).ModelInfer
        for size_bytes in SIZES_BYTES:
            elements = dict.fromkeys("xpqy", size_bytes // 4)
            epoch = next_epoch(agents.addresses)
            deploy(deployment(CHAIN, elements, source="a", sink="a", epoch=epoch, result="y"), agents.addresses)
            sessions = [_session(model_of(step, elements)) for step in CHAIN]
            x = np.linspace(-1, 1, size_bytes // 4, dtype=np.float32).reshape(1, -1)
            message, echo = _message(FLOW, size_bytes // 4), _message(ECHO, size_bytes // 4)

            def parts(sessions: Any = sessions, x: Any = x, message: Any = message, echo: Any = echo) -> None:
                hops[0].ModelInfer(echo, timeout=30)
                for hop in (hops[1], hops[2], hops[0]):
                    hop.ModelInfer(message, timeout=30)
                for session, step in zip(sessions, CHAIN, strict=True):
                    session.run(list(step.outputs), {step.inputs[0]: x})

            p50_s = _medians(
                {"chain": lambda message=message: asked(message, timeout=30), "parts": parts},
                calls if size_bytes < 1 << 20 else max(2, calls // 4),
            )
            rows.append({"bytes": size_bytes, **p50_s, "ratio": p50_s["chain"] / p50_s["parts"]})
    return rows


def measure_branch(calls: int, options: tuple[str, ...]) -> list[dict[str, float]]:
    """Time a plan with a branch and a join on two devices against a line that sends the same bytes at once."""
    rows = []
    with LocalAgents(DEVICES[:2], options=options) as one, LocalAgents(DEVICES[:2], options=options) as other:
        for size_bytes in SIZES_BYTES:
            elements = {"x": size_bytes // 4} | dict.fromkeys("lruvy", size_bytes // 8)
            for agents, steps in ((one, BRANCH), (other, LINE)):
                epoch = next_epoch(agents.addresses)
                deploy(deployment(steps, elements, source="a", sink="a", epoch=epoch, result="y"), agents.addresses)
            message = _message(FLOW, size_bytes // 4)
            with (
                open_channel(one.addresses["a"], MAX_MESSAGE_BYTES) as first,
                open_channel(other.addresses["a"], MAX_MESSAGE_BYTES) as second,
            ):
                branch, line = (Stub(c, INFERENCE_SERVICE).ModelInfer for c in (first, second))
                p50_s = _medians(
                    {
                        "branch": lambda branch=branch, message=message: branch(message, timeout=30),
                        "line": lambda line=line, message=message: line(message, timeout=30),
                    },
                    calls if size_bytes < 1 << 20 else max(2, calls // 4),
                )
            rows.append({"bytes": size_bytes, **p50_s, "ratio": p50_s["branch"] / p50_s["line"]})
    return rows
