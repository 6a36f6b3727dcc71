"""The manifest that tells one device its share of a plan.

JSON, format ``placer.assignment/1.0``. Growth raises the minor version; what stands here keeps its meaning.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from runtimes.datatypes import DATATYPES
from runtimes.errors import BadManifest

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Literal["placer.assignment/1.0"] = "placer.assignment/1.0"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIMENSION = 2**31 - 1


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor of a flow, with its exact type and shape.

    Parameters
    ----------
    name
        The tensor's name, unique within its flow; the name on the wire.
    port
        The tensor's name inside the segment's model file.
    dtype
        Its datatype in the words of the Open Inference Protocol, such as ``"FP32"``.
    shape
        Its dimensions, all of them known.
    """

    name: str
    port: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the fields; a wrong one raises ``ValueError``, which msgspec gives its path."""
        _check_name("name", self.name)
        _check_name("port", self.port)
        if self.dtype not in DATATYPES:
            raise ValueError(f"dtype {self.dtype!r} is unknown; one of {', '.join(DATATYPES)}")
        for dimension in self.shape:
            if not 0 <= dimension <= _MAX_DIMENSION:
                raise ValueError(
                    f"shape {list(self.shape)} of tensor {self.name!r}: each dimension is from 0 to {_MAX_DIMENSION}"
                )

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int | None:
        """Size of the raw contents in bytes; None for BYTES, whose elements vary."""
        return _bytes_of(self.dtype, self.shape)


class SegmentSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One segment that this device runs.

    Parameters
    ----------
    name
        Unique over all flows, such as ``"inspect/0"``.
    flow
        The flow that it belongs to.
    runtime
        What executes its model file.
    blob
        SHA-256 of the model file, in lower-case hexadecimal.
    blob_bytes
        Size of the model file.
    inputs, outputs
        Its boundary tensors, each named on the wire and in the model file.
    threads
        Threads of one execution.
    pad_to_s
        Every execution is stretched to at least this time, so that a fast machine stands in for a slow one.
    power_w
        Watts above idle while it executes, as planned; None where the plan does not tell them.
    """

    name: str
    flow: str
    runtime: Literal["onnx", "tflite"]
    blob: str
    blob_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int
    pad_to_s: float | None = None
    power_w: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_name("name", self.name)
        if not _SHA256.fullmatch(self.blob):
            raise ValueError(f"blob {self.blob!r} is no SHA-256 in lower-case hexadecimal")
        if self.blob_bytes <= 0:
            raise ValueError(f"blob_bytes is {self.blob_bytes}; a model file has at least one byte")
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads is {self.threads}; it is from 1 to 1024")
        if self.pad_to_s is not None and not 0 <= self.pad_to_s <= 3600:
            raise ValueError(f"pad_to_s is {self.pad_to_s}; it is from 0 to 3600 seconds")
        _check_figure("power_w", self.power_w)
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"segment {self.name!r} has no {what}")
            _check_unique(f"{what} of segment {self.name!r}", (t.name for t in tensors))
            _check_unique(f"{what}' ports of segment {self.name!r}", (t.port for t in tensors))


class ConditionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lets a tensor go on where a number of another lies within bounds; where it does not, nothing goes on.

    Parameters
    ----------
    name
        Unique in its flow, and no segment's.
    flow
        The flow that it belongs to.
    tests
        The tensor that holds the number.
    element
        The number's position in it, in row-major order.
    at_least, at_most
        The bounds, both inclusive; at least one of them. NaN is outside.
    carries, makes
        The tensor that goes on, and what it is called from then on.
    """

    name: str
    flow: str
    tests: TensorSpec
    element: int
    at_least: float | None = None
    at_most: float | None = None
    carries: TensorSpec
    makes: TensorSpec

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_name("name", self.name)
        if self.tests.dtype in ("BYTES", "BF16"):
            raise ValueError(f"condition {self.name!r} tests a tensor of {self.tests.dtype}, which has no numbers here")
        if not 0 <= self.element < self.tests.elements:
            raise ValueError(
                f"condition {self.name!r}: element {self.element} is not in tensor {self.tests.name!r} of shape "
                f"{list(self.tests.shape)}"
            )
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"condition {self.name!r} has no bound; give at_least, at_most or both")
        if (self.carries.dtype, self.carries.shape) != (self.makes.dtype, self.makes.shape):
            raise ValueError(f"condition {self.name!r} carries and makes tensors of different type or shape")

    def holds(self, number: float) -> bool:
        """Say whether a number lies within the bounds."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= number <= high


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of a flow from this device to another.

    Parameters
    ----------
    flow
        The flow that it belongs to.
    after
        The segment whose end releases it, or the condition that lets its tensor go on; ``""`` for the flow's
        inputs, at its source.
    to
        The receiving device.
    tensors
        Names of the tensors that it carries.
    energy_j
        Joules of sending it, at both ends and between, as planned; None where the plan does not tell them.
    """

    flow: str
    after: str
    to: str
    tensors: tuple[str, ...]
    energy_j: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.tensors:
            raise ValueError(f"route of flow {self.flow!r} to {self.to!r} carries no tensors")
        _check_unique(f"tensors of the route to {self.to!r}", self.tensors)
        _check_figure("energy_j", self.energy_j)


class Arrival(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of a flow from another device to this one: a route of that device, seen from its end.

    Parameters
    ----------
    flow
        The flow that it belongs to.
    sender
        The device that sends it.
    after
        The segment or condition there that releases it; ``""`` for the flow's inputs.
    tensors
        Names of the tensors that it carries.
    """

    flow: str
    sender: str
    after: str
    tensors: tuple[str, ...]


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device knows of a flow that passes it.

    Parameters
    ----------
    name
        The flow's name: the model name that clients ask the source device for.
    source, sink
        Where its data arises and where its result is needed.
    devices
        Every device that takes part, source and sink among them: whom the source watches while it waits.
    inputs, outputs
        Its tensors at both ends, as clients see them.
    deadline_s
        The time that a request has when its client names none; None leaves that to the agent.
    wait_w
        Watts above idle of the source while it waits for others, as planned; None where the plan does not tell them.
    energy_slo_j
        Joules above idle that one outcome may cost; None for no objective.
    hops
        The pairs of devices, sender and receiver, between which its messages go: what a source looks at to tell
        whether a plan can serve while something is lost.
    """

    name: str
    source: str
    sink: str
    devices: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    deadline_s: float | None = None
    wait_w: float | None = None
    energy_slo_j: float | None = None
    hops: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_name("name", self.name)
        if foreign := sorted({device for hop in self.hops for device in hop} - set(self.devices)):
            raise ValueError(f"hops of flow {self.name!r} name {foreign}, which are not among its devices")
        _check_figure("wait_w", self.wait_w)
        if self.energy_slo_j is not None and not 0 < self.energy_slo_j < math.inf:
            raise ValueError(f"energy_slo_j of flow {self.name!r} is {self.energy_slo_j}; it is above 0 joules")
        _check_unique(f"devices of flow {self.name!r}", self.devices)
        for role, device in (("source", self.source), ("sink", self.sink)):
            if device not in self.devices:
                raise ValueError(
                    f"{role} {device!r} of flow {self.name!r} is not among its devices {list(self.devices)}"
                )
        if self.deadline_s is not None and not 0 < self.deadline_s <= 86400:
            raise ValueError(f"deadline_s of flow {self.name!r} is {self.deadline_s}; it is above 0 and at most 86400")
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"flow {self.name!r} has no {what}")
            _check_unique(f"{what} of flow {self.name!r}", (t.name for t in tensors))


class Fallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device does while something of the site is lost.

    Parameters
    ----------
    lost
        A device; or two, for the link between them.
    assignment
        The device's share of the plan for that case; None where it has none.
    warm
        Whether it is kept loaded, or loaded when it is first needed.
    unserved
        Flows that cannot be served then, each with the reason.
    """

    lost: tuple[str, ...]
    assignment: Assignment | None = None
    warm: bool = True
    unserved: dict[str, str] = {}


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device's share of a plan.

    Parameters
    ----------
    plan
        Identity of the plan.
    epoch
        The plan's turn on this site; a later plan has a higher one.
    device
        The device that this is for.
    flows
        The flows that have their source, their sink or a segment here.
    segments
        The segments that run here, in the plan's file order: the earlier one runs first when two are ready.
    conditions
        What is decided here, as soon as both of its tensors are.
    routes
        The messages that leave this device.
    peers
        Address, ``host:port``, of every other device of ``required_peers``; filled in on deployment.
    arrivals
        The messages that come to this device; filled in on deployment. Where callers have certificates, no other
        tensors are taken from devices.
    max_message_bytes
        The largest message of the plan: no boundary, input or result is larger.
    fallbacks
        What this device does while a device or a link is lost. Each is a plan of its own, under the same epoch.
    """

    format: Literal["placer.assignment/1.0"] = FORMAT
    plan: str
    epoch: int
    device: str
    flows: tuple[FlowSpec, ...]
    segments: tuple[SegmentSpec, ...]
    conditions: tuple[ConditionSpec, ...] = ()
    routes: tuple[Route, ...]
    peers: dict[str, str]
    arrivals: tuple[Arrival, ...] = ()
    max_message_bytes: int
    fallbacks: tuple[Fallback, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields, and each against the others."""
        _check_name("plan", self.plan)
        _check_name("device", self.device)
        if not 1 <= self.epoch < 2**63:
            raise ValueError(f"epoch is {self.epoch}; it is from 1 to 2**63 - 1")
        if not 1 <= self.max_message_bytes < 2**31:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}; it is from 1 to 2**31 - 1")
        _check_unique("flows", (f.name for f in self.flows))
        # Both are model names of one agent.
        _check_unique("flows and segments", [f.name for f in self.flows] + [s.name for s in self.segments])
        for flow in self.flows:
            self._check_flow(flow)
        for segment in self.segments:
            if segment.flow not in self._flow_names():
                raise ValueError(f"segment {segment.name!r} names flow {segment.flow!r}, which is not among flows")
        for condition in self.conditions:
            if condition.flow not in self._flow_names():
                raise ValueError(
                    f"condition {condition.name!r} names flow {condition.flow!r}, which is not among flows"
                )
        for route in self.routes:
            self._check_route(route)
        for arrival in self.arrivals:
            self._check_arrival(arrival)
        self._check_energy()
        self._check_fallbacks()

    def every(self) -> tuple[Assignment, ...]:
        """Give this one and those of its fallbacks, each plan once."""
        plans = {a.plan: a for a in (self, *(f.assignment for f in self.fallbacks if f.assignment is not None))}
        return tuple(plans.values())

    def blobs(self) -> dict[str, int]:
        """Give the SHA-256 and size in bytes of every model file that it needs, fallbacks included."""
        return {segment.blob: segment.blob_bytes for each in self.every() for segment in each.segments}

    def at(self, epoch: int) -> Assignment:
        """Give the same under another epoch."""
        fallbacks = tuple(
            f if f.assignment is None else msgspec.structs.replace(f, assignment=f.assignment.at(epoch))
            for f in self.fallbacks
        )
        # Not one field after the other: each copy is checked against its fallbacks.
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Assignment(**{**fields, "epoch": epoch, "fallbacks": fallbacks})

    def required_peers(self) -> frozenset[str]:
        """Devices that this one talks to: receivers, sources to be told, and whom a source watches."""
        named = {route.to for route in self.routes} | {flow.source for flow in self.flows}
        watched = {device for flow in self.flows if flow.source == self.device for device in flow.devices}
        return frozenset((named | watched) - {self.device})

    def _flow_names(self) -> set[str]:
        return {flow.name for flow in self.flows}

    def _check_flow(self, flow: FlowSpec) -> None:
        here = [s for s in self.segments if s.flow == flow.name]
        decided = [c for c in self.conditions if c.flow == flow.name]
        if self.device not in flow.devices:
            raise ValueError(f"flow {flow.name!r} does not pass device {self.device!r}")
        names = [*(s.name for s in here), *(c.name for c in decided)]
        _check_unique(f"segments and conditions of flow {flow.name!r}", names)
        made = [*(t.name for s in here for t in s.outputs), *(c.makes.name for c in decided)]
        _check_unique(f"tensors made here for flow {flow.name!r}", made)
        known: dict[str, TensorSpec] = {}
        for tensor in (
            *flow.inputs,
            *flow.outputs,
            *(t for s in here for t in (*s.inputs, *s.outputs)),
            *(t for c in decided for t in (c.tests, c.carries, c.makes)),
        ):
            first = known.setdefault(tensor.name, tensor)
            if (first.dtype, first.shape) != (tensor.dtype, tensor.shape):
                raise ValueError(
                    f"tensor {tensor.name!r} of flow {flow.name!r} is {first.dtype}{list(first.shape)} "
                    f"in one place and {tensor.dtype}{list(tensor.shape)} in another"
                )

    def _check_route(self, route: Route) -> None:
        if route.to == self.device:
            raise ValueError(f"route after {route.after!r} of flow {route.flow!r} leads back to {route.to!r} itself")
        flow = next((f for f in self.flows if f.name == route.flow), None)
        if flow is None:
            raise ValueError(f"route to {route.to!r} names flow {route.flow!r}, which is not among flows")
        if route.to not in flow.devices:
            raise ValueError(f"route to {route.to!r}: flow {flow.name!r} does not pass that device")
        if route.after:
            parts = {s.name: {t.name for t in s.outputs} for s in self.segments if s.flow == route.flow}
            parts |= {c.name: {c.makes.name} for c in self.conditions if c.flow == route.flow}
            if route.after not in parts:
                raise ValueError(
                    f"route to {route.to!r} follows {route.after!r}, "
                    f"which is no segment or condition that flow {route.flow!r} has here"
                )
            made = parts[route.after]
        elif flow.source != self.device:
            raise ValueError(
                f"route to {route.to!r} carries inputs of flow {flow.name!r}, whose source is {flow.source!r}"
            )
        else:
            made = {t.name for t in flow.inputs}
        if foreign := sorted(set(route.tensors) - made):
            raise ValueError(
                f"route to {route.to!r} after {route.after!r} carries {foreign}, "
                f"which arise elsewhere; it may carry {sorted(made)}"
            )

    def _check_arrival(self, arrival: Arrival) -> None:
        flow = next((f for f in self.flows if f.name == arrival.flow), None)
        if flow is None:
            raise ValueError(f"arrival from {arrival.sender!r} names flow {arrival.flow!r}, which is not among flows")
        if arrival.sender == self.device or arrival.sender not in flow.devices:
            raise ValueError(f"arrival from {arrival.sender!r}: that is no other device of flow {flow.name!r}")

    def _check_energy(self) -> None:
        """Refuse an objective where a figure is missing: that is an error, never zero."""
        for flow in self.flows:
            if flow.energy_slo_j is None:
                continue
            segments = (s.name for s in self.segments if s.flow == flow.name and s.power_w is None)
            routes = (r for r in self.routes if r.flow == flow.name and r.energy_j is None)
            missing = [f"power_w of segment {name!r}" for name in segments]
            missing += [f"energy_j of the route after {r.after!r} to {r.to!r}" for r in routes]
            missing += ["wait_w of the flow"] if flow.wait_w is None else []
            if missing:
                raise ValueError(f"flow {flow.name!r} has energy_slo_j but no {', no '.join(missing)}")

    def _check_fallbacks(self) -> None:
        _check_unique("losses of fallbacks", (" - ".join(sorted(f.lost)) for f in self.fallbacks))
        plans: dict[str, Assignment] = {}
        for fallback in self.fallbacks:
            if len(fallback.lost) not in (1, 2):
                raise ValueError(f"fallback for {list(fallback.lost)}: a device or the two ends of a link are lost")
            share = fallback.assignment
            if share is None:
                continue
            if (share.device, share.epoch) != (self.device, self.epoch) or share.plan == self.plan or share.fallbacks:
                raise ValueError(
                    f"fallback for {list(fallback.lost)}: plan {share.plan!r}, device {share.device!r}, epoch "
                    f"{share.epoch}; it is another plan for {self.device!r} at {self.epoch}, without fallbacks"
                )
            if plans.setdefault(share.plan, share) != share:
                raise ValueError(
                    f"fallback for {list(fallback.lost)}: plan {share.plan!r} is there with another content"
                )


def encode_assignment(assignment: Assignment) -> bytes:
    """Write an assignment as JSON."""
    return msgspec.json.encode(assignment)


def decode_assignment(text: bytes) -> Assignment:
    """Read an assignment from JSON.

    Raises
    ------
    BadManifest
        If the text is no assignment; the message has the field's path and what is allowed.
    """
    try:
        return msgspec.json.decode(text, type=Assignment)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadManifest(f"the assignment cannot be used: {error}") from error


@lru_cache(maxsize=4096)
def _bytes_of(dtype: str, shape: tuple[int, ...]) -> int | None:
    # Asked for with every request.
    item = DATATYPES[dtype]
    return None if item.kind == "O" else math.prod(shape) * item.itemsize


def _check_name(field: str, name: str) -> None:
    if not name or len(name) > 1024 or any(ord(c) < 32 for c in name):
        raise ValueError(f"{field} {name!r} is empty, longer than 1024 characters or has control characters")


def _check_figure(field: str, value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{field} is {value}; it is a number from 0 on")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what}: {name!r} occurs twice")
        seen.add(name)
