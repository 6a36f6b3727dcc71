"""Three agents that serve a cut model while something goes wrong every few seconds; writes what came of it.

The demo's model, cut in two ways over three devices, is asked for by paced clients. Meanwhile agents are killed and
started again, frozen, cut off from the network, and given the other plan or the one before. Every acknowledged
result is fetched at its sink and compared with the whole model's.

    python -m benchmarks.soak [--minutes N] [--seed N] [--report docs/soak.md]
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import statistics
import threading
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.agent_costs import memory_bytes
from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.deployment import Deployment
from placer.deployment.serving import roll_back
from placer.errors import DeployError
from placer.models.cut import cut
from placer.models.onnx_run import open_session
from placer.planning import read_model
from runtimes.assignment import Assignment
from runtimes.client import AgentClient
from runtimes.datatypes import datatype_of
from runtimes.errors import AgentError
from runtimes.local import LocalAgents
from runtimes.specs import FlowSpec, Route, SegmentSpec, TensorSpec
from tests.runtimes.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.graph import ModelGraph, Tensor

FLOW = "page"
DEVICES = ("camera", "box", "cloud")
SOURCE, SINK = "camera", "cloud"
# Where each plan's segments run, and after which part of the ops it is cut.
PLANS = {
    "three": (("camera", 0.3), ("box", 0.7), ("cloud", 1.0)),
    "two": (("camera", 0.5), ("cloud", 1.0)),
}
CLIENTS = 3
RATE_HZ = 5.0
DEADLINE_S = 4.0
FAULT_EVERY_S = (2.0, 5.0)
MEMORY_EVERY_S = 5.0
FAULTS = ("kill", "kill", "freeze", "cut", "hang", "redeploy", "redeploy", "roll back")


def deployment(graph: ModelGraph, name: str, epoch: int) -> Deployment:
    """Cut the model as one of the plans says."""
    ops = [op.name for op in graph.ops]
    ends = [round(part * len(ops)) for _, part in PLANS[name]]
    devices = [device for device, _ in PLANS[name]]
    parts = cut(graph, [ops[begin:end] for begin, end in zip([0, *ends], ends, strict=False)])
    made = {t.name: i for i, part in enumerate(parts) for t in part.outputs}
    routes: dict[tuple[int, str], list[str]] = {}
    for device, part in zip(devices, parts, strict=True):
        for t in part.inputs:
            if t.name in made and devices[made[t.name]] != device:
                routes.setdefault((made[t.name], device), []).append(t.name)
    flow = FlowSpec(
        name=FLOW, source=SOURCE, sink=SINK, devices=tuple(devices), inputs=_specs(graph.inputs),
        outputs=_specs(graph.outputs),
    )  # fmt: skip
    assignments = {
        device: Assignment(
            plan=name, epoch=epoch, device=device, flows=(flow,), peers={}, max_message_bytes=32 << 20,
            segments=(SegmentSpec(
                name=f"{FLOW}/{i}", flow=FLOW, runtime="onnx", blob=part.sha256, blob_bytes=len(part.blob), threads=1,
                inputs=_specs(part.inputs), outputs=_specs(part.outputs),
            ),),
            routes=tuple(
                Route(flow=FLOW, after=f"{FLOW}/{maker}", to=to, tensors=tuple(dict.fromkeys(tensors)))
                for (maker, to), tensors in routes.items() if maker == i
            ),
        )
        for i, (device, part) in enumerate(zip(devices, parts, strict=True))
    }  # fmt: skip
    return Deployment(plan=name, epoch=epoch, assignments=assignments, blobs={p.sha256: p.blob for p in parts})


def _specs(tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=t.name, port=t.name, dtype=datatype_of(np.dtype(t.dtype)) or t.dtype, shape=t.shape)
        for t in tensors
    )


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    acknowledged: int = 0
    equal: int = 0
    wrong: int = 0
    lost: int = 0
    gone_with_sink: int = 0
    late: int = 0
    refused: collections.Counter[str] = field(default_factory=collections.Counter)
    served_at: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Soak:
    """The agents, their disturbance, and who asks them.

    Parameters
    ----------
    agents
        The agents.
    addresses
        How they are reached: each through a wire that can be cut, but for the source.
    wires
        Those wires, by device.
    graph
        The model.
    seed
        What goes wrong, and when.
    """

    def __init__(
        self, agents: LocalAgents, addresses: Mapping[str, str], wires: Mapping[str, Proxy], graph: ModelGraph,
        seed: int,
    ) -> None:  # fmt: skip
        self._agents = agents
        self._addresses = addresses
        self._wires = wires
        self._graph = graph
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._killed_at: dict[str, list[float]] = {device: [] for device in DEVICES}
        self._active = "three"
        self.tally = Tally()
        self.faults: collections.Counter[str] = collections.Counter()
        self.healed_at: list[float] = []
        self.memory: list[tuple[float, int]] = []
        rng = np.random.default_rng(seed)
        (given,) = graph.inputs
        self._inputs = [rng.uniform(-1, 1, given.shape).astype(np.float32) for _ in range(8)]
        session = open_session(Path(graph.path).read_bytes(), threads=1)
        self._expected = [session.run(None, {given.name: x})[0] for x in self._inputs]

    def run(self, minutes: float) -> None:
        """Serve and disturb for some minutes, then let it come to rest."""
        deploy(deployment(self._graph, "three", next_epoch(self._addresses)), self._addresses)
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]
        threads.append(threading.Thread(target=self._watch_memory))
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60 * minutes
        while (now := time.monotonic()) < end:
            time.sleep(min(end - now, self._random.uniform(*FAULT_EVERY_S)))
            self._disturb(self._random.choice(FAULTS))
        self._settle()
        self._stop.set()
        for thread in threads:
            thread.join()

    def _settle(self) -> None:
        """Wait until a request is served after the last fault; the soak fails if none is."""
        since = time.monotonic()
        while time.monotonic() - since < 30:
            time.sleep(0.5)
            if self.tally.served_at and self.tally.served_at[-1] > since:
                return
        raise SystemExit("no request was served within 30 s after the last fault")

    def _disturb(self, fault: str) -> None:
        device = self._random.choice(DEVICES)
        if fault in ("cut", "hang") and device == SOURCE:
            device = SINK
        self.faults[fault] += 1
        if fault == "kill":
            self._killed_at[device].append(time.monotonic())
            self._agents.process(device).kill()
            self._agents.restart(device)
            self._killed_at[device].append(time.monotonic())
        elif fault == "freeze":
            process = self._agents.process(device)
            process.send_signal(signal.SIGSTOP)
            time.sleep(self._random.uniform(0.5, 2.0))
            process.send_signal(signal.SIGCONT)
        elif fault in ("cut", "hang"):
            self._wires[device].cut(fault)
            time.sleep(self._random.uniform(0.5, 2.0))
            self._wires[device].heal()
        else:
            self._switch(fault)
        self.healed_at.append(time.monotonic())

    def _switch(self, how: str) -> None:
        try:
            if how == "roll back":
                self._active, _, _ = roll_back(self._active, self._addresses)
                return
            other = next(name for name in PLANS if name != self._active)
            deploy(deployment(self._graph, other, next_epoch(self._addresses)), self._addresses)
            self._active = other
        except (DeployError, AgentError) as error:
            # Said and not hidden: the plan before serves on.
            self.faults[f"{how}, refused"] += 1
            print(f"{how}: {error}"[:200], flush=True)

    def _ask(self, number: int) -> None:
        (given,) = self._graph.inputs
        sent = 0
        with (
            AgentClient(self._addresses[SOURCE]) as source,
            AgentClient(self._addresses[SINK], timeout_s=DEADLINE_S) as sink,
        ):
            while not self._stop.wait(1 / RATE_HZ):
                sent += 1
                which = (number + sent) % len(self._inputs)
                request = f"soak-{number}-{sent}"
                started = time.monotonic()
                try:
                    source.infer(FLOW, {given.name: self._inputs[which]}, deadline_s=DEADLINE_S, request_id=request)
                except AgentError as error:
                    with self.tally.lock:
                        self.tally.refused[error.status] += 1
                        self.tally.late += time.monotonic() - started > DEADLINE_S + 1.5
                    continue
                self._check(sink, request, time.monotonic(), self._expected[which])

    def _check(self, sink: AgentClient, request: str, acknowledged_at: float, expected: Any) -> None:
        outputs = None
        # What is acknowledged is there: a sink that cannot be reached is asked again.
        for _ in range(10):
            try:
                (outputs,) = sink.fetch(request, FLOW).values()
                break
            except AgentError as error:
                if error.status == "NOT_FOUND":
                    break
                time.sleep(0.5)
        died = any(at > acknowledged_at - DEADLINE_S for at in self._killed_at[SINK])
        with self.tally.lock:
            self.tally.acknowledged += 1
            self.tally.served_at.append(time.monotonic())
            if outputs is None:
                self.tally.lost += not died
                self.tally.gone_with_sink += died
            else:
                self.tally.equal += bool(np.array_equal(outputs, expected))
                self.tally.wrong += not np.allclose(outputs, expected, rtol=1e-4, atol=1e-6)

    def _watch_memory(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(MEMORY_EVERY_S):
            try:
                total = sum(memory_bytes(self._agents.process(device).pid) for device in DEVICES)
            except (OSError, ValueError):
                # One was killed while it was looked at.
                continue
            self.memory.append((time.monotonic() - began, total))


def report(soak: Soak, minutes: float, seed: int) -> str:
    """Say what came of it."""
    tally = soak.tally
    recoveries = sorted(
        next((at - healed for at in tally.served_at if at > healed), float("inf")) for healed in soak.healed_at
    )
    # Agents that have just begun are small: the first third is left out of the slope.
    late = soak.memory[len(soak.memory) // 3 :]
    slope = statistics.linear_regression(*zip(*late, strict=True)).slope if len(late) > 2 else float("nan")
    refused = ", ".join(f"{count} {status}" for status, count in sorted(tally.refused.items())) or "none"
    faults = ", ".join(f"{count} {fault}" for fault, count in sorted(soak.faults.items()))
    rows = [
        ("minutes, seed", f"{minutes:g}, {seed}"),
        ("faults", f"{sum(c for f, c in soak.faults.items() if 'refused' not in f)}: {faults}"),
        ("requests", f"{tally.acknowledged + sum(tally.refused.values())}"),
        ("acknowledged", f"{tally.acknowledged}"),
        ("wrong", f"{tally.wrong} ({tally.equal} equal bit for bit)"),
        ("lost after acknowledgement", f"{tally.lost}"),
        ("acknowledged, and gone with the sink's process before they were fetched", f"{tally.gone_with_sink}"),
        ("told what went wrong", refused),
        ("told later than 1.5 s after the deadline", f"{tally.late}"),
        ("next result after a fault, p50 / worst", f"{statistics.median(recoveries):.2f} s / {recoveries[-1]:.2f} s"),
        ("memory of all agents (PSS), first / last", f"{late[0][1] / 1e6:.0f} MB / {late[-1][1] / 1e6:.0f} MB"),
        ("its slope over the last two thirds", f"{60 * slope / 1e6:+.2f} MB per minute"),
    ]
    return "| what | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def main() -> None:
    """Run, print, and write the report where it is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, metavar="FILE", help="put the table there, after the line <!-- soak -->")
    given = parser.parse_args()
    head, mark = "", "<!-- soak -->\n"
    if given.report is not None:
        head, mark, _ = given.report.read_text().partition(mark)
        if not mark:
            raise SystemExit(f"{given.report} has no line <!-- soak -->")
    with resources.as_file(resources.files("placer.demo_data") / "orientation.onnx") as path:
        graph = read_model(path, {"x": (1, 3, 224, 224)})
        with LocalAgents(DEVICES) as agents:
            wires = {device: Proxy(agents.addresses[device]) for device in DEVICES if device != SOURCE}
            addresses = {
                device: wires[device].address if device in wires else agents.addresses[device] for device in DEVICES
            }
            soak = Soak(agents, addresses, wires, graph, given.seed)
            soak.run(given.minutes)
            for wire in wires.values():
                wire.__exit__(None, None, None)
    told = report(soak, given.minutes, given.seed)
    print(told)
    if given.report is not None:
        given.report.write_text(head + mark + "\n" + told)
    if soak.tally.wrong or soak.tally.lost or soak.tally.late:
        raise SystemExit("the soak failed")


if __name__ == "__main__":
    main()
