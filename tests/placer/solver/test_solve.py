"""`solve` from problem to plan: the optimum, whoever finds it; and that rules can only cost."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer import rules
from placer.errors import Infeasible, NoPlanFound
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.find import find
from placer.solver.solve import solve
from tests.oracles.bad_scales import stretched
from tests.oracles.brute_force import brute_force, with_caps
from tests.oracles.easy_cases import chain_optimum, chain_problem, min_cut, two_device_problem
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.problem import Problem

replace = msgspec.structs.replace


def _drawn(seed: int) -> Problem:
    rng = random.Random(seed)
    if seed % 3 == 0:
        problem = odd_problem(seed, ops=6)
    elif seed % 3 == 1:
        problem = random_problem(seed, ops=5, shares=True)
    else:
        problem = random_problem(seed, devices=2, ops=3, modes=2, flows=1 + seed % 2)
    if seed % 4 == 0:
        problem = stretched(problem, rng)
    return with_caps(problem, rng)


def _least(problem: Problem) -> float:
    """Return the optimum that is proven; infinite if it is proven that there is none."""
    outcome = find(ProblemIndex(problem))
    if outcome.status == "infeasible":
        return math.inf
    assert outcome.status == "optimal"
    assert outcome.evaluation is not None
    assert outcome.evaluation.feasible
    return outcome.evaluation.objective


def _answer(problem: Problem) -> object:
    """Return the plan, or the rules in conflict if there is none."""
    try:
        return solve(problem)
    except Infeasible as refusal:
        return refusal.conflict


def _compare(seeds: range) -> int:
    count = 0
    for seed in seeds:
        problem = _drawn(seed)
        if math.prod(len(op.options) for f in problem.flows for op in f.ops) > 2000:
            continue
        least = brute_force(problem)
        assert _least(problem) == pytest.approx(math.inf if least is None else least, rel=1.01e-6, abs=0), seed
        count += 1
    return count


def test_equals_brute_force() -> None:
    assert _compare(range(150)) > 100


@pytest.mark.long
def test_equals_brute_force_on_thousands() -> None:
    assert _compare(range(1000, 6000)) > 3000


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_minimum_cut_on_two_devices(seed: int) -> None:
    problem = two_device_problem(seed + 100, ops=10 + 7 * seed)
    least = min_cut(problem)
    assert _least(problem) == pytest.approx(math.inf if least is None else least, rel=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_dynamic_program_on_chains(seed: int) -> None:
    problem = chain_problem(seed + 100, ops=5 + 5 * seed, devices=2 + seed % 4)
    least = chain_optimum(problem)
    assert _least(problem) == pytest.approx(math.inf if least is None else least, rel=2e-6)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.2, 0.999), st.data())
def test_a_tighter_rule_never_lowers_the_optimum(seed: int, factor: float, data: st.DataObject) -> None:
    problem = with_caps(random_problem(seed, ops=4), random.Random(seed))
    limits = rules.limits(problem)
    if not limits:
        return
    rule = data.draw(st.sampled_from(sorted(limits)))
    tighter = rules.with_limit(problem, rule, limits[rule][0] * factor)
    assert _least(tighter) >= _least(problem) * (1 - 2e-6)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_device_more_never_costs(seed: int) -> None:
    problem = with_caps(random_problem(seed, ops=4), random.Random(seed))
    fewer = replace(
        problem,
        flows=tuple(
            replace(
                f,
                ops=tuple(replace(op, options=op.options[:-1] if len(op.options) > 2 else op.options) for op in f.ops),
            )
            for f in problem.flows
        ),
    )
    assert _least(problem) <= _least(fewer) * (1 + 2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_equal_inputs_give_equal_plans_and_leave_the_problem_alone(seed: int) -> None:
    problem = random_problem(seed, ops=5, flows=1 + seed % 2)
    copy = msgspec.json.decode(msgspec.json.encode(problem), type=type(problem))
    assert _answer(problem) == _answer(problem)
    assert problem == copy


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_every_number_of_a_plan_is_evaluate_s(seed: int) -> None:
    problem = random_problem(seed, ops=4, flows=2, modes=2, devices=2, scarce=0.0)
    problem = rules.without(problem, rules.names(problem))
    plan = solve(problem)
    index = ProblemIndex(problem)
    judged = evaluate(index, tuple(index.choice_of(i, f.assignment) for i, f in enumerate(plan.flows)))
    assert judged.feasible
    assert plan.objective == judged.objective
    for flow, result in zip(plan.flows, judged.flows, strict=True):
        assert (flow.latency_s, flow.energy_j) == (result.latency_s, result.energy_j)
        assert [s.start_s for s in flow.segments] == list(result.schedule.segment_start_s)
        assert [t.arrival_s for t in flow.transfers] == list(result.schedule.transfer_arrival_s)
    assert plan.bound <= plan.objective
    assert plan.gap == pytest.approx((plan.objective - plan.bound) / plan.objective if plan.objective else 0.0)


@pytest.mark.parametrize("seed", [0, 3, 4, 6, 7, 9, 11])
def test_no_baseline_within_the_rules_is_better_however_wide_the_gap(seed: int) -> None:
    problem = random_problem(seed, ops=5, flows=3, scarce=0.0)
    plan = solve(problem, gap=0.9, time_limit_s=20.0, after_pauses=bool(seed % 2))
    allowed = [b.objective for b in plan.baselines if b.objective is not None and not b.broken]
    assert plan.objective <= min(allowed, default=math.inf)
    assert plan.bound <= plan.objective


def test_no_time_is_said_so() -> None:
    # Nobody can run everything alone, so there is no plan to begin with.
    with pytest.raises(NoPlanFound, match="give more time"):
        solve(_needs_two(), time_limit_s=0.0)


def _needs_two() -> Problem:
    problem = random_problem(3, devices=3, ops=4, flows=2)
    flows = []
    for flow in problem.flows:
        ops = list(flow.ops)
        ops[1] = replace(ops[1], options=ops[1].options[:1])
        ops[2] = replace(ops[2], options=ops[2].options[-1:])
        flows.append(replace(flow, ops=tuple(ops)))
    return replace(problem, flows=tuple(flows))
