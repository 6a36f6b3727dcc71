"""The burn rate of an energy objective: joules spent over joules allowed, and what the window forgets."""

from __future__ import annotations

import math

import pytest

from runtimes.budget import EnergyBudget


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_on_its_objective_it_burns_at_one_and_at_twice_that_at_two():
    budget = EnergyBudget(Clock())
    assert budget.burn_rate(0.5, 300) is None
    for _ in range(4):
        budget.add(0.5, succeeded=True)
    assert budget.burn_rate(0.5, 300) == pytest.approx(1)
    assert budget.burn_rate(0.25, 300) == pytest.approx(2)


def test_failures_spend_without_an_outcome():
    budget = EnergyBudget(Clock())
    budget.add(0.5, succeeded=False)
    assert budget.burn_rate(0.5, 300) == math.inf
    budget.add(0.5, succeeded=True)
    assert budget.burn_rate(0.5, 300) == pytest.approx(2)


def test_a_window_forgets_what_the_longer_one_keeps():
    clock = Clock()
    budget = EnergyBudget(clock)
    budget.add(3.0, succeeded=True)
    clock.now_s += 400
    assert budget.burn_rate(1.0, 300) is None
    budget.add(1.0, succeeded=True)
    assert budget.burn_rate(1.0, 300) == pytest.approx(1)
    assert budget.burn_rate(1.0, 3600) == pytest.approx(2)
    clock.now_s += 3600
    assert budget.burn_rate(1.0, 3600) is None


def test_it_holds_an_hour_and_no_more():
    clock = Clock()
    budget = EnergyBudget(clock)
    for _ in range(2000):
        budget.add(1.0, succeeded=True)
        clock.now_s += 10
    assert budget.burn_rate(1.0, 10**9) == 1
    assert len(budget._steps) < 400
