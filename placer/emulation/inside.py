"""The process inside the namespaces: builds the site, deploys the plan, predicts, runs and compares.

It is the first process of its namespace, so everything it starts ends with it; and it ends with its standard
input, so however the command ends, nothing is left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NoReturn

import msgspec

from placer import errors
from placer.deployment.compare import compare
from placer.deployment.deploy import deploy
from placer.deployment.run import Measured, Passage
from placer.emulation.agents import start_agents
from placer.emulation.drive import Stream, drive
from placer.emulation.isolation import PRIVATE_FOLDER
from placer.emulation.job import LENGTH_BYTES, Done, Failed, Job, Message, Said, unpack
from placer.emulation.network import Network, find_wire
from placer.emulation.predict import predict
from placer.emulation.result import Emulation, Failure, FlowRun, Phase
from placer.emulation.topology import MAX_BYTES_PER_S, lay_network
from placer.errors import DeployError, PlacerError, RunError
from runtimes.client import AgentClient
from runtimes.convert import zeros
from runtimes.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.deployment.deployment import Deployment
    from placer.emulation.drive import Attempt
    from placer.emulation.predict import Prediction
    from placer.emulation.topology import Topology
    from runtimes.convert import Array
    from runtimes.observation import Observation

_ALONE_RUNS = 7
_LEAST_DEADLINE_S = 3.0
_DEADLINE_FACTOR = 5.0
_ACKNOWLEDGED_S = 3.0
_ASK_AGAIN_S = 0.05


def emulate_here(job: Job) -> Emulation:
    """Do a job in this process's namespaces.

    Raises
    ------
    PlacerError
        The site could not be built, the plan not deployed, or requests failed though nothing was cut.
    """
    deployment = job.deployment()
    topology = lay_network(job.plan.problem, deployment.assignments)
    wires = [(cut, find_wire(topology, cut.link)) for cut in job.cuts]
    folder = Path(PRIVATE_FOLDER)
    _say(f"building {len(topology.devices)} hosts and {len(topology.wires)} links")
    network = Network(topology, folder)
    _say(f"starting {len(topology.devices)} agents")
    addresses = start_agents(topology, network, folder)
    deploy(deployment, addresses, lambda device, step: _say(f"{device}: {step}"))
    _say("running every segment alone: is this machine as fast as the site's devices?")
    segment_s, notes = _segment_seconds(deployment, addresses)
    notes += _slow_wires(topology)
    if job.cuts and job.plan.fallbacks:
        notes.append("the plan's fallbacks are not deployed: after a cut, this is what the plan does without them")
    predictions = {f.name: predict(job.plan, deployment, topology, f.name, segment_s) for f in job.plan.flows}
    streams = [_stream(job, deployment, addresses, flow, predictions[flow]) for flow in predictions]
    since = _sequences(addresses)
    _say(f"running {len(streams)} flows for {job.duration_s:g} s")
    attempts = drive(streams, job.duration_s, [(cut.at_s, partial(network.cut, wire)) for cut, wire in wires])
    observations = _observe(addresses, since, deployment, attempts)
    first_cut_s = min((cut.at_s for cut in job.cuts), default=float("inf"))
    runs = tuple(
        _judge(job, flow, attempts[flow], observations, predictions[flow], first_cut_s) for flow in predictions
    )
    return Emulation(plan=deployment.plan, devices=topology.devices, cuts=job.cuts, flows=runs, notes=tuple(notes))


def _segment_seconds(deployment: Deployment, addresses: Mapping[str, str]) -> tuple[dict[str, float], list[str]]:
    """Give each segment's seconds: its device's, or this machine's where it is slower, which is noted."""
    seconds, notes = {}, []
    for device, assignment in deployment.assignments.items():
        with AgentClient(addresses[device]) as client:
            for segment in assignment.segments:
                since = client.status().last_sequence
                feeds = {t.name: zeros(t) for t in segment.inputs}
                for _ in range(_ALONE_RUNS):
                    client.infer(segment.name, feeds)
                alone_s = median(o.seconds for o in client.observations(since) if o.segment == segment.name)
                planned_s = segment.pad_to_s or 0.0
                seconds[segment.name] = max(planned_s, alone_s)
                if alone_s > planned_s:
                    notes.append(
                        f"segment {segment.name!r} takes {alone_s:.3g} s on this machine and {planned_s:.3g} s on "
                        f"{device!r}: it is predicted by the former"
                    )
    return seconds, notes


def _slow_wires(topology: Topology) -> list[str]:
    return [
        f"link {':'.join(wire.ends)} carries {max(x.bytes_per_s for x in wire.lanes):.3g} bytes/s on the site; "
        f"a wire here carries about {MAX_BYTES_PER_S:.3g}"
        for wire in topology.wires
        if max(x.bytes_per_s for x in wire.lanes) > MAX_BYTES_PER_S
    ]


