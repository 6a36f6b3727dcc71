from __future__ import annotations

import random

import pytest

from placer import rules
from placer.errors import NoPlanFound, ProblemError
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Op, Option, Problem
from placer.violations import used
from placer.why.sensitivity import sensitivity
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem

NEAR = 4e-6


def staircase(problem: Problem, rule: str) -> list[tuple[float, float]]:
    """(least limit, objective) of every step, limits rising and objectives falling, by trying every choice."""
    index = ProblemIndex(problem)
    pairs = sorted(
        (next(value for name, value, _ in used(index, e) if name == rule), e.objective)
        for _, e in all_evaluations(problem)
        if {v.rule for v in e.violations} <= {rule}
    )
    steps: list[tuple[float, float]] = []
    for limit, objective in pairs:
        if not steps or objective < steps[-1][1] * (1 - NEAR):
            steps.append((limit, objective))
    return steps


def check(problem: Problem, rule: str) -> None:
    steps = staircase(problem, rule)
    limit = rules.limits(problem)[rule][0]
    here = sum(least <= limit * (1 + 1e-9) for least, _ in steps) - 1
    if here < 0:
        with pytest.raises(NoPlanFound):
            sensitivity(problem, rule)
        return
    found = sensitivity(problem, rule)
    assert found.proven
    assert (found.least_limit, found.value) == pytest.approx(steps[here], rel=NEAR, abs=1e-15)
    for step, position in ((found.tighter, here - 1), (found.looser, here + 1)):
        if not 0 <= position < len(steps):
            assert step is None
            continue
        assert step is not None
        assert step.proven
        assert (step.limit, step.objective) == pytest.approx(steps[position], rel=NEAR, abs=1e-15)
        slope = (steps[position][1] - steps[here][1]) / (steps[here][0] - steps[position][0])
        assert step.per_unit == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("seed", range(12))
def test_the_steps_next_to_a_deadline_and_a_memory_equal_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(seed, devices=3, ops=4)
    problem = with_caps(problem, rng) if seed % 2 else problem
    latencies = sorted(e.flows[0].latency_s for _, e in all_evaluations(problem))
    problem = rules.with_limit(problem, rules.deadline("f0"), latencies[int(rng.random() ** 2 * (len(latencies) - 1))])
    check(problem, rules.deadline("f0"))
    for rule in rules.limits(problem):
        if rule.startswith("memory_bytes"):
            check(problem, rule)


def test_a_limit_without_effect_gains_nothing_by_loosening() -> None:
    problem = rules.with_limit(random_problem(6, devices=3, ops=3), rules.deadline("f0"), 1e6)
    found = sensitivity(problem, rules.deadline("f0"))
    assert found.looser is None
    assert found.least_limit < 1e6


def test_where_a_plan_costs_nothing_no_limit_gains_anything() -> None:
    free = Op(name="op", options=(Option(device="d", mode="m", seconds=1.0, joules=0.0),))
    problem = Problem(devices=(Device(name="d"),), flows=(Flow(name="f", rate_hz=0.5, ops=(free,)),))
    found = sensitivity(problem, rules.utilization("d"))
    assert (found.value, found.looser, found.proven) == (0.0, None, True)


def test_only_limits_have_a_sensitivity() -> None:
    with pytest.raises(ProblemError, match="no limit is named 'deadline'"):
        sensitivity(random_problem(6, devices=2, ops=2), "deadline")
