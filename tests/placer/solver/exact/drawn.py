"""Random problems with one flow for the tests of the exact solver."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from tests.oracles.brute_force import with_caps
from tests.oracles.odd_problem import odd_problem
from tests.oracles.paused_problem import paused_branches, with_pauses
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.problem import Problem


def drawn_problem(seed: int) -> Problem:
    """A small problem with branches, modes, shares and caps that bite."""
    rng = random.Random(seed)
    devices, modes = rng.choice([2, 3]), rng.choice([1, 1, 2])
    ops = rng.choice([1, 2, 3, 4, 5]) if devices * modes > 3 else rng.choice([3, 4, 5, 6])
    problem = random_problem(seed, devices=devices, ops=ops, modes=modes, shares=rng.random() < 0.3)
    if rng.random() < 0.8:
        problem = with_caps(problem, rng)
    if rng.random() < 0.15:
        problem = msgspec.structs.replace(problem, objective="latency_s")
    return problem


def odd_drawn_problem(seed: int) -> Problem | None:
    """A small problem of odd shape, with caps in two of three cases; None where there are too many choices."""
    problem = odd_problem(seed, ops=5)
    choices = 1
    for op in problem.flows[0].ops:
        choices *= len(op.options)
    if choices > 600:
        return None
    return with_caps(problem, random.Random(seed)) if seed % 3 else problem


def paused_drawn_problem(seed: int) -> Problem | None:
    """A problem of some kind with a deadline after pauses; None where there are too many choices."""
    if seed % 4 < 2:
        return paused_branches(seed)
    problem = drawn_problem(seed) if seed % 4 == 2 else odd_drawn_problem(seed)
    return None if problem is None else with_pauses(problem, random.Random(seed))