def _stream(
    job: Job, deployment: Deployment, addresses: Mapping[str, str], flow: str, predictions: Sequence[Prediction]
) -> Stream:
    spec = deployment.flow(flow)
    feeds: dict[str, Array] = {t.name: zeros(t) for t in spec.inputs}
    feeds |= {name: unpack(feed) for name, feed in job.feeds.get(flow, {}).items()}
    slowest_s = max(p.client_latency_s for p in predictions)
    return Stream(
        flow=flow,
        spec=spec,
        agents={device: addresses[device] for device in spec.source_devices},
        feeds=feeds,
        rate_hz=job.plan.flow(flow).rate_hz,
        runs=job.runs,
        deadline_s=job.deadline_s or max(_LEAST_DEADLINE_S, _DEADLINE_FACTOR * slowest_s),
    )


def _sequences(addresses: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for device, address in addresses.items():
        with AgentClient(address) as client:
            found[device] = client.status().last_sequence
    return found


def _observe(
    addresses: Mapping[str, str],
    since: Mapping[str, int],
    deployment: Deployment,
    attempts: Mapping[str, Sequence[Attempt]],
) -> tuple[Observation, ...]:
    """Read what the agents observed; a hop's observation comes with its acknowledgement, maybe after the result."""
    shares = deployment.assignments.values()
    expected = 0
    for flow, tried in attempts.items():
        each = sum(s.flow == flow for a in shares for s in a.segments) + sum(
            r.flow == flow for a in shares for r in a.routes
        )
        expected += each * sum(bool(a.request_id) for a in tried)
    wanted = {a.request_id for tried in attempts.values() for a in tried}
    deadline = time.monotonic() + _ACKNOWLEDGED_S
    while True:
        found: list[Observation] = []
        for device, address in addresses.items():
            with AgentClient(address) as client:
                found += [o for o in client.observations(since[device]) if o.request in wanted]
        if len(found) >= expected or time.monotonic() > deadline:
            return tuple(found)
        time.sleep(_ASK_AGAIN_S)


def _judge(
    job: Job, flow: str, attempts: Sequence[Attempt], observations: Sequence[Observation],
    predictions: tuple[Prediction, Prediction], first_cut_s: float,
) -> FlowRun:  # fmt: skip
    failures = tuple(Failure(sent_s=a.sent_s, seconds=a.seconds, error=a.error) for a in attempts if a.error)
    untouched = [f for f in failures if f.sent_s + f.seconds < first_cut_s]
    if untouched:
        raise RunError(
            f"flow {flow!r}: {len(untouched)} of {len(attempts)} requests failed though nothing was cut; "
            f"the first: {untouched[0].error}"
        )
    whole = [a for a in attempts if a.request_id and a.sent_s + a.seconds < first_cut_s]
    phases = []
    for prediction, part in zip(predictions, (whole[:1], whole[1:]), strict=True):
        if part:
            ids = {a.request_id for a in part}
            measured = Measured(
                passages=tuple(Passage(request_id=a.request_id, outputs={}, latency_s=a.seconds) for a in part),
                observations=tuple(o for o in observations if o.request in ids),
            )
            rows = compare(job.plan, flow, measured, prediction.rehearsal)
            errors = tuple(((r.predicted_s or 0.0) - r.measured_s) / r.measured_s for r in rows)
            phases.append(Phase(name=prediction.phase, rows=rows, errors=errors))
    answered = sum(bool(a.request_id) for a in attempts)
    return FlowRun(
        flow=flow, deadline_s=job.plan.flow(flow).deadline_s, sent=len(attempts), answered=answered,
        failures=failures, phases=tuple(phases),
    )  # fmt: skip


def _say(text: str) -> None:
    _tell(Said(text=text))


def _tell(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _end_with(stream: int) -> None:
    while os.read(stream, 1 << 16):
        pass
    os._exit(1)


def main() -> NoReturn:
    """Take a job from standard input and answer in lines on standard output."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    length = int.from_bytes(sys.stdin.buffer.read(LENGTH_BYTES), "big")
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(length), type=Job)
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "placer", PRIVATE_FOLDER], capture_output=True, check=False)
        if mounted.returncode:
            raise DeployError(f"{PRIVATE_FOLDER} could not be made private: {mounted.stderr.decode().strip()}")
        _tell(Done(emulation=emulate_here(job)))
    except PlacerError as error:
        kind = type(error).__name__
        _tell(Failed(kind=kind if hasattr(errors, kind) else PlacerError.__name__, text=str(error)))
    except AgentError as error:
        _tell(Failed(kind=RunError.__name__, text=str(error)))
    # Threads of gRPC and the agents go with this process, which is the first of its namespace.
    os._exit(0)


if __name__ == "__main__":
    main()
