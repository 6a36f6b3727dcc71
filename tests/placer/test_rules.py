"""Rules have names, and a problem without some of them is the same problem otherwise."""

from __future__ import annotations

import random

import pytest

from placer import rules
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.odd_problem import odd_problem
from tests.oracles.paused_problem import paused_problem
from tests.oracles.random_problem import random_problem


@pytest.mark.parametrize("seed", range(25))
def test_giving_up_a_rule_forgives_exactly_that_rule(seed: int) -> None:
    rng = random.Random(seed)
    drawn = odd_problem(seed, ops=5, flows=2) if seed % 2 else random_problem(seed, ops=5, flows=2)
    problem = with_caps(drawn, rng)
    index = ProblemIndex(problem)
    choices = tuple(tuple(rng.randrange(len(o)) for o in f.options) for f in index.flows)
    broken = {v.rule for v in evaluate(index, choices).violations if not v.rule.startswith("no link")}
    assert broken <= set(rules.names(problem))
    for rule in rules.names(problem):
        eased = evaluate(ProblemIndex(rules.without(problem, {rule})), choices)
        assert {v.rule for v in eased.violations if not v.rule.startswith("no link")} == broken - {rule}
        assert eased.objective == evaluate(index, choices).objective


def test_without_every_rule_only_links_can_forbid() -> None:
    problem = with_caps(random_problem(11, ops=4), random.Random(11))
    free = rules.without(problem, rules.names(problem))
    broken = {v.rule for _, e in all_evaluations(free) for v in e.violations}
    assert all(rule.startswith("no link") for rule in broken)


def test_giving_up_nothing_changes_nothing() -> None:
    problem = with_caps(random_problem(12, ops=4, flows=2), random.Random(12))
    assert rules.without(problem, ()) == problem


def test_names_are_unique_and_stable() -> None:
    problem = with_caps(random_problem(13, ops=4, flows=2), random.Random(13))
    assert len(set(rules.names(problem))) == len(rules.names(problem))
    assert rules.names(problem) == rules.names(problem)


def test_two_equal_deadlines_of_a_flow_are_one_rule() -> None:
    one, after = rules.deadline("inspect"), rules.deadline_after_pauses("inspect")
    equal = paused_problem(0.3, deadline_after_pauses_s={"inspect": 0.3})
    assert rules.limits(equal)[one] == (0.3, "s")
    assert after not in {*rules.names(equal), *rules.limits(equal)}
    assert rules.with_limit(equal, one, 0.2) == paused_problem(0.2, deadline_after_pauses_s={"inspect": 0.2})
    free = rules.without(equal, {one})
    assert free.flows[0].deadline_s is None
    assert not free.limits.deadline_after_pauses_s
    assert rules.without(equal, {after}).flows == equal.flows
    assert not rules.without(equal, {after}).limits.deadline_after_pauses_s
    two = paused_problem(0.3, deadline_after_pauses_s={"inspect": 0.4})
    assert {one, after} <= {*rules.names(two)}
    assert rules.limits(two)[after] == (0.4, "s")
    assert rules.with_limit(two, one, 0.2) == paused_problem(0.2, deadline_after_pauses_s={"inspect": 0.4})
