"""Random small sites with everything that ties flows together, for tests that enumerate."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from tests.oracles.brute_force import with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placer.problem import Flow, Problem


def drawn_site(seed: int) -> Problem:
    """Two or three flows on two or three devices; some share weights, some are equal, some totals are capped."""
    rng = random.Random(seed)
    flows = rng.choice([2, 2, 3])
    problem = random_problem(
        seed,
        devices=rng.choice([2, 3]),
        ops=2 if flows == 3 else 3,
        flows=flows,
        modes=rng.choice([1, 1, 2]) if flows == 2 else 1,
        shares=rng.random() < 0.4,
    )
    if rng.random() < 0.4:
        problem = msgspec.structs.replace(problem, flows=tuple(_twins(problem, rng)))
    if rng.random() < 0.8:
        problem = with_caps(problem, rng)
    return problem


def _twins(problem: Problem, rng: random.Random) -> Iterator[Flow]:
    """The first flow, again under other names."""
    first = problem.flows[0]
    for i, flow in enumerate(problem.flows):
        yield flow if i == 0 or rng.random() < 0.3 else msgspec.structs.replace(first, name=flow.name)
