"""Predicts a plan's times on its emulated site: the plan's own numbers, its messages by the transfer-time model.

The schedule is that of `evaluate`; what is added is what agents do and problems leave out: tensors that leave a
segment together travel as one message, messages have headers, TCP has a window, and processes take their time.
How much time was read off the even cells of benchmarks/emulation.py, on two shared cores; docs/emulation.md shows
what it gives on the odd ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

import msgspec

from placer.deployment.messages import released_by
from placer.deployment.rehearse import Rehearsal
from placer.index import ProblemIndex
from placer.schedule import begin_s, run_schedule
from placer.segments import lay_out
from placer.transfer_time import held_s, settled_window_bytes, wire_bytes
from runtimes.convert import encode, zeros
from runtimes.hop import Hop, write_hop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from placer.emulation.result import PhaseName
    from placer.emulation.topology import Topology
    from placer.plan import FlowPlan, Plan
    from placer.segments import Layout, Transfer
    from placer.transfer_time import Connections
    from runtimes.specs import FlowSpec, TensorSpec

REPLY_BYTES = 20
"""A hop's empty reply: it has trailers and no message to speak of."""
HOP_S = 0.0022
"""What a hop takes in the processes at both ends, the wire's among them: all share this machine's processors."""
RECEIVED_FRACTION = 2 / 3
"""Of those seconds, the part before the message is with the receiver's segment."""
SEGMENT_S = 0.0004
"""Starting a segment that is ready, and noticing that it ended."""
CLIENT_S = 0.0012
"""A client's call to the source's agent on the same machine, without its inputs' bytes."""
CLIENT_S_PER_BYTE = 2e-9
"""Copying inputs into a message and out of it."""
FIRST_S = 0.004
"""What the first message between two agents takes in them beyond a warm one; they are connected before it."""

_ID_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a flow's requests are expected to take, by the state in which they find the connections."""

    phase: PhaseName
    rehearsal: Rehearsal

    @property
    def client_latency_s(self) -> float:
        """What the flow's client sees."""
        return self.rehearsal.latency_s + self.rehearsal.client_s


def predict(
    plan: Plan, deployment: Deployment, topology: Topology, flow: str, segment_s: Mapping[str, float]
) -> tuple[Prediction, Prediction]:
    """Predict a flow's first request, and those after it at the flow's rate.

    Parameters
    ----------
    plan, deployment
        The plan, and cut.
    topology
        The emulated network.
    flow
        The flow's name; at a rate of zero its requests follow each other without pause.
    segment_s
        Seconds of each segment.

    Returns
    -------
    tuple of Prediction
        Of the cold request, and of the steady state, which is warm or idle.
    """
    model = _Model(plan, deployment, topology, flow, segment_s)
    cold = model.rehearse("new", first_s=FIRST_S)
    warm = model.rehearse("busy")
    rate_hz = plan.flow(flow).rate_hz
    period_s = 1 / rate_hz if rate_hz > 0 else warm.latency_s + warm.client_s
    steady = model.rehearse("paused", period_s)
    phase: PhaseName = "idle" if model.pauses(period_s) else "warm"
    return Prediction(phase="cold", rehearsal=cold), Prediction(phase=phase, rehearsal=steady)


