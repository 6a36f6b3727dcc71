"""Simple placements to compare a plan with; each is a choice like any other, judged by `evaluate`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from placer.evaluate import evaluate, evaluate_flow
from placer.plan import Baseline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.evaluate import Evaluation
    from placer.index import Choice, FlowIndex, ProblemIndex

_TIERS = ("sensor", "edge", "cloud")


def all_on(flow: FlowIndex, device: int) -> Choice | None:
    """Every op on one device, each in its cheapest mode there; sources and sinks stay. None if an op cannot."""
    return _prefix(flow, flow.size, device, device)


def _prefix(flow: FlowIndex, count: int, first: int, second: int) -> Choice | None:
    """Put the first `count` ops of the file on one device, the rest on another."""
    choice = []
    for v, options in enumerate(flow.options):
        if flow.is_endpoint[v]:
            choice.append(0)
            continue
        wanted = first if v < count else second
        here = [o for o, option in enumerate(options) if option.device == wanted]
        if not here:
            return None
        choice.append(min(here, key=lambda o, options=options: (options[o].joules, options[o].seconds)))  # type: ignore[misc]
    return tuple(choice)


def prefixes(index: ProblemIndex, flow: FlowIndex, target: int) -> list[tuple[float, Choice]]:
    """Every prefix of the file's order on the source's device with the rest on `target`, cheapest bound first.

    The number beside a choice is a lower bound of the flow's joules per inference: compute and transfers.
    """
    source = flow.source_devices[0] if flow.source_devices else 0
    link = index.link(source, target)
    if link is None:
        return []
    found = []
    for count in range(flow.size + 1):
        if count < flow.size and flow.is_endpoint[count]:
            continue
        choice = _prefix(flow, count, source, target)
        if choice is None:
            continue
        joules = sum(flow.share[v] * flow.options[v][o].joules for v, o in enumerate(choice))
        for tensor in flow.tensors:
            if tensor.producer < count and any(c >= count and not flow.is_endpoint[c] for c in tensor.consumers):
                share = max(flow.share[c] for c in tensor.consumers if c >= count)
                joules += share * tensor.bytes * link.energy_j_per_byte
        found.append((joules, choice))
    return sorted(found, key=lambda pair: pair[0])


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


def make_baselines(index: ProblemIndex, meanings: Mapping[str, str] | None = None) -> tuple[Baseline, ...]:
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
            baselines.append(min(candidates, key=_preference))
    cut = [_best_prefix(index, f, s) for f, s in zip(index.flows, sources, strict=True)]
    baselines.append(_judge(index, "best prefix of the file's order on the source, rest on one device", cut, meanings))
    return tuple(baselines)


def _preference(baseline: Baseline) -> tuple[int, float]:
    """Rank allowed before forbidden before impossible, then by the smaller objective."""
    if baseline.objective is None:
        return (2, 0.0)
    return (1 if baseline.broken else 0, baseline.objective)


def _best_prefix(index: ProblemIndex, flow: FlowIndex, source: int) -> Choice | None:
    """Return the cheapest prefix that no rule of the flow's own forbids, else the cheapest of all."""
    best: tuple[int, float, Choice] | None = None
    for target in range(len(index.devices)):
        if target == source:
            continue
        for bound, choice in prefixes(index, flow, target):
            if best is not None and best[0] == 0 and bound >= best[1]:
                break
            result = evaluate_flow(index, flow, choice)
            deadline = flow.flow.deadline_s
            late = deadline is not None and result.latency_s > deadline
            rank = (1 if late or result.layout.forbidden else 0, result.energy_j, choice)
            if best is None or rank[:2] < best[:2]:
                best = rank
    return None if best is None else best[2]


def _judge(index: ProblemIndex, name: str, choices: Sequence[Choice | None], meanings: Mapping[str, str]) -> Baseline:
    if any(choice is None for choice in choices):
        return Baseline(name=name, objective=None, broken=("an op has no option there",))
    evaluation: Evaluation = evaluate(index, [c for c in choices if c is not None])
    return Baseline(
        name=name,
        objective=evaluation.objective,
        latency_s=tuple(f.latency_s for f in evaluation.flows),
        broken=tuple(dict.fromkeys(meanings.get(v.rule, v.rule) for v in evaluation.violations)),
    )
