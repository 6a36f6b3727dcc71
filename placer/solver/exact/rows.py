"""The objective and every limit of a flow as rows that are linear in what its parts spend.

A row adds joules by who spends them, expected seconds of devices and queues, accuracy cost, bytes of weights,
and the latency. Row 0 is the objective. Charges that come once however often a thing is used (the idle power of
a device, a link's tail) are no rows but items: the search decides them (see `placer.solver.exact.splits`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from placer.objective import TOTALS, factors
from placer.violations import TOLERANCE

if TYPE_CHECKING:
    from placer.index import FlowIndex, ProblemIndex
    from placer.problem import Objective, Problem

Array = npt.NDArray[np.float64]

SLACK = TOLERANCE + 1e-12
"""Relative slack of a limit here: the referee's, and room for adding up in another order. Only widens."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Coefficients of each row; R rows, D devices, K links, M queues."""

    energy: Array
    """(R, D + K) per joule spent by each device, then by the network on each link."""
    device_s: Array
    """(R, D) per expected busy second of each device."""
    medium_s: Array
    """(R, M) per expected busy second of each queue."""
    accuracy: Array
    """(R,) per unit of accuracy cost."""
    weights: Array
    """(R, D) per byte of weights on each device."""
    latency: Array
    """(R,) per second of latency, the waiting of the source's device included."""
    paused: Array
    """(R,) per second by which pauses lengthen the latency: 1 for the deadline after pauses."""
    limit: Array
    """(R,) upper limits; infinite for the objective."""
    wait_w: Array
    """(D,) waiting power of the devices where the flow's data arise, in watts; 0 for the others."""
    idle_rows: Array
    """(D, R) what switching a device on adds to each row; 0 for those always on."""
    tail_rows: Array
    """(K, R) what the first use of each link adds to each row."""
    deadline: int
    """Position of the tightest deadline, on busy connections or after pauses; 0, the objective's, without one."""
    weights_bytes: Array
    """(ops,) bytes of weights of each op, divided by how many ops of the flow share them: a lower bound."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.limit)


class _Builder:
    """Collects the rows one by one."""

    def __init__(self, index: ProblemIndex) -> None:
        devices, media = len(index.devices), len(index.media)
        self.shapes = {"energy": devices + len(index.links), "device_s": devices, "medium_s": media, "weights": devices}
        self.rows: list[dict[str, Array | float]] = []

    def add(self, limit: float, *, spent: float = 0.0, **coefficients: Array | float) -> None:
        """Add one row of which a part is spent in any case; what is not named is zero."""
        row: dict[str, Array | float] = {name: np.zeros(size) for name, size in self.shapes.items()}
        row |= {"accuracy": 0.0, "latency": 0.0, "paused": 0.0, "idle": np.zeros(self.shapes["weights"])}
        self.rows.append(row | coefficients | {"limit": limit + SLACK * abs(limit) - spent})

    def stack(self, name: str) -> Array:
        """Return the coefficients of one kind for all rows."""
        return np.array([row[name] for row in self.rows], dtype=np.float64)


def build_rows(index: ProblemIndex, flow: FlowIndex) -> Rows:
    """Write down the objective and the limits of a problem's only flow."""
    problem, limits, name = index.problem, index.problem.limits, flow.name
    devices = len(index.devices)
    rate_hz = flow.flow.rate_hz
    everybody = np.ones(devices + len(index.links))
    only = np.eye(devices + len(index.links))
    switched_w = np.array([0.0 if d.always_on else d.idle_w or 0.0 for d in index.devices])
    steady_w = np.array([d.idle_w or 0.0 if d.always_on else 0.0 for d in index.devices])
    build = _Builder(index)

    if problem.objective == "latency_s":
        build.add(np.inf, latency=1.0)
    else:
        counts = _counts(problem, problem.objective)
        build.add(np.inf, energy=counts * rate_hz, idle=switched_w * counts[:devices])
    for field, objective in TOTALS.items():
        cap = getattr(limits, field)
        if cap is not None:
            counts = _counts(problem, objective)
            build.add(cap, energy=counts * rate_hz, idle=switched_w * counts[:devices])
    deadline, tightest_s = 0, np.inf
    # After pauses a latency is mostly longer: of equal deadlines that one is the tighter.
    after_pauses_s = limits.deadline_after_pauses_s.get(name)
    for deadline_s, paused in ((after_pauses_s, 1.0), (flow.flow.deadline_s, 0.0)):
        if deadline_s is not None:
            if deadline_s < tightest_s:
                deadline, tightest_s = len(build.rows), deadline_s
            build.add(deadline_s, latency=1.0, paused=paused)
    if name in limits.accuracy_cost:
        build.add(limits.accuracy_cost[name], accuracy=1.0)
    if name in limits.flow_energy_j:
        build.add(limits.flow_energy_j[name], energy=everybody)
    for device, joules in limits.flow_device_energy_j.get(name, {}).items():
        build.add(joules, energy=only[index.device_position[device]])
    for d, device_ in enumerate(index.devices):
        if device_.memory_bytes is not None:
            build.add(device_.memory_bytes, weights=only[d, :devices])
        if device_.name in limits.power_w:
            watts, idle = limits.power_w[device_.name], switched_w * only[d, :devices]
            build.add(watts, spent=float(steady_w[d]), energy=only[d] * rate_hz, idle=idle)
        build.add(device_.max_utilization, device_s=only[d, :devices] * rate_hz)
    if "site" in limits.power_w:
        spent_w = float(steady_w.sum())
        build.add(limits.power_w["site"], spent=spent_w, energy=everybody * rate_hz, idle=switched_w)
    for m, unit in enumerate(np.eye(len(index.media))):
        cap = min(k.max_utilization for i, k in enumerate(index.links) if index.medium_of[i] == m)
        build.add(cap, medium_s=unit * rate_hz)

    energy = build.stack("energy")
    wait_w = np.zeros(devices)
    for d in flow.source_devices:
        wait_w[d] = index.devices[d].wait_w
    tails = np.zeros((len(index.links), len(build.rows)))
    for i, link in enumerate(index.links):
        tails[i] = transfer_shares(index, energy, i) * link.tail_j
    sharing = Counter(op.weights_id for op in flow.flow.ops)
    return Rows(
        energy=energy,
        device_s=build.stack("device_s"),
        medium_s=build.stack("medium_s").reshape(len(build.rows), len(index.media)),
        accuracy=build.stack("accuracy"),
        weights=build.stack("weights"),
        latency=build.stack("latency") + energy[:, :devices] @ wait_w,
        paused=build.stack("paused"),
        limit=build.stack("limit"),
        wait_w=wait_w,
        idle_rows=build.stack("idle").T,
        tail_rows=tails,
        deadline=deadline,
        weights_bytes=np.array(
            [op.weights_bytes / (1 if op.weights_id is None else sharing[op.weights_id]) for op in flow.flow.ops]
        ),
    )


