"""A lower bound that needs no search: what every choice takes or spends at the least, op by op."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from placer.objective import factors

if TYPE_CHECKING:
    from placer.index import FlowIndex, ProblemIndex

_ROUNDING = 1e-12
"""Relative: sums of other orders may end a little lower."""


def floor(index: ProblemIndex) -> float:
    """Give a value that no choice of a problem's objective goes below.

    Latency is at least the longest path of each op's least seconds, or their sum where a flow is `serial`; joules,
    carbon and cost are at least the sum of each op's cheapest option. Everything that is left out (segments,
    transfers, waiting, idle devices) only adds.

    Parameters
    ----------
    index
        The problem.

    Returns
    -------
    float
        In the unit of the objective.
    """
    objective = index.problem.objective
    if objective == "latency_s":
        return _least_latency_s(index.flows[0]) * (1 - _ROUNDING)
    counts = factors(index.problem, objective).device
    spent = (
        flow.flow.rate_hz * share * min((o.joules * counts[o.device] for o in options), default=0.0)
        for flow in index.flows
        for share, options in zip(flow.share, flow.options, strict=True)
    )
    return math.fsum(spent) * (1 - _ROUNDING)


def _least_latency_s(flow: FlowIndex) -> float:
    least_s = [min((o.seconds for o in options), default=0.0) for options in flow.options]
    if flow.flow.latency == "serial":
        return math.fsum(least_s)
    done_s = [0.0] * len(least_s)
    for v in flow.topological:
        done_s[v] = least_s[v] + max((done_s[u] for u in flow.predecessors[v]), default=0.0)
    return max(done_s, default=0.0)
