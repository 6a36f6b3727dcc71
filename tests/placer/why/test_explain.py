from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

import msgspec
import pytest

from placer import rules
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Limits, Link, Op, Option, Problem, Tensor
from placer.solver.solve import find, solve
from tests.oracles.brute_force import all_evaluations, brute_force, with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.plan import Plan
    from placer.why.explain import Explanation

NEAR = 3e-6


SEEDS = range(16)


@functools.cache
def planned(seed: int) -> Plan | None:
    rng = random.Random(seed)
    flows = 1 + (seed % 5 == 4)
    ops = 4 if flows == 1 else 2
    problem = with_caps(random_problem(seed, devices=3, ops=ops, flows=flows, modes=1 + seed % 2), rng)
    return solve(problem) if find(ProblemIndex(problem)).status == "optimal" else None


@functools.cache
def explained(seed: int) -> Explanation:
    plan = planned(seed)
    assert plan is not None
    return plan.explain()


def best_where(problem: Problem, keeps: Callable[[list[dict[str, tuple[str, str]]]], bool]) -> float | None:
    index = ProblemIndex(problem)
    found = [
        e.objective
        for choices, e in all_evaluations(problem)
        if e.feasible and keeps([index.assignment_of(f, c) for f, c in enumerate(choices)])
    ]
    return min(found) if found else None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_best_place_of_each_segment_equals_brute_force(seed: int) -> None:
    plan = planned(seed)
    if plan is None:
        return
    names = [f.name for f in plan.flows]
    reasons = explained(seed).segments
    segments = [(f.name, s) for f in plan.flows for s in f.segments]
    assert [r.segment for r in reasons] == [s.name for _, s in segments]
    for reason, (flow, segment) in zip(reasons, segments, strict=True):
        own = names.index(flow)

        def away(where: list[dict[str, tuple[str, str]]], own: int = own, segment: object = segment) -> bool:
            return all(where[own][op][0] != segment.device for op in segment.ops)  # type: ignore[attr-defined]

        def only_moved(where: list[dict[str, tuple[str, str]]], own: int = own, segment: object = segment) -> bool:
            return away(where, own, segment) and all(
                where[f][op] == place
                for f, name in enumerate(names)
                for op, place in plan.flow(name).assignment.items()
                if not (f == own and op in segment.ops)  # type: ignore[attr-defined]
            )

        for found, keeps in ((reason.all_free, away), (reason.rest_fixed, only_moved)):
            expected = best_where(plan.problem, keeps)
            assert found.proven
            if expected is None:
                assert found.objective is None
                assert found.conflict
            else:
                assert found.objective == pytest.approx(expected, rel=NEAR)
                assert found.extra == pytest.approx(expected - plan.objective, rel=NEAR, abs=NEAR * expected)
                assert segment.device not in found.devices
        if reason.rest_fixed.objective is not None:
            assert reason.rest_fixed.moved_ops == 0
            assert reason.all_free.objective is not None
            assert reason.all_free.objective <= reason.rest_fixed.objective * (1 + NEAR)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_each_rule_costs_equals_brute_force(seed: int) -> None:
    plan = planned(seed)
    if plan is None:
        return
    why = explained(seed)
    assert why.proven
    problem, near = plan.problem, 4e-6 * plan.objective
    cost = {c.rule: c.saved for c in why.rules}
    for rule in rules.names(problem):
        cheaper = brute_force(rules.without(problem, {rule}))
        assert cheaper is not None
        assert cost.get(rule, 0.0) == pytest.approx(plan.objective - cheaper, abs=near)
    cheapest = brute_force(rules.without(problem, rules.names(problem)))
    assert cheapest is not None
    assert why.together_saved == pytest.approx(plan.objective - cheapest, abs=near)
    for rule in why.together:
        rest = set(why.together) - {rule}
        dearer = brute_force(rules.without(problem, rest))
        assert dearer is not None
        assert dearer > cheapest


def test_some_of_these_plans_are_made_dearer_by_rules() -> None:
    found = [explained(seed) for seed in SEEDS if planned(seed) is not None]
    assert sum(bool(e.rules) for e in found) >= 3
    assert sum(len(e.together) > 1 for e in found) >= 1


def test_a_segment_that_has_no_other_place_names_the_reason() -> None:
    problem = random_problem(3, devices=2, ops=2)
    flow = problem.flows[0]
    held = tuple(msgspec.structs.replace(op, options=op.options[:1]) if op.name == "op0" else op for op in flow.ops)
    plan = solve(msgspec.structs.replace(problem, flows=(msgspec.structs.replace(flow, ops=held),)))
    reason = next(r for r, s in zip(plan.explain().segments, plan.flows[0].segments, strict=True) if "op0" in s.ops)
    assert reason.all_free.objective is None
    assert reason.all_free.proven
    assert reason.all_free.conflict == (f"only {reason.device!r} can run op 'op0' of flow 'f0'",)


def test_an_op_held_in_place_that_would_count_as_a_source_proves_nothing() -> None:
    # Held on d0 alone, "begin" would be a source, and d0 would wait for the result: 100 J, beyond the cap.
    ops = (
        Op(
            name="begin",
            options=(
                Option(device="d0", mode="m", seconds=0.0, joules=0.0),
                Option(device="d1", mode="m", seconds=0.0, joules=10.0),
            ),
        ),
        Op(
            name="end",
            options=tuple(Option(device=d, mode="n", seconds=1.0, joules=j) for d, j in (("d0", 1), ("d1", 2))),
        ),
    )
    problem = Problem(
        devices=(Device(name="d0", wait_w=100.0), Device(name="d1")),
        links=(Link(source="d0", target="d1", latency_s=0.0, bytes_per_s=1.0, energy_j_per_byte=0.0),),
        flows=(
            Flow(
                name="f0",
                rate_hz=1.0,
                ops=ops,
                tensors=(Tensor(name="t", bytes=1.0, producer="begin", consumers=("end",)),),
            ),
        ),
        limits=Limits(flow_energy_j={"f0": 5.0}),
    )
    plan = solve(problem)
    assert plan.flows[0].assignment == {"begin": ("d0", "m"), "end": ("d0", "n")}
    end = plan.explain().segments[1]
    assert end.all_free.objective == 2.0
    assert (end.rest_fixed.proven, end.rest_fixed.conflict) == (False, ())
