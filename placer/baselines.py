"""Simple placements to compare a plan with; each is a choice like any other, judged by `evaluate`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import fsum, inf
from typing import TYPE_CHECKING

from placer import rules
from placer.evaluate import evaluate, evaluate_flow
from placer.plan import Baseline
from placer.violations import name_broken, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.evaluate import Evaluation
    from placer.index import Choice, FlowIndex, ProblemIndex

_TIERS = ("sensor", "edge", "cloud")

_MOST_PREFIXES = 400
"""How many prefixes of a flow are evaluated at the most, the most promising first; few flows need ten."""


def all_on(flow: FlowIndex, device: int) -> Choice | None:
    """Every op on one device, in one mode where one can run them all; sources and sinks stay. None if an op cannot."""
    return _prefix(flow, flow.size, device, device)


def _prefix(flow: FlowIndex, count: int, first: int, second: int) -> Choice | None:
    """Put the first `count` ops of the file on one device, the rest on another."""
    head = _in_one_mode(flow, range(count), first)
    tail = _in_one_mode(flow, range(count, flow.size), second)
    return None if head is None or tail is None else (*head, *tail)


def _in_one_mode(flow: FlowIndex, ops: range, device: int) -> Choice | None:
    """Choose options of some ops on a device: all of the mode with the least joules, for each change costs a segment.

    Where no mode can run them all, as those of different stages, ops of equal modes take one; None if an op has no
    option there.
    """
    of_mode: list[dict[int, int]] = []
    for v in ops:
        options = flow.options[v]
        here = {option.mode: o for o, option in enumerate(options) if option.device == device}
        if not here and not flow.is_endpoint[v]:
            return None
        of_mode.append({} if flow.is_endpoint[v] else here)
    working = [here for here in of_mode if here]
    common = set.intersection(*(set(here) for here in working)) if working else set()
    totals: defaultdict[frozenset[int], defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    groups = [frozenset(common or here) for here in of_mode]
    for v, here, group in zip(ops, of_mode, groups, strict=True):
        for mode in group & here.keys():
            totals[group][mode] += flow.share[v] * flow.options[v][here[mode]].joules
    best = {group: min(sorted(of_group), key=of_group.__getitem__) for group, of_group in totals.items()}
    return tuple(here[best[group]] if here else 0 for here, group in zip(of_mode, groups, strict=True))


@dataclass(frozen=True, slots=True, order=True)
class _Prefix:
    """A prefix of the file's order that stays on the source, before it is evaluated; the better ones sort first."""

    barred: bool
    """Whether a tensor would be where it must not."""
    bound_j: float
    """Lower bound of the joules per inference: computing, and bytes sent to `target`."""
    target: int
    count: int


def _prefixes(index: ProblemIndex, flow: FlowIndex, source: int, target: int) -> list[_Prefix]:
    """List every prefix with the rest on `target`, in time linear in the flow."""
    link = index.link(source, target)
    if link is None:
        return []
    n = flow.size
    here, there = _cheapest(flow, source), _cheapest(flow, target)
    # crossing[k] rises by what a tensor costs for every prefix that ends between its producer and last consumer.
    crossing = [0.0] * (n + 2)
    first, last = 0, n
    for t, tensor in enumerate(flow.tensors):
        workers = [c for c in tensor.consumers if not flow.is_endpoint[c]]
        touched = [*workers, *([] if flow.is_endpoint[tensor.producer] else [tensor.producer])]
        if touched and target in tensor.not_on:
            first = max(first, max(touched) + 1)
        if touched and source in tensor.not_on:
            last = min(last, min(touched))
        if workers:
            least_bytes = min(flow.bytes_of(t, o) for o in range(len(flow.options[tensor.producer])))
            joules = min(flow.share[c] for c in workers) * least_bytes * link.energy_j_per_byte
            crossing[tensor.producer + 1] += joules
            crossing[max(workers) + 1] -= joules
    found = []
    kept_j, sent_j, rest_j = 0.0, 0.0, fsum(j for j in there if j < inf)
    missing_there = sum(j == inf for j in there)
    for count in range(n + 1):
        if count:
            if here[count - 1] == inf:
                break
            kept_j += here[count - 1]
            if there[count - 1] == inf:
                missing_there -= 1
            else:
                rest_j -= there[count - 1]
        sent_j += crossing[count]
        if missing_there == 0 and not (count < n and flow.is_endpoint[count]):
            bound_j = max(0.0, kept_j + max(0.0, rest_j) + max(0.0, sent_j)) * (1 - 1e-9)
            found.append(_Prefix(not first <= count <= last, bound_j, target, count))
    return found


def _cheapest(flow: FlowIndex, device: int) -> list[float]:
    """Least joules of each op on a device; 0 for sources and sinks, infinite where it has no option."""
    return [
        0.0
        if flow.is_endpoint[v]
        else min((flow.share[v] * o.joules for o in options if o.device == device), default=inf)
        for v, options in enumerate(flow.options)
    ]


