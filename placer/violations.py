"""Which rules a choice breaks: what it uses of each limited quantity, against the limit.

Of a whole choice only `placer.evaluate` asks; what breaks nothing here keeps every rule of the problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from placer import rules
from placer.objective import TOTALS, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex

TOLERANCE = 1e-9
"""Relative slack within which a limit counts as kept: room for rounding, far below any solver's gap."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a choice breaks: its name, the value reached and the limit."""

    rule: str
    value: float
    limit: float


def within(value: float, limit: float) -> bool:
    """Whether a value keeps a limit, up to `TOLERANCE` relative."""
    return value <= limit + TOLERANCE * abs(limit)


def violations(index: ProblemIndex, choices: Sequence[Choice], evaluation: Evaluation) -> tuple[Violation, ...]:
    """List the rules that a choice breaks, each once, named as in `placer.rules`.

    Parameters
    ----------
    index, choices
        The problem and one choice per flow, in file order.
    evaluation
        Every other number of these choices.
    """
    found: list[Violation] = []
    for flow, choice, r in zip(index.flows, choices, evaluation.flows, strict=True):
        for t, device in r.layout.forbidden:
            name = index.devices[device].name
            producer = flow.tensors[t].producer
            sender = flow.options[producer][choice[producer]].device
            if device in flow.tensors[t].not_on:
                found.append(Violation(rules.kept_off(flow.name, name), 1.0, 0.0))
            if device != sender and index.link(sender, device) is None:
                found.append(Violation(rules.no_link(index.devices[sender].name, name), 1.0, 0.0))
        for group in flow.flow.colocate:
            places = {flow.options[flow.position[n]][choice[flow.position[n]]].device for n in group}
            if len(places) > 1:
                found.append(Violation(rules.colocated(flow.name, group), float(len(places)), 1.0))
    found += [
        Violation(rule, value, limit) for rule, value, limit in used(index, evaluation) if not within(value, limit)
    ]
    return tuple(dict.fromkeys(found))


def used(index: ProblemIndex, evaluation: Evaluation) -> list[tuple[str, float, float]]:
    """List what a choice uses of each limited quantity: the rule's name, the value reached and the limit.

    Parameters
    ----------
    index
        The problem.
    evaluation
        What `evaluate` says of a choice for it; the list need not be within the limits.
    """
    found: list[tuple[str, float, float]] = []

    def cap(rule: str, value: float, limit: float | None) -> None:
        if limit is not None:
            found.append((rule, value, limit))

    limits = index.problem.limits
    for flow, r in zip(index.flows, evaluation.flows, strict=True):
        cap(rules.deadline(flow.name), r.latency_s, flow.flow.deadline_s)
        after_pauses_s = limits.deadline_after_pauses_s.get(flow.name)
        cap(rules.deadline_after_pauses(flow.name), (r.paused or r).latency_s, after_pauses_s)
        cap(rules.accuracy(flow.name), r.accuracy_cost, limits.accuracy_cost.get(flow.name))
        cap(rules.flow_energy(flow.name), r.energy_j, limits.flow_energy_j.get(flow.name))
        for name, limit in limits.flow_device_energy_j.get(flow.name, {}).items():
            spent = fsum(c.joules for c in r.charges if c.device == index.device_position[name])
            cap(rules.flow_device_energy(flow.name, name), spent, limit)
    for i, d in enumerate(index.devices):
        cap(rules.memory(d.name), evaluation.memory_bytes[i], d.memory_bytes)
        cap(rules.utilization(d.name), evaluation.device_utilization[i], d.max_utilization)
        cap(rules.power(d.name), evaluation.device_power_w[i], limits.power_w.get(d.name))
    for k, link in enumerate(index.links):
        load = evaluation.medium_utilization[index.medium_of[k]]
        cap(rules.link_utilization(link.source, link.target), load, link.max_utilization)
    cap(rules.power("site"), _site_w(index, evaluation), limits.power_w.get("site"))
    for field, objective in TOTALS.items():
        if getattr(limits, field) is not None:
            value = total(index, objective, evaluation.flows, evaluation.idle_w)
            cap(rules.total(field), value, getattr(limits, field))
    return found


def _site_w(index: ProblemIndex, evaluation: Evaluation) -> float:
    """Average power of the devices and of the network between them."""
    network_w = (
        f.flow.rate_hz * c.joules
        for f, r in zip(index.flows, evaluation.flows, strict=True)
        for c in r.charges
        if c.device < 0
    )
    return fsum([*evaluation.device_power_w, fsum(network_w)])


def name_broken(index: ProblemIndex, evaluation: Evaluation, meanings: Mapping[str, str]) -> tuple[str, ...]:
    """Say which rules a choice breaks, each once, in the site's words; of a limit also what is reached and allowed.

    Parameters
    ----------
    index, evaluation
        The problem and what `evaluate` says of a choice for it.
    meanings
        Rule names to words for people; see `placer.build.Built.meanings`.
    """
    # Limits that are one rule to people are still two to the referee.
    limited = {name for rule in rules.limits(index.problem) for name in rules.joined(index.problem, rule)}
    said = []
    for v in evaluation.violations:
        words = meanings.get(v.rule, v.rule)
        said.append(f"{words} ({v.value:.4g} where {v.limit:.4g} is allowed)" if v.rule in limited else words)
    return tuple(dict.fromkeys(said))
