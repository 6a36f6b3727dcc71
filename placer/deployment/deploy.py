"""Put a plan on its devices, in two phases, and run requests through it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from placer.errors import DeployError, RunError
from runtimes.client import AgentClient
from runtimes.errors import AgentError, BadBlob, BadCredentials, WrongState
from runtimes.specs import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from runtimes.assignment import Assignment
    from runtimes.client import AgentStatus
    from runtimes.convert import Array
    from runtimes.observation import Observation
    from runtimes.specs import FlowSpec
    from runtimes.tls import Credentials

    # Told the device and what is being done there.
    Progress = Callable[[str, str], None]

_PREPARE_TIMEOUT_S = 300.0
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
        From sending the inputs to the source until the result was at its sink and the caller knew it.
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


def ask(addresses: Mapping[str, str], credentials: Credentials | None = None) -> dict[str, AgentStatus]:
    """Ask each device's agent what it holds.

    Parameters
    ----------
    addresses
        Each device's agent, ``host:port``.
    credentials
        The caller's certificates, for agents that listen with theirs.

    Raises
    ------
    DeployError
        If an agent does not answer, or is another device's.
    """
    answers = {}
    for device, address in addresses.items():
        try:
            with AgentClient(address, credentials=credentials, device=device) as client:
                answers[device] = client.status()
        except AgentError as error:
            raise DeployError(f"device {device!r}: {error}") from error
        if answers[device].device != device:
            raise DeployError(
                f"device {device!r}: the agent at {address} is {answers[device].device!r}; give the right --agent"
            )
    return answers


def next_epoch(addresses: Mapping[str, str], credentials: Credentials | None = None) -> int:
    """Give an epoch above all that the agents hold; arguments and errors as ``ask``."""
    return 1 + _highest(ask(addresses, credentials))


def deploy_once(
    deployment: Deployment, addresses: Mapping[str, str], progress: Progress | None = None,
    credentials: Credentials | None = None,
) -> Deployment:  # fmt: skip
    """Deploy a plan where it is not yet, and complete a deployment of it that broke off.

    Where all that the agents hold under the highest epoch is this very plan, it is deployed under that epoch, which
    changes nothing where it is active already; else under a new one. Arguments and errors as ``deploy``.

    Returns
    -------
    Deployment
        The plan under the epoch at which it is now active.
    """
    answers = ask({device: addresses[device] for device in deployment.assignments if device in addresses}, credentials)
    highest = _highest(answers)
    holders = {h.plan for status in answers.values() for h in status.held if h.epoch == highest}
    chosen = deployment.at(highest) if holders == {deployment.plan} else None
    if chosen is None or not _fits(chosen, addresses, credentials):
        chosen = deployment.at(highest + 1)
    deploy(chosen, addresses, progress, credentials)
    return chosen


def _fits(deployment: Deployment, addresses: Mapping[str, str], credentials: Credentials | None) -> bool:
    """Say whether the agents hold, under that epoch, nothing but this: the same addresses and threads, too."""
    for device, share in _shares(deployment, addresses).items():
        with AgentClient(addresses[device], credentials=credentials, device=device) as client:
            try:
                client.stage(share)
            except WrongState:
                return False
            except AgentError as error:
                raise DeployError(f"device {device!r}: {error}") from error
    return True


def _highest(answers: Mapping[str, AgentStatus]) -> int:
    return max((held.epoch for status in answers.values() for held in status.held), default=0)


def deploy(
    deployment: Deployment, addresses: Mapping[str, str], progress: Progress | None = None,
    credentials: Credentials | None = None,
) -> None:  # fmt: skip
    """Put a plan on all its devices and make it the active one; doing it twice is harmless.

    First every device gets its share, the model files that it lacks, and loads them. Only when all of them
    have done so are they switched, sources last. Until then, and whatever goes wrong, the old plan serves.

    Parameters
    ----------
    deployment
        The plan, cut.
    addresses
        Each device's agent, ``host:port``.
    progress
        Told each step; called from several threads.
    credentials
        A deployer's certificates, for agents that listen with theirs.

    Raises
    ------
    DeployError
        If a device has no address, does not answer or declines; the message names each such device.
    """
    tell = progress or _tell_nobody
    shares = _shares(deployment, addresses)
    with ExitStack() as stack:
        clients = _clients(stack, shares, addresses, credentials, DeployError)
        with ThreadPoolExecutor(len(clients), thread_name_prefix="deploy") as pool:
            futures = {
                device: pool.submit(_prepare, client, shares[device], deployment.blobs, tell)
                for device, client in clients.items()
            }
        failures = [f"device {device!r}: {error}" for device, f in futures.items() if (error := _agent_error(f))]
        if failures:
            raise DeployError(f"plan {deployment.plan!r} is activated nowhere: " + "; ".join(failures))
        done: list[str] = []
        for device in deployment.sources_last():
            tell(device, "activate")
            try:
                clients[device].activate(deployment.plan, deployment.epoch)
            except AgentError as error:
                raise DeployError(
                    f"plan {deployment.plan!r} is active on {done} only, and its sources still follow "
                    f"the old one; deploy it again. Device {device!r}: {error}"
                ) from error
            done.append(device)


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
        clients = _clients(stack, spec.devices, addresses, credentials, RunError)
        try:
            since = {device: client.status().last_sequence for device, client in clients.items()}
            for feeds in inputs:
                passages.append(_pass(clients[spec.source], clients[spec.sink], spec, feeds, deadline_s))
                if progress is not None:
                    progress(len(passages))
            expected = sum(_least_observations(deployment, flow, passage) for passage in passages)
            observed = _observed(clients, since, {passage.request_id for passage in passages}, expected)
        except AgentError as error:
            raise RunError(f"flow {flow!r}, request {len(passages) + 1}: {error}") from error
    return Measured(passages=tuple(passages), observations=observed)


def _clients(
    stack: ExitStack, devices: Iterable[str], addresses: Mapping[str, str], credentials: Credentials | None,
    failure: type[DeployError | RunError],
) -> dict[str, AgentClient]:  # fmt: skip
    try:
        return {
            device: stack.enter_context(AgentClient(addresses[device], credentials=credentials, device=device))
            for device in devices
        }
    except BadCredentials as error:
        raise failure(str(error)) from error


def _shares(deployment: Deployment, addresses: Mapping[str, str]) -> dict[str, Assignment]:
    if absent := sorted(deployment.assignments.keys() - addresses.keys()):
        raise DeployError(f"no address is given for device {', '.join(map(repr, absent))}; name host:port for each")
    return {device: _addressed(deployment, device, addresses) for device in deployment.assignments}


def _addressed(deployment: Deployment, device: str, addresses: Mapping[str, str]) -> Assignment:
    """Give a device's share with the other devices' addresses and with what they will send to it."""
    shares = deployment.assignments
    share = _joined(shares[device], shares.values(), addresses)
    others = [fallback for other in shares.values() for fallback in other.fallbacks]
    return msgspec.structs.replace(
        share,
        fallbacks=tuple(
            fallback
            if fallback.assignment is None
            else msgspec.structs.replace(
                fallback,
                assignment=_joined(
                    fallback.assignment,
                    [o.assignment for o in others if o.lost == fallback.lost and o.assignment is not None],
                    addresses,
                ),
            )
            for fallback in share.fallbacks
        ),
    )


def _joined(share: Assignment, shares: Iterable[Assignment], addresses: Mapping[str, str]) -> Assignment:
    """Join one share of a plan to the others."""
    others = [other for other in shares if other.device != share.device]
    return msgspec.structs.replace(
        share,
        peers={other.device: addresses[other.device] for other in others},
        arrivals=tuple(
            Arrival(flow=route.flow, sender=other.device, after=route.after, tensors=route.tensors)
            for other in others
            for route in other.routes
            if route.to == share.device
        ),
    )


def _prepare(client: AgentClient, share: Assignment, blobs: Mapping[str, bytes], tell: Progress) -> None:
    tell(share.device, "stage")
    for sha256, start in client.stage(share).items():
        blob = blobs[sha256]

        def sent(done: int, whole: int = len(blob)) -> None:
            tell(share.device, f"upload: {done} of {whole} bytes are sent")

        sent(start)
        try:
            client.put_blob(blob, sent, start=start)
        except BadBlob:
            if not start:
                raise
            # What an upload had left there was damaged, by a power cut for one.
            sent(0)
            client.put_blob(blob, sent)
    tell(share.device, "prepare")
    client.prepare(share.plan, share.epoch, _PREPARE_TIMEOUT_S)


def _pass(
    source: AgentClient, sink: AgentClient, flow: FlowSpec, feeds: Mapping[str, Array], deadline_s: float
) -> Passage:
    started = time.perf_counter()
    reply = source.infer(flow.name, feeds, deadline_s)
    latency_s = time.perf_counter() - started
    outputs = sink.fetch(reply.request_id, flow.name) if reply.outputs is None else reply.outputs
    not_taken = tuple(t.name for t in flow.outputs if t.name not in outputs)
    return Passage(request_id=reply.request_id, outputs=outputs, latency_s=latency_s, not_taken=not_taken)


def _least_observations(deployment: Deployment, flow: str, passage: Passage) -> int:
    """Count the segments and hops that a request surely had: where an output is missing, those without a condition."""
    seldom = set(deployment.conditional(flow)) if passage.not_taken else set()
    assignments = deployment.assignments.values()
    segments = [s.outputs for assignment in assignments for s in assignment.segments if s.flow == flow]
    carried = [r.tensors for assignment in assignments for r in assignment.routes if r.flow == flow]
    return sum(not {t.name for t in made} <= seldom for made in segments) + sum(
        not set(tensors) <= seldom for tensors in carried
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


def _agent_error(future: Any) -> AgentError | None:
    error = future.exception()
    if error is not None and not isinstance(error, AgentError):
        raise error
    return error


def _tell_nobody(device: str, step: str) -> None:
    """Be the progress of those who watch none."""