def starting_choices(index: ProblemIndex) -> list[tuple[Choice, ...]]:
    """Return whole choices that put everything on one device, for a search to begin with."""
    found = []
    for d in range(len(index.devices)):
        choices = [all_on(flow, d) for flow in index.flows]
        if all(choice is not None for choice in choices):
            found.append(tuple(c for c in choices if c is not None))
    on_sources = [all_on(flow, flow.source_devices[0]) if flow.source_devices else None for flow in index.flows]
    if all(choice is not None for choice in on_sources):
        found.append(tuple(c for c in on_sources if c is not None))
    return found


@dataclass(frozen=True, slots=True)
class Judged:
    """A baseline, and the choices that it stands for; None where an op cannot run where the baseline wants it."""

    baseline: Baseline
    choices: tuple[Choice, ...] | None


def best_allowed(judged: Sequence[Judged]) -> Judged | None:
    """Return the baseline of least objective that breaks no rule, if there is one."""
    allowed = [j for j in judged if _preference(j.baseline)[0] == 0]
    return min(allowed, key=lambda j: _preference(j.baseline), default=None)


def judge_baselines(index: ProblemIndex, meanings: Mapping[str, str] | None = None) -> tuple[Judged, ...]:
    """Evaluate the baselines: everything on the source, on one device of each tier, and the best prefix.

    Parameters
    ----------
    index
        The problem.
    meanings
        Rule names to words for people; see `placer.build.Built.meanings`.
    """
    meanings = meanings or {}
    sources = [flow.source_devices[0] if flow.source_devices else 0 for flow in index.flows]
    baselines = [
        _judge(
            index,
            "everything on the source",
            [all_on(f, s) for f, s in zip(index.flows, sources, strict=True)],
            meanings,
        )
    ]
    tiers: defaultdict[str, list[int]] = defaultdict(list)
    for d, device in enumerate(index.devices):
        tiers[device.tier].append(d)
    for tier in (*_TIERS, *sorted(set(tiers) - set(_TIERS))):
        candidates = [
            _judge(
                index,
                f"everything on {index.devices[d].name!r}" + (f" ({tier})" if tier else ""),
                [all_on(f, d) for f in index.flows],
                meanings,
            )
            for d in tiers.get(tier, ())
        ]
        if candidates:
            baselines.append(min(candidates, key=lambda judged: _preference(judged.baseline)))
    cut = [_best_prefix(index, f, s) for f, s in zip(index.flows, sources, strict=True)]
    baselines.append(_judge(index, "best prefix of the file's order on the source, rest on one device", cut, meanings))
    return tuple(baselines)


def _preference(baseline: Baseline) -> tuple[int, float]:
    """Rank allowed before forbidden before impossible, then by the smaller objective."""
    if baseline.objective is None:
        return (2, 0.0)
    return (1 if baseline.broken else 0, baseline.objective)


def _best_prefix(index: ProblemIndex, flow: FlowIndex, source: int) -> Choice | None:
    """Return the cheapest prefix that no rule of the flow's own forbids, else the cheapest of those looked at."""
    candidates: list[_Prefix] = []
    for target in range(len(index.devices)):
        if target != source:
            candidates += _prefixes(index, flow, source, target)
    best: tuple[bool, float, Choice] | None = None
    for prefix in sorted(candidates)[:_MOST_PREFIXES]:
        # What comes later is barred where the best is not, or has a larger bound.
        if best is not None and (best[0], best[1]) <= (prefix.barred, prefix.bound_j):
            break
        choice = _prefix(flow, prefix.count, source, prefix.target)
        if choice is None:
            continue
        result = evaluate_flow(index, flow, choice)
        deadline_s = flow.flow.deadline_s
        slowest_s = max(result.latency_s, (result.paused or result).latency_s)
        late = deadline_s is not None and not within(slowest_s, deadline_s)
        forbidden = late or bool(result.layout.forbidden)
        if best is None or (forbidden, result.energy_j) < best[:2]:
            best = (forbidden, result.energy_j, choice)
    return None if best is None else best[2]


def _judge(index: ProblemIndex, name: str, wanted: Sequence[Choice | None], meanings: Mapping[str, str]) -> Judged:
    choices = tuple(choice for choice in wanted if choice is not None)
    if len(choices) < len(wanted):
        return Judged(Baseline(name=name, objective=None, broken=("an op has no option there",)), None)
    evaluation: Evaluation = evaluate(index, choices)
    unlinked = [v.rule for v in evaluation.violations if v.rule.startswith(rules.NO_LINK)]
    if unlinked:
        # Without the link there is no transfer to count: the joules would look better than any real placement's.
        return Judged(Baseline(name=name, objective=None, broken=tuple(dict.fromkeys(unlinked))), choices)
    baseline = Baseline(
        name=name,
        objective=evaluation.objective,
        latency_s=tuple(f.latency_s for f in evaluation.flows),
        broken=name_broken(index, evaluation, meanings),
    )
    return Judged(baseline, choices)
