from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import msgspec
import pytest

from placer import rules
from placer.errors import Infeasible
from placer.index import ProblemIndex
from placer.solver.conflict import Amount, find_amounts, find_conflict
from placer.solver.least import STEP, least
from placer.solver.solve import solve
from placer.violations import used
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.problem import Problem

replace = msgspec.structs.replace


def least_by_brute_force(problem: Problem, rule: str) -> float | None:
    """The least value of a rule's quantity over every choice that keeps all the other rules."""
    index = ProblemIndex(problem)
    values = [
        next(value for name, value, _ in used(index, e) if name == rule)
        for _, e in all_evaluations(problem)
        if {v.rule for v in e.violations} <= {rule}
    ]
    return min(values) if values else None


def capped(seed: int, *, flows: int = 1) -> Problem:
    rng = random.Random(seed)
    ops = 4 if flows == 1 else 2
    problem = with_caps(random_problem(seed, devices=3, ops=ops, flows=flows, modes=1 + seed % 2), rng)
    if rng.random() < 0.5:
        problem = rules.with_limit(problem, rules.total("energy_w"), 10 ** rng.uniform(-2, 1))
    return problem


def test_nobody_is_told_to_use_more_than_all_of_a_device() -> None:
    amount = Amount(rule=rules.utilization("box"), limit=0.3, unit="", needed=1.4, bound=1.4, enough=True)
    assert amount.words == "0.3 given, 1.4 would be needed, which no one has: lower rate_hz of a flow there"
    assert dataclasses.replace(amount, needed=0.8).words == "0.3 given, 0.8 would do"


@pytest.mark.parametrize("seed", range(12))
def test_the_least_limit_equals_brute_force_for_every_rule(seed: int) -> None:
    problem = capped(seed, flows=1 + (seed % 4 == 3))
    finite = [rule for rule, (limit, _) in rules.limits(problem).items() if limit < 1e5]
    for rule in finite:
        expected = least_by_brute_force(problem, rule)
        found = least(problem, rule)
        assert (found is None) == (expected is None), rule
        if found is not None and expected is not None:
            assert found.proven
            assert found.value == pytest.approx(expected, rel=3 * STEP, abs=1e-15)
            assert found.bound <= expected * (1 + 1e-9)


def impossible(seed: int) -> Problem | None:
    """A problem whose rules exclude each other, from one with caps that are made tighter."""
    problem = capped(seed)
    tight = {r: v * 0.7 for r, (v, _) in rules.limits(problem).items() if v < 1e5}
    for rule, limit in tight.items():
        problem = rules.with_limit(problem, rule, limit)
    return problem if not any(e.feasible for _, e in all_evaluations(problem)) else None


@pytest.mark.parametrize("seed", range(8))
def test_a_conflict_is_over_at_the_amount_and_not_before(seed: int) -> None:
    problem = impossible(seed)
    if problem is None:
        return
    conflict = find_conflict(problem)
    for amount in find_amounts(problem, conflict):
        if amount.needed is None or amount.limit is None or amount.bound is None:
            continue
        others = set(rules.names(problem)) - set(conflict)
        kept = problem if amount.enough else rules.without(problem, others)
        assert amount.needed > amount.limit
        assert any(e.feasible for _, e in all_evaluations(rules.with_limit(kept, amount.rule, amount.needed)))
        below = rules.with_limit(kept, amount.rule, amount.bound * (1 - STEP))
        assert not any(e.feasible for _, e in all_evaluations(below))


def test_some_of_these_problems_are_impossible() -> None:
    assert sum(impossible(seed) is not None for seed in range(8)) >= 3


def test_the_error_says_how_far_each_rule_would_have_to_give() -> None:
    problem = random_problem(5, devices=3, ops=4)
    flow = problem.flows[0]
    fastest = min(e.flows[0].latency_s for _, e in all_evaluations(problem) if e.feasible)
    with pytest.raises(Infeasible) as raised:
        solve(rules.with_limit(problem, rules.deadline(flow.name), fastest / 3))
    amount = next(a for a in raised.value.amounts if a.rule == rules.deadline(flow.name))
    assert amount.needed == pytest.approx(fastest, rel=3 * STEP)
    assert amount.enough
    assert f"{fastest / 3:g} s given, " in str(raised.value)


def test_advice_is_rounded_up() -> None:
    amount = Amount(rule="r", limit=1.0, unit="s", needed=1.23411, bound=1.2341, enough=True)
    assert amount.words == "1 s given, 1.235 s would do"
    assert replace_amount(amount, needed=2.0).words == "1 s given, 2 s would do"
    assert replace_amount(amount, enough=False).words.endswith("there is another")


def replace_amount(amount: Amount, **changes: object) -> Amount:
    from dataclasses import replace as with_changes

    return with_changes(amount, **changes)  # type: ignore[arg-type]


def test_a_rule_without_a_quantity_says_whether_giving_it_up_is_enough() -> None:
    problem = random_problem(2, devices=2, ops=2)
    flow = problem.flows[0]
    everywhere = tuple(d.name for d in problem.devices)
    private = replace(flow, tensors=(replace(flow.tensors[0], not_on=everywhere), *flow.tensors[1:]))
    problem = replace(problem, flows=(private,))
    conflict = find_conflict(problem)
    (amount, *_) = find_amounts(problem, conflict)
    assert amount.limit is None
    assert amount.needed is None
