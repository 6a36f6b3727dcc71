"""Predicts how a deployed plan will run on the machines it is on, from its parts measured one by one.

Each segment is run alone, through its agent, on synthetic input; each message is sent alone, as an echo. The
parts are put together by `evaluate` under the plan's own choice. The prediction is made before any request runs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from placer.deployment.messages import released_by
from placer.ends import is_endpoint
from placer.errors import RunError
from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex
from placer.schedule import begin_s, run_schedule
from runtimes.client import AgentClient
from runtimes.datatypes import DATATYPES
from runtimes.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from placer.evaluate import FlowResult
    from placer.plan import FlowPlan, Plan
    from runtimes.specs import SegmentSpec, TensorSpec

_RUNS = 15
_WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a flow is predicted to do on the machines at hand, in seconds.

    Parameters
    ----------
    segment_s
        By segment.
    hop_s
        By (segment it follows or "" for the flow's inputs, sender, receiving device): until the receiver has it.
    latency_s
        From the data at the source's agent to the result at the sink's.
    client_s
        What a client's call adds: bringing the inputs, the news of the result, and the reply.
    """

    segment_s: Mapping[str, float]
    hop_s: Mapping[tuple[str, str, str], float]
    latency_s: float
    client_s: float


def rehearse(plan: Plan, deployment: Deployment, addresses: Mapping[str, str], flow: str) -> Rehearsal:
    """Measure a deployed flow's parts alone and predict the whole.

    Echoes go from this process to the receiving agent, so links are right where all agents run on this machine.

    Parameters
    ----------
    plan, deployment
        The plan, and as it was deployed.
    addresses
        Each device's agent.
    flow
        The flow's name.

    Raises
    ------
    RunError
        An agent does not answer.
    """
    spec = deployment.flow(flow)
    segments = [s for a in deployment.assignments.values() for s in a.segments if s.flow == flow]
    sizes: defaultdict[str, list[int]] = defaultdict(lambda: [0])
    problem_flow = plan.flow(flow)
    for transfer in problem_flow.transfers:
        sizes[transfer.target].append(int(transfer.bytes))
    input_bytes = _size(spec.inputs_at(spec.source))
    sizes[spec.source].append(input_bytes)
    for device in spec.source_devices[1:]:
        sizes[device].append(0)
    try:
        alone, called = _run_alone(deployment, addresses, segments)
        for segment in segments:
            here = sizes[_device_of(deployment, segment)]
            here += [_size(segment.inputs), _size(segment.outputs)]
        echoes = {device: _echo(addresses[device], tuple(sorted(set(s)))) for device, s in sizes.items()}
    except AgentError as error:
        raise RunError(f"flow {flow!r} could not be rehearsed: {error}") from error
    # An echo carries its payload both ways and its bytes are not read; a hop comes back as an empty
    # acknowledgement, but is encoded, checked and stored: what calling a segment takes beyond its echoes.
    handling_s = median(
        max(0.0, called[s.name] - alone[s.name] - (by_size[_size(s.inputs)] + by_size[_size(s.outputs)]) / 2)
        for s in segments
        for by_size in [echoes[_device_of(deployment, s)]]
    )
    one_way = {
        device: {size: (s + by_size[0]) / 2 + handling_s for size, s in by_size.items()}
        for device, by_size in echoes.items()
    }
    result, index = _evaluated(plan, problem_flow, alone, one_way)
    # Other data leave when the source's word is there.
    words = {device: one_way[device][0] for device in spec.source_devices[1:]}
    schedule = run_schedule(index, index.flows[0], result.layout, begin_s(index, index.flows[0], words))
    hop_s: dict[tuple[str, str, str], float] = {}
    after = released_by(plan, flow)
    for sent, requested, arrived in zip(
        result.layout.transfers, schedule.transfer_request_s, schedule.transfer_arrival_s, strict=True
    ):
        tensor = index.flows[0].flow.tensors[sent.tensor].name
        key = (after[tensor], index.devices[sent.source].name, index.devices[sent.target].name)
        hop_s[key] = max(hop_s.get(key, 0.0), arrived - requested)
    news_s = 0.0 if spec.sink_devices == (spec.source,) else one_way[spec.source][0]
    return Rehearsal(
        segment_s=alone,
        hop_s=hop_s,
        latency_s=schedule.latency_s,
        client_s=one_way[spec.source][input_bytes] + news_s,
    )


