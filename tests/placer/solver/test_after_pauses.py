"""Deadlines after pauses: against brute force, in the solver's own plans, and what is said where there is none."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from placer import rules
from placer.baselines import starting_choices
from placer.build import Built
from placer.errors import Infeasible
from placer.evaluate import evaluate, evaluate_flow, late_after_pauses
from placer.fallbacks import add_fallbacks, variant
from placer.index import ProblemIndex
from placer.plan import Model
from placer.problem import Device, Link
from placer.solver import find as finding
from placer.solver import one_flow
from placer.solver.find import find
from placer.solver.many.solve import solve_flows
from placer.solver.plain import Backend, search
from placer.solver.solve import solve
from placer.why.explain import explain, posed
from placer.why.pareto import pareto
from placer.why.sensitivity import sensitivity
from tests.oracles.brute_force import brute_force, with_caps
from tests.oracles.paused_problem import paused_problem, with_pauses
from tests.oracles.random_problem import random_problem
from tests.oracles.second_evaluate import second_evaluate

if TYPE_CHECKING:
    from placer.plan import FlowPlan, Plan
    from placer.problem import Option, Problem


def drawn(seed: int) -> Problem:
    """Draw a small problem at rates that leave pauses, with deadlines after them that bite."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.6:
        problem = random_problem(seed, devices=3, ops=rng.choice([3, 4]), shares=rng.random() < 0.5)
    elif kind < 0.8:
        problem = random_problem(seed, devices=2, ops=3, modes=2, shares=True)
    else:
        problem = random_problem(seed, devices=2, ops=2, flows=2)
    if rng.random() < 0.5:
        problem = with_caps(problem, rng)
    return with_pauses(problem, rng)


def bites(problem: Problem) -> bool:
    return brute_force(problem) != brute_force(
        replace(problem, limits=replace(problem.limits, deadline_after_pauses_s={}))
    )


@pytest.mark.parametrize("how", ["find", "highs", "cp-sat"])
def test_the_best_choice_that_is_in_time_after_pauses_equals_brute_force(how: Backend | str) -> None:
    bitten = infeasible = 0
    for seed in range(25):
        problem = drawn(seed)
        index, least = ProblemIndex(problem), brute_force(problem)
        if how == "find":
            found = find(index, time_limit_s=60.0)
        else:
            found = search(index, backend=how, starts=starting_choices(index), time_limit_s=60.0)  # type: ignore[arg-type]
        if least is None:
            assert found.status == "infeasible", seed
            infeasible += 1
        else:
            assert found.evaluation is not None, seed
            assert found.status == "optimal", seed
            assert math.isclose(found.evaluation.objective, least, rel_tol=2e-6), seed
            bitten += bites(problem)
    assert bitten >= 3
    assert infeasible >= 3


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_a_second_evaluator_finds_the_same_latency_after_pauses(seed: int) -> None:
    problem = drawn(seed)
    index, rng = ProblemIndex(problem), random.Random(seed)
    for _ in range(10):
        choices = [tuple(rng.randrange(len(o)) for o in flow.options) for flow in index.flows]
        found = evaluate(index, choices)
        if any(result.layout.forbidden for result in found.flows):
            continue
        named = {flow.name: index.assignment_of(i, choices[i]) for i, flow in enumerate(index.flows)}
        second = second_evaluate(problem, named)
        for flow, result in zip(index.flows, found.flows, strict=True):
            other = second["flows"][flow.name]
            assert result.paused is not None
            assert math.isclose(result.paused.latency_s, other["paused_s"], rel_tol=1e-9)
            assert result.latency_s == pytest.approx(other["latency_s"])
            late = rules.deadline_after_pauses(flow.name) in [v.rule for v in found.violations]
            assert late == ("deadline after pauses" in other["broken"])


def where(plan: Plan) -> str:
    return "".join(plan.flows[0].assignment[op][0][0] for op in "abc")


@pytest.mark.parametrize(
    ("deadline_s", "place"),
    # Sent as it is, after a, after b, after c: 5, 4, 2 and no stalls of a round trip each, less what is under way.
    [(0.4, "bbb"), (0.34, "cbb"), (0.22, "ccb"), (0.12, "ccc")],
)
def test_a_plan_is_in_time_after_pauses_and_the_best_of_those(deadline_s: float, place: str) -> None:
    problem = paused_problem(deadline_s)
    without = solve(problem)
    assert where(without) == "bbb"
    assert without.flows[0].latency_s < 0.12
    plan = solve(problem, after_pauses=True)
    assert where(plan) == place
    assert plan.status == "optimal"
    late = rules.with_deadlines_after_pauses(problem, ["inspect"])
    assert plan.problem == (problem if place == "bbb" else late)
    index = ProblemIndex(plan.problem)
    choices = (index.choice_of(0, plan.flows[0].assignment),)
    assert not late_after_pauses(index, choices)
    # The numbers of a plan stay those of busy connections.
    assert plan.flows[0].latency_s == evaluate(ProblemIndex(problem), choices).flows[0].latency_s
    assert plan.objective == pytest.approx(brute_force(late), rel=1e-6)


