"""Small plans for the tests: one ONNX operator per segment, routes worked out from who makes and who needs what."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from placer.deployment.deployment import Deployment
from runtimes.assignment import Assignment, Fallback
from runtimes.specs import ConditionSpec, FlowSpec, Route, SegmentSpec, TensorSpec

SHAPE = (1, 4)


@dataclass(frozen=True, kw_only=True)
class Step:
    name: str
    device: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    pad_to_s: float | None = None
    cache_bytes: int | None = None


def operator_model(op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], shape=SHAPE, dtype="FP32") -> bytes:
    element = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32}[dtype]

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, element, list(shape))

    attributes = {"axis": 1} if op == "Split" else {}
    if op == "Split":
        attributes["num_outputs"] = len(outputs)
        out_shape = [shape[0], shape[1] // len(outputs)]
        made = [helper.make_tensor_value_info(name, element, out_shape) for name in outputs]
    else:
        made = [info(name) for name in outputs]
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), list(outputs), **attributes)], "g", [info(name) for name in inputs], made
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tensor(name: str, shape=SHAPE, dtype="FP32") -> TensorSpec:
    return TensorSpec(name=name, port=name, dtype=dtype, shape=tuple(shape))


def plan(
    steps: list[Step],
    *,
    outputs: tuple[str, ...],
    source: str,
    sink: str,
    epoch: int,
    flow: str = "flow",
    name: str = "plan",
    inputs: tuple[str, ...] = ("x",),
    shape=SHAPE,
    deadline_s: float | None = None,
    conditions: tuple[tuple[str, ConditionSpec], ...] = (),
    sources: dict[str, str] | None = None,
    sinks: dict[str, str] | None = None,
) -> Deployment:
    sources, sinks = sources or {}, sinks or {}
    ends = [*sources.values(), *sinks.values(), sink]
    devices = list(dict.fromkeys([source, *(s.device for s in steps), *(d for d, _ in conditions), *ends]))
    made: dict[str, tuple[str, str]] = {t: ("", sources.get(t, source)) for t in inputs}
    made.update((t, (s.name, s.device)) for s in steps for t in s.outputs)
    made.update((c.makes.name, (c.name, device)) for device, c in conditions)
    needed: dict[str, set[str]] = {}
    for device, condition in conditions:
        needed.setdefault(device, set()).update({condition.tests.name, condition.carries.name})
    for step in steps:
        needed.setdefault(step.device, set()).update(step.inputs)
    for t in outputs:
        needed.setdefault(sinks.get(t, sink), set()).add(t)
    carried: dict[tuple[str, str, str], list[str]] = {}
    for device, names in needed.items():
        for t in sorted(names):
            after, at = made[t]
            if at != device:
                carried.setdefault((at, after, device), []).append(t)
    spec = FlowSpec(
        name=flow,
        source=source,
        sink=sink,
        devices=tuple(devices),
        hops=tuple(dict.fromkeys((at, to) for at, _, to in carried)),
        deadline_s=deadline_s,
        inputs=tuple(tensor(t, shape) for t in inputs),
        outputs=tuple(tensor(t, shape) for t in outputs),
        sources=sources,
        sinks=sinks,
    )
    models = {s.name: operator_model(s.op, s.inputs, s.outputs, shape) for s in steps}
    assignments = {
        device: Assignment(
            plan=name,
            epoch=epoch,
            device=device,
            flows=(spec,),
            peers={},
            segments=tuple(
                SegmentSpec(
                    name=s.name,
                    flow=flow,
                    runtime="onnx",
                    blob=hashlib.sha256(models[s.name]).hexdigest(),
                    blob_bytes=len(models[s.name]),
                    inputs=tuple(tensor(t, shape) for t in s.inputs),
                    outputs=tuple(tensor(t, shape) for t in s.outputs),
                    threads=1,
                    pad_to_s=s.pad_to_s,
                    cache_bytes=s.cache_bytes,
                )
                for s in steps
                if s.device == device
            ),
            conditions=tuple(c for at, c in conditions if at == device),
            routes=tuple(
                Route(flow=flow, after=after, to=to, tensors=tuple(names))
                for (at, after, to), names in carried.items()
                if at == device
            ),
            max_message_bytes=1 << 20,
        )
        for device in devices
    }
    blobs = {hashlib.sha256(m).hexdigest(): m for m in models.values()}
    return Deployment(plan=name, epoch=epoch, assignments=assignments, blobs=blobs)


def sample(seed: int = 0, shape=SHAPE) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


BRANCHING = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("b",)),
    Step(name="flow/2", device="cloud", op="Sin", inputs=("a",), outputs=("c",)),
    Step(name="flow/3", device="cloud", op="Sub", inputs=("b", "c"), outputs=("y",)),
]


def branching_result(x: np.ndarray) -> np.ndarray:
    a = np.maximum(x, 0)
    return -a - np.sin(a)


def failing_on_ones(reads: str = "a", makes: str = "y") -> bytes:
    """Gather by the input itself: an index of 1 is outside its only row."""
    nodes = [
        helper.make_node("Cast", [reads], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["row", "i"], [makes], axis=0),
    ]
    row = helper.make_tensor("row", TensorProto.FLOAT, [1], [0.0])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in (reads, makes)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [row])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def endless() -> bytes:
    """A loop of 2^62 turns in some two hundred bytes."""
    float_, bool_, int_ = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", int_, []),
            helper.make_tensor_value_info("go", bool_, []),
            helper.make_tensor_value_info("v", float_, [1, 4]),
        ],
        [helper.make_tensor_value_info("go_on", bool_, []), helper.make_tensor_value_info("w", float_, [1, 4])],
    )
    # Zeros, which warm a segment up, end at once: the first number's sign says whether to begin.
    nodes = [
        helper.make_node("ReduceSum", ["a"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["begin"], to=bool_),
        helper.make_node("Loop", ["turns", "begin", "a"], ["y"], body=body),
    ]
    turns = helper.make_tensor("turns", int_, [], [2**62])
    ends = [helper.make_tensor_value_info(n, float_, [1, 4]) for n in ("a", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [turns])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def with_fallbacks(
    base: Deployment, fallbacks: dict[tuple[str, ...], Deployment | str], *, warm: bool = True
) -> Deployment:
    """Give a plan fallbacks by what is lost; a text says why its flow cannot be served then."""
    given = {
        device: tuple(
            Fallback(lost=lost, unserved={"flow": other})
            if isinstance(other, str)
            else Fallback(lost=lost, assignment=other.assignments.get(device), warm=warm)
            for lost, other in fallbacks.items()
        )
        for device in dict.fromkeys(
            [*base.assignments, *(d for o in fallbacks.values() if not isinstance(o, str) for d in o.assignments)]
        )
    }
    nothing = {"flows": (), "segments": (), "routes": (), "peers": {}, "max_message_bytes": 1 << 20}
    return Deployment(
        plan=base.plan,
        epoch=base.epoch,
        assignments={
            device: msgspec.structs.replace(
                base.assignments.get(device) or Assignment(plan=base.plan, epoch=base.epoch, device=device, **nothing),
                fallbacks=of_device,
            )
            for device, of_device in given.items()
        },
        blobs={k: v for d in (base, *fallbacks.values()) if not isinstance(d, str) for k, v in d.blobs.items()},
    )


def with_model(deployment: Deployment, device: str, model: bytes) -> Deployment:
    """Give a device's only segment another model."""
    sha256 = hashlib.sha256(model).hexdigest()
    share = deployment.assignments[device]
    segment = msgspec.structs.replace(share.segments[0], blob=sha256, blob_bytes=len(model))
    share = msgspec.structs.replace(share, segments=(segment,))
    return dataclasses.replace(
        deployment, assignments={**deployment.assignments, device: share}, blobs={**deployment.blobs, sha256: model}
    )
