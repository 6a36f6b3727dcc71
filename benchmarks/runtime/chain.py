"""A chain of three agents against its parts alone, and branching plans with a join against chains of equal bytes."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks.runtime.bare import bare_chain
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
_TIMEOUT_S = 30.0
DEVICES = ("a", "b", "c")


def _relu(device: str, given: str, made: str) -> Step:
    return Step(device=device, nodes=(("Relu", (given,), (made,)),), inputs=(given,), outputs=(made,))


CHAIN = (_relu("a", "x", "p"), _relu("b", "p", "q"), _relu("c", "q", "y"))
_SPLIT = ("Split", ("x",), ("l", "r"))
_SIDES = (("Relu", ("l",), ("u",)), ("Relu", ("r",), ("v",)))
_JOIN = ("Add", ("u", "v"), ("y",))
BRANCHES = {
    # Both send the two halves of x from a to b, where they are added; the branch sends each as soon as it is there.
    "joins at b": (
        (
            Step(device="a", nodes=(_SPLIT,), inputs=("x",), outputs=("l", "r")),
            Step(device="b", nodes=(_SIDES[0],), inputs=("l",), outputs=("u",)),
            Step(device="a", nodes=(_SIDES[1],), inputs=("r",), outputs=("v",)),
            Step(device="b", nodes=(_JOIN,), inputs=("u", "v"), outputs=("y",)),
        ),
        (
            Step(device="a", nodes=(_SPLIT, _SIDES[1]), inputs=("x",), outputs=("l", "v")),
            Step(device="b", nodes=(_SIDES[0], _JOIN), inputs=("l", "v"), outputs=("y",)),
        ),
    ),
    # Both send one half to b and back to a; the branch works on the other half meanwhile, the line before.
    "joins at a": (
        (
            Step(device="a", nodes=(_SPLIT,), inputs=("x",), outputs=("l", "r")),
            Step(device="b", nodes=(_SIDES[0],), inputs=("l",), outputs=("u",)),
            Step(device="a", nodes=(_SIDES[1],), inputs=("r",), outputs=("v",)),
            Step(device="a", nodes=(_JOIN,), inputs=("u", "v"), outputs=("y",)),
        ),
        (
            Step(device="a", nodes=(_SPLIT, _SIDES[1]), inputs=("x",), outputs=("l", "v")),
            Step(device="b", nodes=(_SIDES[0],), inputs=("l",), outputs=("u",)),
            Step(device="a", nodes=(_JOIN,), inputs=("u", "v"), outputs=("y",)),
        ),
    ),
}


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


def _alone(
    steps: tuple[Step, ...], elements: dict[str, int], result: str, hops: Mapping[str, Stub]
) -> Callable[[], None]:
    """Give what a plan does, part by part, one after the other.

    The client's message with its reply, each message to a server that executes nothing, and each execution in this
    process. The servers take turns, as devices do: one that is asked again and again finds its memory warm.
    """
    plan = deployment(steps, elements, source="a", sink="a", epoch=1, result=result)
    echo = _message(ECHO, elements["x"])
    messages = [
        (hops[route.to].ModelInfer, _message(FLOW, sum(elements[name] for name in route.tensors)))
        for share in plan.assignments.values()
        for route in share.routes
    ]
    tensors = {name: np.linspace(-1, 1, count, dtype=np.float32).reshape(1, -1) for name, count in elements.items()}
    executions = [
        (_session(model_of(step, elements)), step.outputs, {name: tensors[name] for name in step.inputs})
        for step in steps
    ]

    def run() -> None:
        hops["a"].ModelInfer(echo, timeout=_TIMEOUT_S)
        for send, message in messages:
            send(message, timeout=_TIMEOUT_S)
        for session, outputs, inputs in executions:
            session.run(list(outputs), inputs)

    return run


def _sinks(stack: ExitStack) -> dict[str, Stub]:
    addresses = {device: stack.enter_context(sink_server()) for device in DEVICES}
    return {device: _stub(stack, address) for device, address in addresses.items()}


def _stub(stack: ExitStack, address: str) -> Stub:
    return Stub(stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES)), INFERENCE_SERVICE)


def _asking(stub: Stub, message: Any) -> Callable[[], object]:
    return lambda: stub.ModelInfer(message, timeout=_TIMEOUT_S)


def _calls(calls: int, size_bytes: int) -> int:
    return calls if size_bytes < 1 << 20 else max(2, calls // 4)


def measure_chain(calls: int, options: tuple[str, ...]) -> list[dict[str, float]]:
    """Time a request through three agents and back to the first against its executions and hops alone.

    A request is a message with the tensor and its reply with another (client to a), three messages between the agents,
    and three executions. Beside it three bare servers that hand on: what of the rest is this machine's.
    """
    rows = []
    with ExitStack() as stack:
        hops = _sinks(stack)
        bare = _stub(stack, stack.enter_context(bare_chain(len(DEVICES), SIZES_BYTES)))
        agents = stack.enter_context(LocalAgents(DEVICES, options=options))
        chain = _stub(stack, agents.addresses["a"])
        for size_bytes in SIZES_BYTES:
            elements = dict.fromkeys("xpqy", size_bytes // 4)
            epoch = next_epoch(agents.addresses)
            deploy(deployment(CHAIN, elements, source="a", sink="a", epoch=epoch, result="y"), agents.addresses)
            message = _message(FLOW, size_bytes // 4)
            p50_s = _medians(
                {
                    "chain": _asking(chain, message),
                    "parts": _alone(CHAIN, elements, "y", hops),
                    "bare": _asking(bare, message),
                },
                _calls(calls, size_bytes),
            )
            ratios = {"ratio": p50_s["chain"] / p50_s["parts"], "bare ratio": p50_s["bare"] / p50_s["parts"]}
            rows.append({"bytes": size_bytes, **p50_s, **ratios})
    return rows


def measure_branch(calls: int, options: tuple[str, ...]) -> list[dict[str, Any]]:
    """Time plans with a branch and a join on two devices against lines that send the same bytes.

    Beside the times those of their parts alone: a branch has executions more than its line, and where it joins at b a
    message more.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        hops = _sinks(stack)
        agents = {name: stack.enter_context(LocalAgents(DEVICES[:2], options=options)) for name in ("branch", "line")}
        stubs = {name: _stub(stack, running.addresses["a"]) for name, running in agents.items()}
        for size_bytes in SIZES_BYTES:
            elements = {"x": size_bytes // 4} | dict.fromkeys("lruvy", size_bytes // 8)
            message = _message(FLOW, size_bytes // 4)
            for shape, pair in BRANCHES.items():
                ways = dict(zip(agents, pair, strict=True))
                for name, steps in ways.items():
                    addresses = agents[name].addresses
                    epoch = next_epoch(addresses)
                    deploy(deployment(steps, elements, source="a", sink="a", epoch=epoch, result="y"), addresses)
                p50_s = _medians(
                    {name: _asking(stub, message) for name, stub in stubs.items()}
                    | {f"{name}'s parts": _alone(steps, elements, "y", hops) for name, steps in ways.items()},
                    _calls(calls, size_bytes),
                )
                ratios = {
                    "ratio": p50_s["branch"] / p50_s["line"],
                    "parts' ratio": p50_s["branch's parts"] / p50_s["line's parts"],
                }
                rows.append({"bytes": size_bytes, "branch and line": shape, **p50_s, **ratios})
    return rows
