"""The optimum of a small problem by trying every choice, judged by `evaluate` alone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from placer.evaluate import combine, evaluate_flow
from placer.index import ProblemIndex

if TYPE_CHECKING:
    import random

    from placer.evaluate import Evaluation
    from placer.problem import Problem


def all_evaluations(problem: Problem) -> list[tuple[tuple[tuple[int, ...], ...], Evaluation]]:
    """Every choice with its evaluation, feasible or not."""
    index = ProblemIndex(problem)
    per_flow = [
        [(c, evaluate_flow(index, f, c)) for c in itertools.product(*(range(len(o)) for o in f.options))]
        for f in index.flows
    ]
    found = []
    for combination in itertools.product(*per_flow):
        choices = tuple(c for c, _ in combination)
        found.append((choices, combine(index, choices, [r for _, r in combination])))
    return found


def brute_force(problem: Problem) -> float | None:
    """The least objective of any feasible choice, or None if there is none."""
    feasible = [e.objective for _, e in all_evaluations(problem) if e.feasible]
    return min(feasible) if feasible else None


def with_caps(problem: Problem, rng: random.Random) -> Problem:
    """Add deadlines, memory and other limits taken from what random choices reach, so that they bite."""
    index = ProblemIndex(problem)
    sample = [
        combine(index, choices, [evaluate_flow(index, f, c) for f, c in zip(index.flows, choices, strict=True)])
        for choices in (tuple(tuple(rng.randrange(len(o)) for o in f.options) for f in index.flows) for _ in range(30))
    ]

    def quantile(values: list[float]) -> float:
        return sorted(values)[rng.choice([0, 2, 5, 10, 20])]

    flows = tuple(
        msgspec.structs.replace(f, deadline_s=quantile([e.flows[i].latency_s for e in sample]))
        if rng.random() < 0.7
        else f
        for i, f in enumerate(problem.flows)
    )
    devices = tuple(
        msgspec.structs.replace(
            d,
            memory_bytes=quantile([e.memory_bytes[i] for e in sample]) if rng.random() < 0.3 else None,
            max_utilization=max(1e-6, quantile([e.device_utilization[i] for e in sample]))
            if rng.random() < 0.15
            else 1e6,
        )
        for i, d in enumerate(problem.devices)
    )
    links = tuple(msgspec.structs.replace(k, max_utilization=0.5 if rng.random() < 0.1 else 1e6) for k in problem.links)
    power_w = {d.name: quantile([e.device_power_w[i] for e in sample]) for i, d in enumerate(devices)}
    first = problem.flows[0].name
    limits = msgspec.structs.replace(
        problem.limits,
        power_w={n: w for n, w in power_w.items() if rng.random() < 0.1},
        flow_energy_j={first: quantile([e.flows[0].energy_j for e in sample])} if rng.random() < 0.1 else {},
        flow_device_energy_j={first: {devices[0].name: quantile([e.device_power_w[0] for e in sample])}}
        if rng.random() < 0.1
        else {},
        accuracy_cost={first: quantile([e.flows[0].accuracy_cost for e in sample])} if rng.random() < 0.2 else {},
    )
    return msgspec.structs.replace(problem, flows=flows, devices=devices, links=links, limits=limits)
