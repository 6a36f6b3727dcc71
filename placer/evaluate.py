"""The referee: every number of a plan, recomputed from the problem and a choice of options.

Solvers and baselines propose choices; nothing they claim is reported unless it comes from here. The rules are
those of docs/problem-format.md, the symbols those of docs/formulation.md.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import fsum
from typing import TYPE_CHECKING

from placer.connections import hold
from placer.objective import total
from placer.schedule import Schedule, run_schedule, serial_latency_s
from placer.segments import Layout, lay_out
from placer.violations import violations, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import Choice, FlowIndex, ProblemIndex
    from placer.transfer_time import Connections
    from placer.violations import Violation


@dataclass(frozen=True, slots=True)
class Charge:
    """One item of a flow's joules per inference, and who spends it."""

    kind: str
    """compute, segment, transfer, conversion or wait."""
    device: int
    """Who spends it; -1 for the network between."""
    link: int
    """The link a transfer uses; -1 for other kinds."""
    joules: float


@dataclass(frozen=True, slots=True)
class FlowResult:
    """What one flow costs and how long it takes under a choice."""

    layout: Layout
    schedule: Schedule
    latency_s: float
    energy_j: float
    """Joules per inference above idle."""
    charges: tuple[Charge, ...]
    device_s: tuple[float, ...]
    """Expected busy seconds per inference of each device (shares counted)."""
    medium_s: tuple[float, ...]
    """Expected busy seconds per inference of each link queue (shares counted)."""
    accuracy_cost: float
    paused: FlowResult | None = None
    """The same on paused connections, where the problem has a deadline for those and this is on others."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every number of a choice: the objective, each flow's result, and the rules it breaks."""

    objective: float
    flows: tuple[FlowResult, ...]
    idle_w: tuple[float, ...]
    """For each device the idle power that is charged because the plan needs it on, in watts."""
    memory_bytes: tuple[float, ...]
    device_utilization: tuple[float, ...]
    medium_utilization: tuple[float, ...]
    device_power_w: tuple[float, ...]
    """Average power of each device, its idle power included where it is on, in watts."""
    violations: tuple[Violation, ...]

    @property
    def feasible(self) -> bool:
        """Whether every rule holds."""
        return not self.violations


def evaluate_flow(
    index: ProblemIndex, flow: FlowIndex, choice: Sequence[int], connections: Connections = "busy"
) -> FlowResult:
    """Compute latency and joules per inference of one flow under a choice.

    Parameters
    ----------
    index, flow
        The problem and one of its flows.
    choice
        One option position per op, in file order.
    connections
        What its messages find. On busy ones a link takes what the problem says; the others add
        `placer.transfer_time.held_s`, and with it the joules of waiting.
    """
    layout = lay_out(index, flow, choice)
    result = _laid_out(index, flow, choice, hold(index, flow, layout, connections))
    if connections == "paused" or flow.name not in index.problem.limits.deadline_after_pauses_s:
        return result
    held = hold(index, flow, layout, "paused")
    if connections == "busy" and not any(x.held_s for x in held.transfers):
        return replace(result, paused=result)
    return replace(result, paused=_laid_out(index, flow, choice, held))


def _laid_out(index: ProblemIndex, flow: FlowIndex, choice: Sequence[int], layout: Layout) -> FlowResult:
    """Compute a flow's result once it is known what moves, and how long that is held back."""
    schedule = run_schedule(index, flow, layout)
    latency_s = schedule.latency_s if flow.flow.latency == "makespan" else serial_latency_s(index, layout)
    device_s = [0.0] * len(index.devices)
    busy_s = [0.0] * len(index.devices)
    for segment in layout.segments:
        start_s, _ = index.start[segment.device, segment.mode]
        busy_s[segment.device] += segment.seconds
        device_s[segment.device] += segment.share * start_s + fsum(
            flow.share[v] * flow.options[v][choice[v]].seconds for v in segment.ops
        )
    medium_s = [0.0] * len(index.media)
    for x in layout.transfers:
        medium_s[index.medium_of[x.link]] += x.share * x.bytes / index.links[x.link].bytes_per_s
    charges = [
        *_compute_charges(index, flow, choice, layout),
        *_transfer_charges(index, layout),
        *_wait_charges(index, flow, latency_s, busy_s),
    ]
    return FlowResult(
        layout,
        schedule,
        latency_s,
        fsum(c.joules for c in charges),
        tuple(charges),
        tuple(device_s),
        tuple(medium_s),
        fsum(flow.options[v][o].accuracy_cost for v, o in enumerate(choice)),
    )


def _compute_charges(index: ProblemIndex, flow: FlowIndex, choice: Sequence[int], layout: Layout) -> list[Charge]:
    by_device: defaultdict[int, list[float]] = defaultdict(list)
    for v, o in enumerate(choice):
        option = flow.options[v][o]
        by_device[option.device].append(option.joules * flow.share[v])
    charges = [Charge("compute", d, -1, fsum(j)) for d, j in sorted(by_device.items())]
    starts: defaultdict[int, list[float]] = defaultdict(list)
    for s in layout.segments:
        _, start_j = index.start[s.device, s.mode]
        starts[s.device].append(start_j * s.share)
    charges += [Charge("segment", d, -1, fsum(j)) for d, j in sorted(starts.items())]
    charges += [Charge("conversion", c.device, -1, c.joules * c.share) for c in layout.conversions]
    return [c for c in charges if c.joules > 0]