def _counts(problem: Problem, objective: Objective) -> Array:
    """(D + K,) what a joule of each device, and of the network on each link, counts in a total."""
    counted = factors(problem, objective)
    return np.array([*counted.device, *counted.link], dtype=np.float64)


def transfer_shares(index: ProblemIndex, energy: Array, link: int) -> Array:
    """Return what one joule of a link adds to each row: its sender's, its receiver's and the network's fraction."""
    k = index.links[link]
    rest = max(0.0, 1.0 - k.sender_fraction - k.receiver_fraction)
    sender, receiver = index.device_position[k.source], index.device_position[k.target]
    total: Array = (
        energy[:, sender] * k.sender_fraction
        + energy[:, receiver] * k.receiver_fraction
        + energy[:, len(index.devices) + link] * rest
    )
    return total


def keep_rows(rows: Rows, keep: npt.NDArray[np.bool_]) -> Rows:
    """Return the rows that `keep` marks; row 0 and the tightest deadline must be among them."""
    return Rows(
        energy=rows.energy[keep],
        device_s=rows.device_s[keep],
        medium_s=rows.medium_s[keep],
        accuracy=rows.accuracy[keep],
        weights=rows.weights[keep],
        latency=rows.latency[keep],
        paused=rows.paused[keep],
        limit=rows.limit[keep],
        wait_w=rows.wait_w,
        idle_rows=rows.idle_rows[:, keep],
        tail_rows=rows.tail_rows[:, keep],
        deadline=int(keep[: rows.deadline].sum()),
        weights_bytes=rows.weights_bytes,
    )
