"""Plans for measuring: one small ONNX model per segment, over as many devices as are named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from onnx import TensorProto, helper

from placer.deployment.deployment import Deployment
from runtimes.assignment import Assignment
from runtimes.specs import FlowSpec, Route, SegmentSpec, TensorSpec

MAX_MESSAGE_BYTES = 32 << 20
FLOW = "bench"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A segment: where it runs, its nodes as (operator, inputs, outputs), and what it reads and makes."""

    device: str
    nodes: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def model_of(step: Step, elements: dict[str, int]) -> bytes:
    """Write a segment's model; ``elements`` has the length of every tensor."""
    inputs, outputs = (
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, elements[n]]) for n in names]
        for names in (step.inputs, step.outputs)
    )
    nodes = [
        helper.make_node(op, list(given), list(made), **({"axis": 1, "num_outputs": 2} if op == "Split" else {}))
        for op, given, made in step.nodes
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def deployment(
    steps: tuple[Step, ...], elements: dict[str, int], *, source: str, sink: str, epoch: int, result: str
) -> Deployment:
    """Make a plan of these steps; its input is ``x``.

    Parameters
    ----------
    steps
        The segments, in order.
    elements
        Length of every tensor.
    source, sink
        Where ``x`` arises and where ``result`` is needed.
    epoch
        Its turn.
    result
        The flow's output.
    """
    devices = tuple(dict.fromkeys([source, *(s.device for s in steps), sink]))
    made = {"x": ("", source)} | {t: (f"{FLOW}/{i}", s.device) for i, s in enumerate(steps) for t in s.outputs}
    needed = [(s.device, t) for s in steps for t in s.inputs] + [(sink, result)]
    carried: dict[tuple[str, str, str], list[str]] = {}
    for device, name in dict.fromkeys(needed):
        after, maker = made[name]
        if maker != device:
            carried.setdefault((maker, after, device), []).append(name)
    models = [model_of(step, elements) for step in steps]
    digests = [hashlib.sha256(model).hexdigest() for model in models]
    flow = FlowSpec(
        name=FLOW, source=source, sink=sink, devices=devices, inputs=(_spec("x", elements),),
        outputs=(_spec(result, elements),),
    )  # fmt: skip
    segments = [
        (step.device, SegmentSpec(
            name=f"{FLOW}/{i}", flow=FLOW, runtime="onnx", blob=digests[i], blob_bytes=len(models[i]), threads=1,
            inputs=tuple(_spec(t, elements) for t in step.inputs),
            outputs=tuple(_spec(t, elements) for t in step.outputs),
        ))
        for i, step in enumerate(steps)
    ]  # fmt: skip
    shares = {
        device: Assignment(
            plan="bench", epoch=epoch, device=device, flows=(flow,), peers={}, max_message_bytes=MAX_MESSAGE_BYTES,
            segments=tuple(s for d, s in segments if d == device),
            routes=tuple(
                Route(flow=FLOW, after=after, to=to, tensors=tuple(names))
                for (maker, after, to), names in carried.items() if maker == device
            ),
        )
        for device in devices
    }  # fmt: skip
    return Deployment(plan="bench", epoch=epoch, assignments=shares, blobs=dict(zip(digests, models, strict=True)))


def _spec(name: str, elements: dict[str, int]) -> TensorSpec:
    return TensorSpec(name=name, port=name, dtype="FP32", shape=(1, elements[name]))