def test_busy_flows_are_planned_as_before() -> None:
    problem = paused_problem(0.12, rate_hz=5.0)
    assert solve(problem, after_pauses=True) == solve(problem)


def test_problems_too_large_for_the_milp_are_proven_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (finding, one_flow):
        monkeypatch.setattr(module, "is_small", lambda index: False)
        monkeypatch.setattr(module, "search", None)
    bitten = infeasible = several = 0
    for seed in range(25, 60):
        problem = drawn(seed)
        index, least = ProblemIndex(problem), brute_force(problem)
        found = find(index, time_limit_s=60.0)
        if least is None:
            # Of several flows it is not always proven that there is no plan.
            assert found.status == "infeasible" or (found.status == "unknown" and len(index.flows) > 1), seed
            infeasible += 1
            continue
        assert found.evaluation is not None, seed
        assert found.bound <= least * (1 + 1e-7), seed
        if len(index.flows) == 1 or found.status == "optimal":
            assert found.status == "optimal", seed
            assert math.isclose(found.evaluation.objective, least, rel_tol=2e-6), seed
            bitten += bites(problem)
            several += len(index.flows) > 1
    assert bitten >= 5
    assert infeasible >= 5
    assert several >= 1


def test_of_a_site_each_flow_that_is_late_after_pauses_chooses_again() -> None:
    """Two of them are equal and counted as one, a third pauses longer, a fourth not at all."""
    seldom = paused_problem(0.34)
    (flow,) = seldom.flows
    flows = tuple(replace(flow, name=f"inspect{i}", rate_hz=rate) for i, rate in enumerate((0.5, 0.5, 0.4, 4.0)))
    busy = replace(seldom, flows=flows)
    late = rules.with_deadlines_after_pauses(busy, [f.name for f in flows])
    least = brute_force(late)
    found = solve_flows(ProblemIndex(late), time_limit_s=60.0, processes=1)
    free = solve_flows(ProblemIndex(busy), time_limit_s=60.0, processes=1)
    assert found.evaluation is not None
    assert free.evaluation is not None
    assert found.evaluation.objective == pytest.approx(least, rel=2e-6)
    assert found.status == "optimal"
    assert free.evaluation.objective * 1.01 < least


# On busy connections 0.2 s would do, 0.01 s would not.
@pytest.mark.parametrize("deadline_s", [0.2, 0.01])
def test_no_plan_in_time_after_pauses_names_that_deadline_and_what_would_do(deadline_s: float) -> None:
    problem = paused_problem(deadline_s, camera_runs=False)
    assert solve(paused_problem(0.2, camera_runs=False)).flows[0].latency_s < 0.2
    with pytest.raises(Infeasible) as raised:
        solve(problem, after_pauses=True)
    assert raised.value.conflict == ("deadline_s of flow 'inspect'",)
    (amount,) = raised.value.amounts
    index = ProblemIndex(problem)
    needed_s = evaluate(index, starting_choices(index)[0], "paused").flows[0].latency_s
    assert amount.needed == pytest.approx(needed_s)
    assert amount.enough
    assert f"{deadline_s} s given, 0.3572 s would do" in str(raised.value)
    assert solve(paused_problem(0.3572, camera_runs=False), after_pauses=True).status == "optimal"
    said = {rules.deadline_after_pauses("inspect"): "the deadline after pauses"}
    built = dataclasses.replace(of_a_site(problem)["built"], meanings=said)
    with pytest.raises(Infeasible, match="deadline after pauses" if deadline_s == 0.2 else "deadline_s of flow"):
        solve(problem, after_pauses=True, built=built)


def test_what_a_site_s_deadline_is_worth_counts_pauses() -> None:
    problem = paused_problem(0.35)
    plan = solve(problem, after_pauses=True, **of_a_site(problem))
    assert where(plan) == "cbb"
    # The problem of a plan names this deadline after pauses only where plans were late.
    for deadline_s in (0.35, 0.45):
        plan = solve(paused_problem(deadline_s), after_pauses=True, **of_a_site(problem))
        assert [rule for rule in rules.limits(posed(plan)) if "deadline" in rule] == [rules.deadline("inspect")]
        found = sensitivity(posed(plan), rules.deadline("inspect"))
        index = ProblemIndex(problem)
        choices = (index.choice_of(0, plan.flows[0].assignment),)
        assert found.least_limit == evaluate(index, choices, "paused").flows[0].latency_s
        assert where(solve(paused_problem(found.least_limit), after_pauses=True)) == where(plan)
        assert found.tighter is not None
        below = solve(paused_problem(found.tighter.limit), after_pauses=True)
        assert below.objective == pytest.approx(found.tighter.objective)
        if found.looser is not None:
            above = solve(paused_problem(found.looser.limit), after_pauses=True)
            assert above.objective == pytest.approx(found.looser.objective)
        assert (found.looser is None) == (deadline_s == 0.45)
        assert [cost.rule for cost in explain(plan).rules] == ([] if found.looser is None else [found.rule])