def _device_of(deployment: Deployment, segment: SegmentSpec) -> str:
    return next(device for device, a in deployment.assignments.items() if segment in a.segments)


def _size(tensors: Iterable[TensorSpec]) -> int:
    return sum(t.bytes or 0 for t in tensors)


def _run_alone(
    deployment: Deployment, addresses: Mapping[str, str], segments: list[SegmentSpec]
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each segment on synthetic input: of the execution alone, and of the whole call to its agent.

    Turn by turn, as requests run them: one that runs again and again finds its weights where it left them, in the
    processor's caches.
    """
    executed: dict[str, list[float]] = {segment.name: [] for segment in segments}
    called: dict[str, list[float]] = {segment.name: [] for segment in segments}
    with ExitStack() as stack:
        devices = {segment.name: _device_of(deployment, segment) for segment in segments}
        clients = {d: stack.enter_context(AgentClient(addresses[d])) for d in dict.fromkeys(devices.values())}
        since = {device: client.status().last_sequence for device, client in clients.items()}
        feeds = {segment.name: {t.name: _synthetic(t) for t in segment.inputs} for segment in segments}
        for _ in range(_WARM_UP_RUNS + _RUNS):
            for name, device in devices.items():
                begin = time.perf_counter()
                clients[device].infer(name, feeds[name])
                called[name].append(time.perf_counter() - begin)
        for device, client in clients.items():
            for observed in client.observations(since[device]):
                if observed.kind == "segment" and devices.get(observed.segment) == device:
                    executed[observed.segment].append(observed.padded_s)
    return (
        {name: median(runs[_WARM_UP_RUNS:]) for name, runs in executed.items()},
        {name: median(runs[_WARM_UP_RUNS:]) for name, runs in called.items()},
    )


def _synthetic(tensor: TensorSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    rng = np.random.default_rng(0)
    dtype = DATATYPES[tensor.dtype]
    if dtype.kind == "f":
        return rng.standard_normal(tensor.shape).astype(dtype)
    # Small values: integers are often indices or lengths, where a large one is out of range.
    return rng.integers(0, 2, tensor.shape).astype(dtype)


def _echo(address: str, sizes: tuple[int, ...]) -> dict[int, float]:
    """Median seconds of an echo of each size."""
    found = {}
    with AgentClient(address) as client:
        for size in sizes:
            payload = bytes(size)
            times = []
            for _ in range(_WARM_UP_RUNS + _RUNS):
                begin = time.perf_counter()
                client.echo(payload)
                times.append(time.perf_counter() - begin)
            found[size] = median(times[_WARM_UP_RUNS:])
    return found


def _evaluated(
    plan: Plan, flow: FlowPlan, segment_s: Mapping[str, float], one_way: Mapping[str, Mapping[int, float]]
) -> tuple[FlowResult, ProblemIndex]:
    """Evaluate the plan's choice with the measured seconds in place of the profiles'."""
    # A segment of conditions alone has no session that could be measured, and takes no time to speak of.
    ops_s = {op: segment_s.get(s.name, 0.0) / len(s.ops) for s in flow.segments for op in s.ops}
    problem = plan.problem
    problem_flow = next(f for f in problem.flows if f.name == flow.name)
    ops = tuple(
        op
        if is_endpoint(op.name)
        else msgspec.structs.replace(
            op, options=tuple(msgspec.structs.replace(o, seconds=ops_s[op.name]) for o in op.options)
        )
        for op in problem_flow.ops
    )
    largest = {device: max(times) for device, times in one_way.items()}
    links = tuple(
        msgspec.structs.replace(
            link,
            latency_s=one_way[link.target][0],
            bytes_per_s=largest[link.target]
            / max(one_way[link.target][largest[link.target]] - one_way[link.target][0], 1e-6)
            if largest[link.target]
            else 1e12,
        )
        for link in problem.links
        if link.target in one_way
    )
    here = msgspec.structs.replace(
        problem,
        devices=tuple(msgspec.structs.replace(d, segment_s=0.0) for d in problem.devices),
        links=links,
        flows=(msgspec.structs.replace(problem_flow, ops=ops, deadline_s=None),),
        limits=type(problem.limits)(),
    )
    index = ProblemIndex(here)
    return evaluate_flow(index, index.flows[0], index.choice_of(0, flow.assignment)), index
