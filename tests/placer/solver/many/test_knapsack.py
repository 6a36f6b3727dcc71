from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from placer.solver.many import knapsack
from placer.solver.many.knapsack import least_sum


def _drawn(seed: int) -> tuple[list[list[tuple[float, float]]], float, float]:
    """Fronts, capacity and price: round numbers and ties, or numbers of any size."""
    rng = random.Random(seed)
    scale = 10.0 ** rng.choice([-9, -3, 0, 0, 0, 6])

    def number() -> float:
        return float(rng.randrange(6)) if seed % 2 else rng.random() * 10.0 ** rng.choice([-6, 0, 0, 3])

    fronts = [[(number(), number() * scale) for _ in range(rng.randrange(1, 5))] for _ in range(rng.randrange(1, 6))]
    capacity = rng.random() * sum(max(u for _, u in front) for front in fronts)
    return fronts, capacity, rng.choice([0.0, 0.1, 1.0, 10.0]) / scale


def _true(fronts: list[list[tuple[float, float]]], capacity: float) -> float:
    return min(
        (
            math.fsum(c for c, _ in picks)
            for picks in itertools.product(*fronts)
            if math.fsum(u for _, u in picks) <= capacity
        ),
        default=math.inf,
    )


def _arrays(fronts: list[list[tuple[float, float]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array([c for c, _ in front]), np.array([u for _, u in front])) for front in fronts]


@pytest.mark.parametrize("seed", range(200))
def test_the_least_sum_is_that_of_all_picks(seed: int) -> None:
    fronts, capacity, price = _drawn(seed)
    true = _true(fronts, capacity)
    highest = sum(max(c for c, _ in front) for front in fronts) + 1.0
    value, exact = least_sum(_arrays(fronts), capacity, price, highest)
    assert value == pytest.approx(min(true, highest), rel=1e-9, abs=1e-9 * highest)
    assert exact == (true < math.inf)
    ceiling = random.Random(seed).random() * highest
    assert least_sum(_arrays(fronts), capacity, price, ceiling)[0] <= min(true, ceiling) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_sums_that_are_joined_only_lower_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "_MOST", 4)
    fronts, capacity, price = _drawn(seed)
    value, exact = least_sum(_arrays(fronts), capacity, price, 1e9)
    true = _true(fronts, capacity)
    assert value <= true * (1 + 1e-12)
    assert not exact or value == pytest.approx(true)


def test_nobody_costs_nothing() -> None:
    assert least_sum([], 1.0, 1.0, 5.0) == (0.0, True)
