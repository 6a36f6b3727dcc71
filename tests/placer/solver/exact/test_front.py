"""Fronts against every choice of small problems."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placer.index import ProblemIndex
from placer.solver.exact.front import list_front
from placer.solver.exact.numbers import build_numbers
from tests.oracles.bad_scales import stretched
from tests.oracles.brute_force import all_evaluations
from tests.placer.solver.exact.drawn import drawn_problem, odd_drawn_problem

if TYPE_CHECKING:
    from placer.problem import Problem
    from placer.solver.exact.front import Queue


def _check(problem: Problem, seed: int) -> int:
    """Check one front of a problem; return how many choices it was to cover."""
    if problem.objective == "latency_s" or problem.flows[0].rate_hz <= 0:
        return 0
    rng = random.Random(seed)
    index = ProblemIndex(problem)
    allowed = [judged for _, judged in all_evaluations(problem) if judged.feasible]
    queues: list[Queue] = [("device", d) for d in range(len(index.devices))]
    queues += [("medium", m) for m in range(len(index.media))]
    queue = rng.choice(queues)
    kind, position = queue
    uses = [float((e.device_utilization if kind == "device" else e.medium_utilization)[position]) for e in allowed]
    costs = [e.objective for e in allowed]
    largest = max(uses, default=0.0) or 1.0
    price = rng.choice([0.0, 0.3, 1.0, 10.0]) * max(costs, default=1.0) / largest
    totals = sorted(c + price * u for c, u in zip(costs, uses, strict=True)) or [1.0]
    reached = totals[rng.randrange(len(totals))] * rng.choice([0.5, 1.0, 1.0 + 1e-9, 1.5])
    count = build_numbers(index, index.flows[0]).rows.count
    rows = frozenset(r for r in range(count) if rng.random() < 0.3)
    front = list_front(index, queue, price, reached, rows=rows, stop=lambda: False)
    assert front.reached == reached
    covered = 0
    for cost, use in zip(costs, uses, strict=True):
        total = cost + price * use
        # Sums of other orders, and prices far above a cost, round: the bound that uses fronts allows for this much.
        if total <= reached * (1 - 1e-9):
            covered += 1
            cheap = front.objective <= cost + 1e-8 * total + 1e-15 * reached
            assert (cheap & (front.use <= use * (1 + 1e-9))).any(), (cost, use)
    assert len(front.choices) == len(front.objective) == len(front.use)
    assert (np.diff(front.use) < 0).all()
    return covered


@pytest.mark.parametrize("start", range(0, 40, 20))
def test_no_choice_up_to_a_price_is_missed(start: int) -> None:
    assert sum(_check(drawn_problem(seed), seed) for seed in range(start, start + 20)) > 10


def test_no_choice_of_odd_problems_is_missed() -> None:
    drawn = [(odd_drawn_problem(seed), seed) for seed in range(30)]
    assert sum(_check(problem, seed) for problem, seed in drawn if problem is not None) > 10


def test_no_choice_of_badly_scaled_problems_is_missed() -> None:
    found = [_check(stretched(drawn_problem(seed), random.Random(seed)), seed) for seed in range(20)]
    assert sum(found) > 10


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 4000, 250))
def test_no_choice_of_many_problems_is_missed(start: int) -> None:
    for seed in range(start, start + 250):
        _check(drawn_problem(seed), seed)
        _check(stretched(drawn_problem(seed), random.Random(seed)), seed)
        odd = odd_drawn_problem(seed)
        if odd is not None:
            _check(odd, seed)


def test_a_search_that_is_stopped_has_reached_nothing() -> None:
    problem = drawn_problem(3)
    front = list_front(ProblemIndex(problem), ("device", 0), 1.0, 1e9, stop=lambda: True)
    assert front.reached == -np.inf
    assert front.choices == ()
