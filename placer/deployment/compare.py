"""Sets what agents measured beside what was planned and predicted, segment by segment and hop by hop."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Literal

import msgspec

from placer.deployment.messages import conditions_of, lookups_of, lookups_s, released_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.deployment.rehearse import Rehearsal
    from placer.deployment.run import Measured
    from placer.plan import Plan


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One segment, hop, or the whole flow; all times in seconds.

    Parameters
    ----------
    kind, name, where
        A segment on a device, a result of it that was found there and not made again (a hit), a hop over "a -> b", or
        the flow as its client sees it.
    planned_s
        What the plan says, of the devices and links that the profiles describe; None for requests that a condition
        ended on the way, or for which a kept result was found, which the plan has no time for.
    predicted_s
        What the parts measured alone say, of the machines the agents run on; None where not rehearsed.
    measured_s, measured_p90_s
        Median and 90th percentile of the requests.
    bytes
        Bytes a segment read or a hop carried.
    requests
        How many requests were measured.
    """

    kind: Literal["segment", "hit", "hop", "flow"]
    name: str
    where: str
    planned_s: float | None
    predicted_s: float | None
    measured_s: float
    measured_p90_s: float
    bytes: int
    requests: int


def compare(plan: Plan, flow: str, measured: Measured, rehearsal: Rehearsal | None = None) -> tuple[Row, ...]:
    """Summarize the observations of a run next to the plan.

    Parameters
    ----------
    plan, flow
        The plan and the flow that ran.
    measured
        The passages and observations.
    rehearsal
        A prediction for the machines at hand, if there is one.

    Returns
    -------
    tuple of Row
        Segments, what was found of their results, and hops in the order of the plan, the flow last: of requests for
        which all was executed, and of those that a condition ended before or for which a kept result was found.
    """
    flow_plan = plan.flow(flow)
    seconds: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    size: dict[tuple[str, str, str, str], int] = {}
    for o in measured.observations:
        if o.variant:
            # A fallback's segments have the names of the plan's, and are others.
            continue
        key = (o.kind, o.segment, o.device, o.to)
        seconds[key].append(o.padded_s)
        size[key] = o.bytes
    rows, looks_s = [], lookups_s(plan, flow)
    for segment in flow_plan.segments:
        key = ("segment", segment.name, segment.device, "")
        if seconds[key]:
            predicted_s = rehearsal.segment_s.get(segment.name) if rehearsal else None
            rows.append(
                _row("segment", segment.name, segment.device, segment.seconds, predicted_s, seconds[key], size[key])
            )
        key = ("hit", *key[1:])
        if seconds[key]:
            looked_s = looks_s.get(segment.name)
            rows.append(_row("hit", segment.name, segment.device, looked_s, None, seconds[key], size[key]))
    for (after, source, target), planned_s in _hops(plan, flow).items():
        key = ("hop", after, source, target)
        if seconds[key]:
            predicted_s = rehearsal.hop_s.get((after, source, target)) if rehearsal else None
            rows.append(
                _row("hop", after or "inputs", f"{source} -> {target}", planned_s, predicted_s, seconds[key], size[key])
            )
    predicted_s = rehearsal.latency_s + rehearsal.client_s if rehearsal else None
    whole, part = _by_way(plan, flow, measured)
    if whole:
        rows.append(_row("flow", flow, "client", flow_plan.latency_s, predicted_s, whole, 0))
    if part:
        rows.append(_row("flow", f"{flow}, in part", "client", None, None, part, 0))
    return tuple(rows)


def _by_way(plan: Plan, flow: str, measured: Measured) -> tuple[list[float], list[float]]:
    """Part the latencies of requests for which all was executed from those of others.

    A condition or sampling ended those before, or a kept result was found.
    """
    alone = conditions_of(plan, flow) | lookups_of(plan, flow)
    if not alone and all(model.every == 1 for model in plan.models if model.flow == flow):
        return [p.latency_s for p in measured.passages], []
    sessions = {s.name for s in plan.flow(flow).segments if not alone.issuperset(s.ops)}
    ran: defaultdict[str, set[str]] = defaultdict(set)
    for o in measured.observations:
        if o.kind == "segment":
            ran[o.request].add(o.segment)
    whole = [p.latency_s for p in measured.passages if ran[p.request_id] >= sessions]
    return whole, [p.latency_s for p in measured.passages if not ran[p.request_id] >= sessions]


def _hops(plan: Plan, flow: str) -> Mapping[tuple[str, str, str], float]:
    """Planned seconds by (segment it follows, sender, receiver); a hop carries all tensors that go together."""
    after = released_by(plan, flow)
    hops: dict[tuple[str, str, str], float] = {}
    for t in plan.flow(flow).transfers:
        key = (after[t.tensor], t.source, t.target)
        hops[key] = max(hops.get(key, 0.0), t.seconds)
    return hops


def _row(
    kind: Literal["segment", "hit", "hop", "flow"],
    name: str,
    where: str,
    planned_s: float | None,
    predicted_s: float | None,
    seconds: list[float],
    size: int,
) -> Row:
    ordered = sorted(seconds)
    return Row(
        kind=kind,
        name=name,
        where=where,
        planned_s=planned_s,
        predicted_s=predicted_s,
        measured_s=median(ordered),
        measured_p90_s=ordered[min(len(ordered) - 1, round(0.9 * (len(ordered) - 1)))],
        bytes=size,
        requests=len(ordered),
    )