def test_a_flow_that_does_not_pause_for_long_is_not_asked_for_a_proof_of_it() -> None:
    problem = paused_problem(0.12, rate_hz=0.0)
    index = ProblemIndex(problem)
    assert late_after_pauses(index, starting_choices(index)[0]) == ()


def of_a_site(problem: Problem) -> dict[str, Any]:
    """What a plan of a site has beside its problem, as far as its rules depend on it."""
    built = Built(problem=problem, meanings={}, pue={}, origins={}, privacy={}, threads={})
    return {"built": built, "models": (Model(flow="inspect", stage="m", path="m.onnx", sha256=""),)}


def with_a_second_box(problem: Problem, latency_s: float) -> Problem:
    """Add a box that costs a little more, so far away; the result is needed on the camera."""

    def also(options: tuple[Option, ...]) -> tuple[Option, ...]:
        more = (
            replace(o, device="other", joules=o.joules * 1.1) for o in options if o.device == "box" and o.mode == "cpu"
        )
        return (*options, *more)

    links = [Link(source=a, target=b, latency_s=latency_s, bytes_per_s=12.5e6, energy_j_per_byte=1e-9)
             for pair in (("camera", "other"), ("box", "other")) for a, b in (pair, pair[::-1])]  # fmt: skip
    (flow,) = problem.flows
    sink = replace(flow.ops[-1], options=(replace(flow.ops[-1].options[0], device="camera"),))
    ops = (*(replace(op, options=also(op.options)) for op in flow.ops[:-1]), sink)
    return replace(
        problem,
        devices=(*problem.devices, Device(name="other")),
        links=(*problem.links, *links),
        flows=(replace(flow, ops=ops),),
    )


def in_time(flow: FlowPlan, problem: Problem, deadline_s: float) -> bool:
    index = ProblemIndex(problem)
    choice = index.choice_of(0, flow.assignment)
    return evaluate_flow(index, index.flows[0], choice, "paused").latency_s <= deadline_s


def test_fallbacks_of_a_site_s_plan_are_in_time_after_pauses_too() -> None:
    problem = with_a_second_box(paused_problem(0.45), 0.06)
    loose = add_fallbacks(solve(problem))
    plan = add_fallbacks(solve(problem, after_pauses=True, **of_a_site(problem)))
    # The plan itself is in time as it is.
    assert plan.flows == loose.flows
    assert plan.problem == problem
    for planned, expected in ((loose, False), (plan, True)):
        fallback = next(f for f in planned.fallbacks if f.lost == ("box",))
        assert {device for device, _ in fallback.flows[0].assignment.values()} == {"camera", "other"}
        assert in_time(fallback.flows[0], problem, 0.45) == expected


def test_a_fallback_keeps_what_the_plan_had_to_keep() -> None:
    problem = paused_problem(0.3, deadline_after_pauses_s={"inspect": 0.3})
    (flow,) = problem.flows
    often = replace(flow, name="watch", rate_hz=4.0)
    plan = add_fallbacks(solve(replace(problem, flows=(flow, often))))
    lost = next(f for f in plan.fallbacks if f.lost == ("camera", "box"))
    assert [u.flow for u in lost.unserved] == ["inspect", "watch"]
    only = replace(lost, flows=(plan.flow("watch"),))
    assert not variant(plan, only).problem.limits.deadline_after_pauses_s


def test_a_front_of_a_site_has_plans_in_time_after_pauses_alone() -> None:
    problem = paused_problem(0.3)
    late, kept = pareto(problem), pareto(problem, built=of_a_site(problem)["built"])
    assert not in_time(late[0].flows[0], problem, 0.3)
    assert kept.complete
    assert all(in_time(plan.flows[0], problem, 0.3) for plan in kept)
    assert kept[0].objective == pytest.approx(solve(problem, after_pauses=True).objective, rel=1e-5)


def test_of_several_flows_those_that_are_late_are_asked_for_more() -> None:
    seldom = paused_problem(0.22)
    (flow,) = seldom.flows
    often = replace(flow, name="watch", rate_hz=4.0)
    plan = solve(replace(seldom, flows=(flow, often)), after_pauses=True)
    assert plan.problem.limits.deadline_after_pauses_s == {"inspect": 0.22}
    assert [where(replace(plan, flows=(f,))) for f in plan.flows] == ["ccb", "bbb"]
    assert plan.status == "optimal"
