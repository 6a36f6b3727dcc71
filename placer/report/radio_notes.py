"""Says where a plan's radios rest longer between requests than its joules and latencies count on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.build_machines import gap_s
from placer.report.tables import amount
from profiles import transfer_cost

if TYPE_CHECKING:
    from placer.plan import Plan
    from profiles import Link, Site

_NOTICED = 1.05
"""What a link takes is told when it is so many times the planned."""


def radio_notes(plan: Plan, site: Site) -> list[str]:
    """Say which links a plan passes more seldom than it took for sure, so that tails and wake-ups are charged too low.

    A problem has one tail and one wake-up for each link, by the rate of the flows that begin or end at its devices
    (`gap_s`). Those that the plan serves where they arise do not pass it.

    Parameters
    ----------
    plan, site
        The plan, and the site that it was made from.
    """
    told: list[tuple[float, str]] = []
    for link in site.links:
        rate_hz = _rate_hz(plan, site, link)
        if rate_hz == 0:
            continue
        ends = site.device(link.source), site.device(link.target)
        planned_s, real_s = gap_s(site, link), 1 / rate_hz
        planned, real = (transfer_cost(link, *ends, gap) for gap in (planned_s, real_s))
        wakes = real.latency_s > planned.latency_s or real.energy_j_per_transfer > planned.energy_j_per_transfer
        if real_s <= planned_s or not (wakes or real.tail_j > _NOTICED * planned.tail_j):
            continue
        words = f"a tail there takes {amount(real.tail_j, 'J')}, not {amount(planned.tail_j, 'J')}"
        if wakes:
            woken_j = real.energy_j_per_transfer - planned.energy_j_per_transfer
            words += (
                f", and each message wakes the radio up: {amount(woken_j, 'J')} and "
                f"{amount(real.latency_s - planned.latency_s, 's')} more, which no deadline here counts"
            )
        told.append(
            (
                real.tail_j - planned.tail_j,
                f"{link.source!r} -> {link.target!r} is passed every {amount(real_s, 's')}, and was taken to be every "
                f"{amount(planned_s, 's')}, since flows that this plan keeps off it begin or end there: {words}",
            )
        )
    if not told:
        return []
    more = f" So it is with {len(told) - 1} more of its links." if len(told) > 1 else ""
    return [f"Note: {max(told)[1]}. Plan such a flow on a site of its own to count them.{more}"]


def _rate_hz(plan: Plan, site: Site, link: Link) -> float:
    """Return how often a plan's requests pass a link's radios, at the end that sees fewer; 0 where none pass it."""
    if not any((t.source, t.target) == (link.source, link.target) for f in plan.flows for t in f.transfers):
        return 0.0
    # A radio has one profile, whomever it speaks to; a client's station is always awake.
    alike = {(k.source, k.target) for k in site.links if k.profile.id == link.profile.id}
    client = link.source if link.direction == "up" else link.target
    return min(
        sum(
            f.rate_hz
            for f in plan.flows
            if any((t.source, t.target) in alike and end in (t.source, t.target) for t in f.transfers)
        )
        for end in ((client,) if link.profile.ends == "client" else (link.source, link.target))
    )
