"""The manifest that tells one device its share of a plan.

JSON, format ``placer.assignment/1.0``. Growth raises the minor version; what stands here keeps its meaning.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from runtimes.errors import BadManifest
from runtimes.specs import Arrival, ConditionSpec, FlowSpec, Route, SegmentSpec, TensorSpec, check_name, check_unique
from runtimes.version import software_version

FORMAT: Literal["placer.assignment/1.0"] = "placer.assignment/1.0"


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
        check_name("plan", self.plan)
        check_name("device", self.device)
        if not 1 <= self.epoch < 2**63:
            raise ValueError(f"epoch is {self.epoch}; it is from 1 to 2**63 - 1")
        if not 1 <= self.max_message_bytes < 2**31:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}; it is from 1 to 2**31 - 1")
        check_unique("flows", (f.name for f in self.flows))
        # Both are model names of one agent.
        check_unique("flows and segments", [f.name for f in self.flows] + [s.name for s in self.segments])
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

    def share(self, plan: str) -> Assignment | None:
        """Give the one of `every` that is for a plan; None if none is."""
        return self if plan == self.plan else next((share for share in self.every() if share.plan == plan), None)

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
        """Devices that this one talks to: receivers, sources to be told, and whom a source calls and watches."""
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
        check_unique(f"segments and conditions of flow {flow.name!r}", names)
        made = [*(t.name for s in here for t in s.outputs), *(c.makes.name for c in decided)]
        check_unique(f"tensors made here for flow {flow.name!r}", made)
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
        elif self.device not in flow.source_devices:
            raise ValueError(
                f"route to {route.to!r} carries inputs of flow {flow.name!r}, whose source is "
                f"{' and '.join(map(repr, flow.source_devices))}"
            )
        else:
            made = {t.name for t in flow.inputs_at(self.device)}
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
        check_unique("losses of fallbacks", (" - ".join(sorted(f.lost)) for f in self.fallbacks))
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
        raise BadManifest(
            f"the assignment cannot be used by an agent of version {software_version()}: {error}"
        ) from error
