from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.errors import Infeasible, NoPlanFound, ProblemError
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Op, Option, Problem
from placer.solver.solve import solve
from placer.why.pareto import pareto, with_cap
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem
from tests.placer.test_objective import with_figures

if TYPE_CHECKING:
    from placer.problem import Objective

NEAR = 3e-6
"""What may lie between a front and the truth: the gap of a search and the step between points."""


def replace(problem: Problem, objective: Objective) -> Problem:
    return msgspec.structs.replace(problem, objective=objective)


def true_front(problem: Problem, first: Objective, second: Objective) -> list[tuple[float, float]]:
    """The non-dominated values over every choice that keeps the rules."""
    pairs = sorted(
        (a.objective, b.objective)
        for (_, a), (_, b) in zip(
            all_evaluations(replace(problem, first)), all_evaluations(replace(problem, second)), strict=True
        )
        if a.feasible
    )
    front: list[tuple[float, float]] = []
    for pair in pairs:
        if not front or pair[1] < front[-1][1]:
            front.append(pair)
    return front


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and (a[0] < b[0] * (1 - NEAR) or a[1] < b[1] * (1 - NEAR))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    pair=st.sampled_from(
        [("energy_j", "latency_s"), ("latency_s", "energy_j"), ("energy_j", "carbon_g"), ("cost", "latency_s")]
    ),
    caps=st.booleans(),
)
def test_the_front_equals_brute_force(seed: int, pair: tuple[Objective, Objective], caps: bool) -> None:
    rng = random.Random(seed)
    problem = with_figures(random_problem(seed, devices=3, ops=4, modes=1 + seed % 2), rng)
    problem = with_caps(problem, rng) if caps else problem
    truth = true_front(problem, *pair)
    if not truth:
        with pytest.raises(Infeasible):
            pareto(problem, *pair)
        return
    front = pareto(problem, *pair)
    assert front.complete
    for point in front.values:
        assert not any(beats(other, point) for other in truth)
    for a, b in truth:
        assert any(x <= a * (1 + NEAR) and y <= b * (1 + NEAR) for x, y in front.values)
    assert front.values[0][0] == pytest.approx(truth[0][0], rel=NEAR)
    assert front.values[-1][1] == pytest.approx(truth[-1][1], rel=NEAR)


def of_places(*places: tuple[float, float]) -> Problem:
    """One op that runs on one device for each pair of joules and seconds."""
    names = [f"d{i}" for i in range(len(places))]
    options = [Option(device=name, mode="m", seconds=s, joules=j) for name, (j, s) in zip(names, places, strict=True)]
    flow = Flow(name="f", rate_hz=0.01, ops=(Op(name="op", options=tuple(options)),))
    return Problem(devices=tuple(Device(name=name) for name in names), flows=(flow,))


@pytest.mark.parametrize(
    ("places", "front"),
    [
        # All but as good in one objective as a neighbour, and far better in the other: at an end and between.
        (((1.0, 1.0), (1.0 + 1e-7, 0.1)), [1]),
        (((1.0, 1.0), (0.1, 1.0 + 1e-7)), [1]),
        (((1.0, 10.0), (2.0, 1.0 + 1e-7), (5.0, 1.0)), [0, 1]),
        (((1.0, 10.0), (1.0 + 1e-7, 5.0), (3.0, 1.0)), [1, 2]),
        (((1.0, 10.0), (2.0, 4.0), (2.0 + 1e-7, 3.0), (5.0, 1.0)), [0, 2, 3]),
    ],
)
def test_of_two_that_are_as_good_in_one_objective_the_better_in_the_other_is_kept(places, front) -> None:
    found = pareto(of_places(*places))
    assert found.complete
    assert [plan.flows[0].assignment["op"][0] for plan in found] == [f"d{i}" for i in front]


def test_the_ends_are_the_two_single_optima_and_each_plan_is_optimal_under_its_cap() -> None:
    problem = random_problem(11, devices=3, ops=5)
    front = pareto(problem, "energy_j", "latency_s")
    assert len(front) > 2
    assert front[0].objective == pytest.approx(solve(problem).objective, rel=2e-6)
    fastest = solve(replace(problem, "latency_s")).objective
    assert front[-1].flows[0].latency_s == pytest.approx(fastest, rel=2e-6)
    for plan, (joules, seconds) in zip(front, front.values, strict=True):
        assert plan.status == "optimal"
        assert plan.objective == joules
        assert plan.flows[0].latency_s == seconds
        again = solve(with_cap(problem, "latency_s", seconds))
        assert again.objective == pytest.approx(joules, rel=2e-6)


def test_plans_of_the_front_are_what_evaluate_says() -> None:
    problem = random_problem(11, devices=3, ops=5)
    index = ProblemIndex(problem)
    for plan in pareto(problem):
        evaluation = evaluate(index, [index.choice_of(0, plan.flows[0].assignment)])
        assert evaluation.feasible
        assert evaluation.objective == plan.objective


def test_a_limit_on_points_keeps_the_ends_and_says_that_points_are_missing() -> None:
    problem = random_problem(11, devices=3, ops=5)
    whole = pareto(problem)
    assert whole.complete
    for count in range(2, len(whole)):
        part = pareto(problem, max_points=count)
        assert len(part) == count
        assert not part.complete
        assert set(part.values) <= set(whole.values)
        assert part.values[0] == whole.values[0]
        assert part.values[-1] == whole.values[-1]
    assert pareto(problem, max_points=len(whole) + 1).complete


def test_the_same_inputs_give_the_same_front() -> None:
    problem = random_problem(4, devices=3, ops=5)
    assert pareto(problem) == pareto(problem)


def test_a_problem_of_several_flows_has_a_front_of_energy_and_carbon_but_none_of_latency() -> None:
    problem = with_figures(random_problem(3, devices=2, ops=2, flows=2), random.Random(3))
    truth = true_front(problem, "energy_j", "carbon_g")
    front = pareto(problem, "energy_j", "carbon_g")
    assert front.values[0] == pytest.approx(truth[0], rel=NEAR)
    assert front.values[-1] == pytest.approx(truth[-1], rel=NEAR)
    with pytest.raises(ProblemError, match="that of one flow, and the problem has 2; give two of energy_j, carbon_g"):
        pareto(problem, "energy_j", "latency_s")


def test_what_cannot_be_asked_is_refused() -> None:
    problem = random_problem(3, devices=2, ops=2)
    with pytest.raises(ProblemError, match="two different objectives"):
        pareto(problem, "energy_j", "energy_j")
    with pytest.raises(ProblemError, match="max_points 1"):
        pareto(problem, max_points=1)
    with pytest.raises(ProblemError, match=r"devices\[0\]\.carbon_g_per_j: missing"):
        pareto(problem, "energy_j", "carbon_g")
    with pytest.raises(NoPlanFound):
        pareto(problem, time_limit_s=0.0)