def _transfer_charges(index: ProblemIndex, layout: Layout) -> list[Charge]:
    by_link: defaultdict[int, list[float]] = defaultdict(list)
    for x in layout.transfers:
        link = index.links[x.link]
        by_link[x.link].append((link.energy_j_per_transfer + x.bytes * link.energy_j_per_byte) * x.share)
    charges = []
    for k, joules in sorted(by_link.items()):
        link = index.links[k]
        total = fsum([*joules, link.tail_j])
        sender, receiver = index.device_position[link.source], index.device_position[link.target]
        sent, received = total * link.sender_fraction, total * link.receiver_fraction
        charges.append(Charge("transfer", sender, k, sent))
        charges.append(Charge("transfer", receiver, k, received))
        # What rounding leaves of two fractions that are a whole is nobody's.
        rest = total - sent - received
        charges.append(Charge("transfer", -1, k, rest if rest > 1e-12 * total else 0.0))
    return [c for c in charges if c.joules > 0]


def _wait_charges(index: ProblemIndex, flow: FlowIndex, latency_s: float, busy_s: Sequence[float]) -> list[Charge]:
    charges = [
        Charge("wait", d, -1, index.devices[d].wait_w * max(0.0, latency_s - busy_s[d])) for d in flow.source_devices
    ]
    return [c for c in charges if c.joules > 0]


def evaluate(index: ProblemIndex, choices: Sequence[Choice], connections: Connections = "busy") -> Evaluation:
    """Compute every number of a whole choice and the rules it breaks.

    Parameters
    ----------
    index
        The problem.
    choices
        One choice per flow, in file order.
    connections
        As `evaluate_flow`: latencies, joules and deadlines are those on such connections.
    """
    flows = [evaluate_flow(index, f, c, connections) for f, c in zip(index.flows, choices, strict=True)]
    return combine(index, choices, flows)


def late_after_pauses(index: ProblemIndex, choices: Sequence[Choice]) -> tuple[str, ...]:
    """Name the flows that break their deadline on paused connections."""
    return tuple(
        flow.name
        for flow, choice in zip(index.flows, choices, strict=True)
        if flow.flow.deadline_s is not None
        and not within(evaluate_flow(index, flow, choice, "paused").latency_s, flow.flow.deadline_s)
    )


def combine(index: ProblemIndex, choices: Sequence[Choice], flows: Sequence[FlowResult]) -> Evaluation:
    """Add up flow results that `evaluate_flow` has made for these choices."""
    devices = index.devices
    rates = [f.flow.rate_hz for f in index.flows]
    used = [False] * len(devices)
    for flow, choice in zip(index.flows, choices, strict=True):
        for v, o in enumerate(choice):
            option = flow.options[v][o]
            if option.seconds > 0:
                used[option.device] = True
    idle_w = tuple((d.idle_w or 0.0) if used[i] and not d.always_on else 0.0 for i, d in enumerate(devices))
    if index.problem.objective == "latency_s":
        objective = flows[0].latency_s
    else:
        objective = total(index, index.problem.objective, flows, idle_w)
    power_w = tuple(
        fsum(
            [
                (d.idle_w or 0.0) if used[i] or d.always_on else 0.0,
                *(r * c.joules for r, f in zip(rates, flows, strict=True) for c in f.charges if c.device == i),
            ]
        )
        for i, d in enumerate(devices)
    )
    result = Evaluation(
        objective,
        tuple(flows),
        idle_w,
        _memory_bytes(index, choices),
        tuple(fsum(r * f.device_s[i] for r, f in zip(rates, flows, strict=True)) for i in range(len(devices))),
        tuple(fsum(r * f.medium_s[m] for r, f in zip(rates, flows, strict=True)) for m in range(len(index.media))),
        power_w,
        (),
    )
    return replace(result, violations=violations(index, choices, result))


def _memory_bytes(index: ProblemIndex, choices: Sequence[Choice]) -> tuple[float, ...]:
    shared: list[dict[str, float]] = [{} for _ in index.devices]
    own: list[list[float]] = [[] for _ in index.devices]
    workspace = [0.0] * len(index.devices)
    for flow, choice in zip(index.flows, choices, strict=True):
        for v, o in enumerate(choice):
            device = flow.options[v][o].device
            op = flow.flow.ops[v]
            if op.weights_id is not None:
                shared[device][op.weights_id] = op.weights_bytes
            else:
                own[device].append(op.weights_bytes)
            workspace[device] = max(workspace[device], op.workspace_bytes)
    return tuple(fsum([*shared[d].values(), *own[d], workspace[d]]) for d in range(len(index.devices)))