class _Model:
    """One flow of a plan, ready to be timed on any connections."""

    def __init__(
        self, plan: Plan, deployment: Deployment, topology: Topology, flow: str, segment_s: Mapping[str, float]
    ) -> None:
        self.topology = topology
        self.flow_plan: FlowPlan = plan.flow(flow)
        self.segment_s = dict(segment_s)
        self.spec: FlowSpec = deployment.flow(flow)
        self.index = ProblemIndex(plan.problem)
        position = next(i for i, f in enumerate(self.index.flows) if f.name == flow)
        self.flow = self.index.flows[position]
        self.layout: Layout = lay_out(self.index, self.flow, self.index.choice_of(position, self.flow_plan.assignment))
        self.messages = _message_bytes(deployment, flow)
        self.word_bytes = write_hop(_hop(self.spec, "done", self.spec.source, "")).ByteSize()
        self.after = released_by(plan, flow)
        self.paths = {key: topology.path(*key[1:]) for key in map(self._key, self.layout.transfers)}

    def pauses(self, period_s: float) -> bool:
        """Tell whether some message finds less of a window than the one before it left."""
        for key, path in self.paths.items():
            sent = wire_bytes(self.messages[key])
            if settled_window_bytes(sent, path, period_s - sent / path.bytes_per_s) < inf:
                return True
        return False

    def rehearse(self, connections: Connections, period_s: float = inf, first_s: float = 0.0) -> Rehearsal:
        """Time the flow, its requests a period apart; ``first_s`` is added to each message."""
        received_s = HOP_S * RECEIVED_FRACTION + first_s
        transfers, keys = [], []
        whole: set[tuple[str, str, str]] = set()
        for transfer in self.layout.transfers:
            key = self._key(transfer)
            size, seconds = 0.0, 0.0
            if key not in whole:
                # The others of the message arrive with it.
                whole.add(key)
                size = wire_bytes(self.messages[key])
                seconds = held_s(size, self.paths[key], connections, period_s)
            keys.append(key)
            transfers.append(dataclasses.replace(transfer, bytes=size, held_s=seconds))
        segments = tuple(
            dataclasses.replace(s, seconds=self.segment_s.get(named.name, 0.0) + SEGMENT_S)
            for s, named in zip(self.layout.segments, self.flow_plan.segments, strict=True)
        )
        layout = dataclasses.replace(self.layout, segments=segments, transfers=tuple(transfers), conversions=())
        problem = self.index.problem
        links = tuple(msgspec.structs.replace(k, latency_s=k.latency_s + received_s) for k in problem.links)
        # Other data leave when the source's word is there.
        source = self.spec.source
        words = {d: self._word_s(source, d, self.word_bytes) + received_s for d in self.spec.source_devices[1:]}
        index = ProblemIndex(msgspec.structs.replace(problem, links=links))
        schedule = run_schedule(index, self.flow, layout, begin_s(index, self.flow, words))
        hop_s: dict[tuple[str, str, str], float] = {}
        for key, requested, arrived in zip(keys, schedule.transfer_request_s, schedule.transfer_arrival_s, strict=True):
            _, source, target = key
            acknowledged_s = arrived - requested + self._word_s(target, source, REPLY_BYTES) + HOP_S - received_s
            hop_s[key] = max(hop_s.get(key, 0.0), acknowledged_s + first_s)
        return Rehearsal(
            segment_s=dict(self.segment_s), hop_s=hop_s, latency_s=schedule.latency_s, client_s=self._client_s(first_s)
        )

    def _key(self, transfer: Transfer) -> tuple[str, str, str]:
        sender, receiver = (self.index.devices[d].name for d in (transfer.source, transfer.target))
        return self.after[self.flow.flow.tensors[transfer.tensor].name], sender, receiver

    def _word_s(self, source: str, target: str, size: float) -> float:
        """Give the seconds of a message too small for any window."""
        path = self.topology.path(source, target)
        return self.topology.latency_s(source, target) + wire_bytes(size) / path.bytes_per_s

    def _client_s(self, first_s: float) -> float:
        inputs = sum(t.bytes or 0 for t in self.spec.inputs_at(self.spec.source))
        seconds = CLIENT_S + inputs * CLIENT_S_PER_BYTE
        # Any sink's word may be the last one.
        source = self.spec.source
        words = [self._word_s(d, source, self.word_bytes) for d in self.spec.sink_devices if d != source]
        if words:
            seconds += max(words) + HOP_S * RECEIVED_FRACTION + first_s
        return seconds


def _message_bytes(deployment: Deployment, flow: str) -> dict[tuple[str, str, str], int]:
    """Give the size of each message of a flow, by the segment it follows and the devices at its ends."""
    sizes = {}
    for device, assignment in deployment.assignments.items():
        segments = [s for s in assignment.segments if s.flow == flow]
        specs = {t.name: t for s in segments for t in (*s.inputs, *s.outputs)}
        for spec in (f for f in assignment.flows if f.name == flow):
            specs |= {t.name: t for t in spec.inputs}
            for route in (r for r in assignment.routes if r.flow == flow):
                message = write_hop(_hop(spec, "tensors", route.to, route.after))
                _fill(message, (specs[name] for name in route.tensors))
                sizes[route.after, device, route.to] = message.ByteSize()
    return sizes


def _fill(message: object, specs: Iterable[TensorSpec]) -> None:
    listed = list(specs)
    encode({t.name: zeros(t) for t in listed}, listed, message.inputs, message.raw_input_contents)  # type: ignore[attr-defined]


def _hop(spec: FlowSpec, kind: Literal["tensors", "done", "failed"], to: str, after: str) -> Hop:
    """Make a header as long as the agents' own."""
    unknown = "0" * _ID_LENGTH
    return Hop(kind=kind, plan="0" * 16, epoch=1, flow=spec.name, run=unknown, request=unknown, sender=spec.sink, to=to,
               after=after, deadline_s=1.0, joules=0.0)  # fmt: skip
