"""An assignment with its sessions, and the look-ups that serving it takes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from runtimes.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.assignment import Assignment
    from runtimes.session import Session
    from runtimes.specs import ConditionSpec, FlowSpec, Route, SegmentSpec, TensorSpec
    from runtimes.wire import ReplyForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the head of a request says, checked against a plan.

    Parameters
    ----------
    model
        The flow or segment that is asked for.
    inputs
        The tensors whose raw contents come with it, in order.
    form
        The reply.
    limit_s
        The time that the request's own parameter gives it; None without one.
    """

    model: FlowSpec | SegmentSpec
    inputs: tuple[TensorSpec, ...]
    form: ReplyForm
    limit_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A segment in a flow: its place in the file, its session, and the names of the tensors that it reads."""

    index: int
    session: Session
    inputs: frozenset[str]


class LoadedPlan:
    """One device's share of a plan, ready to serve.

    Parameters
    ----------
    assignment
        The share.
    sessions
        Its segments' sessions, by name.
    variant
        Plan of the fallback that this is; empty for the plan itself.
    caches
        Those that the plan and its fallbacks have by now, by `kept_of`: segments that make the same have one.
    """

    def __init__(
        self, assignment: Assignment, sessions: Mapping[str, Session], *, variant: str,
        caches: Mapping[tuple[object, ...], Cache] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.assignment = assignment
        self.epoch = assignment.epoch
        """The epoch under which this plan is served."""
        self.device = assignment.device
        """The device that this is for."""
        self.sessions = sessions
        self.variant = variant
        self.caches: dict[str, Cache] = {
            s.name: caches[kept_of(s)] if kept_of(s) in caches else Cache(s.cache_bytes)
            for s in assignment.segments
            if s.cache_bytes is not None
        }
        """Results that are kept, by segment; they are of this epoch."""
        self.asked: dict[bytes, Asked] = {}
        """Heads of requests that were checked against this plan, since clients send the same ones again."""
        self.flows: dict[str, FlowSpec] = {flow.name: flow for flow in assignment.flows}
        routes: defaultdict[tuple[str, str], list[Route]] = defaultdict(list)
        for route in assignment.routes:
            routes[route.flow, route.after].append(route)
        self._routes = {key: tuple(found) for key, found in routes.items()}
        self._by_flow = {
            name: tuple(
                Place(index=i, session=sessions[s.name], inputs=frozenset(t.name for t in s.inputs))
                for i, s in enumerate(assignment.segments)
                if s.flow == name
            )
            for name in self.flows
        }
        self._conditions = {name: tuple(c for c in assignment.conditions if c.flow == name) for name in self.flows}
        self._inputs = {name: flow.inputs_at(self.device) for name, flow in self.flows.items()}
        self._arriving = {
            name: frozenset(t for a in assignment.arrivals if a.flow == name for t in a.tensors)
            # What is handed in here waits for the source's word, and the word for it.
            | (frozenset() if flow.source == self.device else frozenset(t.name for t in self._inputs[name]))
            for name, flow in self.flows.items()
        }
        self._outputs = {name: tuple(t.name for t in f.outputs_at(self.device)) for name, f in self.flows.items()}
        sampled = [(s.flow, s.name, s.every) for s in assignment.segments if s.every > 1]
        sampled += [(c.flow, c.name, c.every) for c in assignment.conditions if c.every > 1]
        self._sampled = {name: [(part, every) for flow, part, every in sampled if flow == name] for name in self.flows}
        self._turns = {name: itertools.count() for name in self.flows}
        self._specs = {name: self._tensors_of(flow) for name, flow in self.flows.items()}

    def segments(self, flow: str) -> tuple[Place, ...]:
        """Segments of a flow, in the file's order."""
        return self._by_flow[flow]

    def conditions(self, flow: str) -> tuple[ConditionSpec, ...]:
        """Conditions of a flow that are decided here."""
        return self._conditions[flow]

    def arriving(self, flow: str) -> frozenset[str]:
        """Names of the tensors of a flow that come here after its request began: from others, or as data of here."""
        return self._arriving[flow]

    def routes(self, flow: str, after: str) -> tuple[Route, ...]:
        """Messages that leave when a segment ends or a condition is decided; after ``""``, with the flow's inputs."""
        return self._routes.get((flow, after), ())

    def specs(self, flow: str) -> Mapping[str, TensorSpec]:
        """Every tensor that a flow has on this device, by name."""
        return self._specs[flow]

    def next_turn(self, flow: str) -> int:
        """Count a request of a flow that begins here: its number, from 0."""
        return next(self._turns[flow])

    def passed_over(self, flow: str, turn: int) -> frozenset[str]:
        """Names of the segments and conditions of a flow here that take one in so many requests, and not this one."""
        return frozenset(part for part, every in self._sampled[flow] if turn % every)

    def is_source(self, flow: str) -> bool:
        """Say whether a flow's requests begin here."""
        return self.flows[flow].source == self.device

    def inputs(self, flow: str) -> tuple[TensorSpec, ...]:
        """Give the data of a flow that arise here."""
        return self._inputs[flow]

    def outputs(self, flow: str) -> tuple[str, ...]:
        """Names of the outputs of a flow that are needed here."""
        return self._outputs[flow]

    def is_ready(self, name: str) -> bool:
        """Say whether a segment can run now; of a flow, whether all its segments here can."""
        if name in self.sessions:
            return self.sessions[name].ready
        return all(place.session.ready for place in self._by_flow[name])

    def _tensors_of(self, flow: FlowSpec) -> dict[str, TensorSpec]:
        specs = [place.session.spec for place in self._by_flow[flow.name]]
        tensors = {t.name: t for spec in specs for t in (*spec.inputs, *spec.outputs)}
        tensors.update((t.name, t) for c in self._conditions[flow.name] for t in (c.tests, c.carries, c.makes))
        tensors.update((t.name, t) for t in (*self._inputs[flow.name], *flow.outputs_at(self.device)))
        return tensors


def kept_of(spec: SegmentSpec) -> tuple[object, ...]:
    """Give what a segment's results depend on, and what may be kept of them: not its name, nor what it costs."""
    return spec.flow, spec.runtime, spec.blob, spec.inputs, spec.outputs, spec.threads, spec.cache_bytes
