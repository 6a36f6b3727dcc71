"""What flows take when TCP has forgotten its window in the pauses between requests: what a problem's links leave out.

A link of a problem is linear in bytes; a window that is small after a pause is not. So it is computed for the finished
plan, by the same schedule, with each message's stall added to its time on the link.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placer.deployment.messages import released_by
from placer.index import ProblemIndex
from placer.schedule import run_schedule
from placer.segments import lay_out
from placer.transfer_time import INITIAL_WINDOW_BYTES, Path, settled_window_bytes, stall_s, wire_bytes
from profiles.energy import FRAMING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.plan import FlowPlan, Plan
    from placer.problem import Link, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What a flow takes in other states of its connections.

    Parameters
    ----------
    flow
        Its name.
    planned_s
        As planned: on busy connections.
    paused_s
        At the flow's own rate, which leaves pauses.
    first_s
        With the window of a new connection, which a plan's agents open before its first request.
    """

    flow: str
    planned_s: float
    paused_s: float
    first_s: float


def pauses(plan: Plan, flows: Sequence[FlowPlan] | None = None) -> tuple[Pause, ...]:
    """Say what flows take after pauses and at first; at a rate of zero there are no pauses.

    Parameters
    ----------
    plan
        The plan.
    flows
        Which of its flows; all if not given.
    """
    index = ProblemIndex(plan.problem)
    return tuple(
        Pause(
            flow=flow.name,
            planned_s=flow.latency_s,
            paused_s=_latency_s(index, plan, flow, 1 / flow.rate_hz) if flow.rate_hz > 0 else flow.latency_s,
            first_s=_latency_s(index, plan, flow, None),
        )
        for flow in (plan.flows if flows is None else flows)
    )


def _latency_s(index: ProblemIndex, plan: Plan, planned: FlowPlan, period_s: float | None) -> float:
    """Time a flow whose messages follow each other at a period; None for the first one."""
    position = next(i for i, f in enumerate(index.flows) if f.name == planned.name)
    flow = index.flows[position]
    if flow.flow.latency != "makespan":
        return planned.latency_s
    layout = lay_out(index, flow, index.choice_of(position, planned.assignment))
    after = released_by(plan, planned.name)
    names = [after[flow.flow.tensors[x.tensor].name] for x in layout.transfers]
    sizes: defaultdict[tuple[str, int, int], float] = defaultdict(float)
    for name, x in zip(names, layout.transfers, strict=True):
        sizes[name, x.link, x.target] += x.bytes
    transfers = []
    for name, x in zip(names, layout.transfers, strict=True):
        # What leaves together is one message; its first tensor bears the stall and the others wait behind it.
        size = sizes.pop((name, x.link, x.target), 0.0)
        stall = message_stall_s(index.problem, index.links[x.link], size, period_s) if size else 0.0
        transfers.append(dataclasses.replace(x, bytes=x.bytes + stall * index.links[x.link].bytes_per_s))
    return run_schedule(index, flow, dataclasses.replace(layout, transfers=tuple(transfers))).latency_s


def message_stall_s(problem: Problem, link: Link, message_bytes: float, period_s: float | None) -> float:
    """Give the seconds that a message waits for TCP's window.

    Parameters
    ----------
    problem, link
        One of a problem's links.
    message_bytes
        Of its tensors.
    period_s
        Equal messages follow each other so far apart; None for the first on a new connection.
    """
    back = next((k for k in problem.links if (k.source, k.target) == (link.target, link.source)), link)
    path = Path(round_trip_s=link.latency_s + back.latency_s, bytes_per_s=link.bytes_per_s * FRAMING)
    sent = wire_bytes(message_bytes)
    if period_s is None:
        return stall_s(sent, path, INITIAL_WINDOW_BYTES)
    gap_s = max(0.0, period_s - sent / path.bytes_per_s)
    return stall_s(sent, path, settled_window_bytes(sent, path, gap_s))
