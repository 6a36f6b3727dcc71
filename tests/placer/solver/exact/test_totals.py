from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from placer.index import ProblemIndex
from placer.objective import TOTALS
from placer.solver.exact.solve import solve_flow
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.problem import Objective, Problem

INSTANCES = 150
# Many zeros and equal figures, and some that lie far apart: ties, free places, and places nobody can pay.
GRAMS = (0.0, 1e-5, 1e-4, 1e-4, 2e-1)
PRICES = (0.0, 3e-8, 9e-8, 9e-8, 1e-4)


def priced(seed: int) -> Problem:
    """Draw a small problem that minimizes carbon or cost, with caps on totals that bite; every other one has more."""
    rng = random.Random(seed)
    problem = random_problem(
        seed,
        devices=rng.choice([2, 3]),
        ops=rng.choice([1, 2, 3, 4]),
        modes=rng.choice([1, 1, 2]) if seed % 3 else 1,
        shares=rng.random() < 0.3,
    )
    problem = replace(
        problem,
        devices=tuple(
            replace(d, carbon_g_per_j=rng.choice(GRAMS), cost_per_j=rng.choice(PRICES)) for d in problem.devices
        ),
        links=tuple(replace(k, carbon_g_per_j=rng.choice(GRAMS), cost_per_j=rng.choice(PRICES)) for k in problem.links),
    )
    if seed % 2:
        problem = with_caps(problem, rng)
    caps = {}
    for field, capped in TOTALS.items():
        if rng.random() < 0.5:
            reached = sorted(e.objective for _, e in all_evaluations(replace(problem, objective=capped)))
            # A cap that some choice meets exactly, or one that none can meet.
            caps[field] = reached[int(rng.choice([0.0, 0.05, 0.2, 0.5]) * (len(reached) - 1))]
            if rng.random() < 0.1:
                caps[field] = reached[0] * 0.5
    objective: Objective = rng.choice(("carbon_g", "carbon_g", "cost", "cost", "energy_j", "latency_s"))
    return replace(problem, objective=objective, limits=replace(problem.limits, **caps))


@pytest.mark.parametrize("start", range(0, INSTANCES, 15))
def test_carbon_and_cost_and_caps_on_totals_are_those_of_brute_force(start: int) -> None:
    for seed in range(start, start + 15):
        problem = priced(seed)
        feasible = [e.objective for _, e in all_evaluations(problem) if e.feasible]
        found = solve_flow(ProblemIndex(problem))
        if not feasible:
            assert (found.status, found.choice, found.bound) == ("infeasible", None, math.inf), seed
            continue
        assert found.status == "optimal", seed
        assert found.objective == pytest.approx(min(feasible), rel=1e-6, abs=1e-15), seed
        assert found.bound <= min(feasible) * (1 + 1e-9) + 1e-15, seed


def test_drawn_problems_are_of_all_kinds() -> None:
    drawn = [priced(seed) for seed in range(60)]
    assert {p.objective for p in drawn} == {"carbon_g", "cost", "energy_j", "latency_s"}
    for field in TOTALS:
        assert 10 < sum(getattr(p.limits, field) is not None for p in drawn) < 50
    solved = sum(any(e.feasible for _, e in all_evaluations(p)) for p in drawn)
    assert 20 < solved < 60
