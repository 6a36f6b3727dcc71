"""Runs requests through a deployed plan, and collects what the agents observed of them."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placer.deployment.deploy import enter_clients
from placer.errors import RunError
from runtimes.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from runtimes.client import AgentClient
    from runtimes.convert import Array
    from runtimes.observation import Observation
    from runtimes.specs import FlowSpec
    from runtimes.tls import Credentials

_ACKNOWLEDGED_S = 2.0
_ASK_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One request that went through a deployed plan.

    Parameters
    ----------
    request_id
        The id under which the observations have it.
    outputs
        The flow's outputs, by name.
    not_taken
        Names of the outputs that were not made, because a condition of the flow did not hold for this request.
    latency_s
        From sending the inputs to the source until the outputs were at their sinks and the caller knew it. Data that
        arise elsewhere were handed in there before.
    """

    request_id: str
    outputs: Mapping[str, Any]
    latency_s: float
    not_taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a series of requests gave: their passages in order, and what the agents observed meanwhile."""

    passages: tuple[Passage, ...]
    observations: tuple[Observation, ...]


def run(
    deployment: Deployment, addresses: Mapping[str, str], flow: str, inputs: Iterable[Mapping[str, Array]], *,
    deadline_s: float, progress: Callable[[int], None] | None = None, credentials: Credentials | None = None,
) -> Measured:  # fmt: skip
    """Send requests through a deployed plan, one after the other, and collect what was observed.

    Parameters
    ----------
    deployment, addresses
        As they were deployed.
    flow
        The flow to run.
    inputs
        For each request its inputs, by name.
    deadline_s
        Time that each request has.
    progress
        Told the number of requests done.
    credentials
        A client's certificates, for agents that listen with theirs.

    Raises
    ------
    RunError
        If one fails; the message names the device and segment.
    """
    spec = deployment.flow(flow)
    passages: list[Passage] = []
    with ExitStack() as stack:
        clients = enter_clients(stack, spec.devices, addresses, credentials, RunError)
        try:
            since = {device: client.status().last_sequence for device, client in clients.items()}
            for feeds in inputs:
                passages.append(_pass(clients, spec, feeds, deadline_s))
                if progress is not None:
                    progress(len(passages))
            expected = sum(_least_observations(deployment, flow, passage) for passage in passages)
            observed = _observed(clients, since, {passage.request_id for passage in passages}, expected)
        except AgentError as error:
            raise RunError(f"flow {flow!r}, request {len(passages) + 1}: {error}") from error
    return Measured(passages=tuple(passages), observations=observed)


def hand_in(
    clients: Mapping[str, AgentClient], flow: FlowSpec, feeds: Mapping[str, Array], deadline_s: float
) -> tuple[str | None, dict[str, Array]]:
    """Hand the data of a request in where they arise but on the device where it begins.

    Parameters
    ----------
    clients
        By device.
    flow, feeds, deadline_s
        The flow, all data of the request, and the time that each call has.

    Returns
    -------
    tuple
        The request's id, if it needs one, and the data that are left to begin it with.

    Raises
    ------
    AgentError
        If an agent does not take them.
    """
    if not flow.sources:
        return None, dict(feeds)
    request = secrets.token_hex(16)
    for device in flow.source_devices[1:]:
        given = {t.name: feeds[t.name] for t in flow.inputs_at(device)}
        clients[device].infer(flow.name, given, deadline_s, request)
    return request, {t.name: feeds[t.name] for t in flow.inputs_at(flow.source)}


def _pass(clients: Mapping[str, AgentClient], flow: FlowSpec, feeds: Mapping[str, Array], deadline_s: float) -> Passage:
    request, given = hand_in(clients, flow, feeds, deadline_s)
    started = time.perf_counter()
    reply = clients[flow.source].infer(flow.name, given, deadline_s, request)
    latency_s = time.perf_counter() - started
    found = dict(reply.outputs or {})
    for device in flow.sink_devices:
        if device != flow.source:
            found |= clients[device].fetch(reply.request_id, flow.name)
    outputs = {t.name: found[t.name] for t in flow.outputs if t.name in found}
    not_taken = tuple(t.name for t in flow.outputs if t.name not in outputs)
    return Passage(request_id=reply.request_id, outputs=outputs, latency_s=latency_s, not_taken=not_taken)


def _least_observations(deployment: Deployment, flow: str, passage: Passage) -> int:
    """Count the segments and hops that a request surely had: where an output is missing, those without a condition."""
    seldom = set(deployment.conditional(flow)) if passage.not_taken else set()
    assignments = deployment.assignments.values()
    segments = [s.outputs for assignment in assignments for s in assignment.segments if s.flow == flow]
    carried = [r for assignment in assignments for r in assignment.routes if r.flow == flow]
    return sum(not {t.name for t in made} <= seldom for made in segments) + sum(
        not passage.not_taken or not set(route.tensors) <= seldom | route.every.keys() for route in carried
    )


def _observed(
    clients: Mapping[str, AgentClient], since: Mapping[str, int], requests: set[str], expected: int
) -> tuple[Observation, ...]:
    """Collect the observations of some requests; a hop's comes with its acknowledgement, maybe after the result."""
    deadline = time.monotonic() + _ACKNOWLEDGED_S
    while True:
        found = tuple(
            observation
            for device, client in clients.items()
            for observation in client.observations(since[device])
            if observation.request in requests
        )
        if len(found) >= expected or time.monotonic() >= deadline:
            return found
        time.sleep(_ASK_AGAIN_S)
