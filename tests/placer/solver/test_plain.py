"""The plain search against brute force, minimum cuts and dynamic programs, and hunts for a wrong "optimal"."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from placer.baselines import starting_choices
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Op, Option, Problem, Tensor
from placer.solver import plain
from placer.solver.plain import Backend, search
from tests.oracles.bad_scales import stretched
from tests.oracles.brute_force import brute_force, with_caps
from tests.oracles.easy_cases import chain_optimum, chain_problem, min_cut, two_device_problem
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.solver.outcome import Outcome


def _search(problem: Problem, **how: object) -> Outcome:
    index = ProblemIndex(problem)
    return search(index, **{"starts": starting_choices(index), "time_limit_s": 30.0, **how})  # type: ignore[arg-type]


def _choices(problem: Problem) -> int:
    return math.prod(len(op.options) for f in problem.flows for op in f.ops)


def _drawn(seed: int) -> Problem:
    """Draw a small problem with whatever the format knows; most have caps that bite."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.4:
        problem = odd_problem(seed, ops=rng.choice([3, 5, 7]), devices=rng.choice([2, 3]))
    elif kind < 0.55:
        problem = odd_problem(seed, ops=3, devices=3, flows=2)
    elif kind < 0.8:
        problem = random_problem(seed, devices=3, ops=rng.choice([4, 5]), shares=True)
    elif kind < 0.9:
        problem = random_problem(seed, devices=2, ops=2, flows=2, shares=True)
    else:
        problem = random_problem(seed, devices=2, ops=3, modes=2, shares=True)
    return with_caps(problem, rng) if rng.random() < 0.7 else problem


def _check(problem: Problem, outcome: Outcome, name: object) -> bool:
    """Compare with brute force; return whether there is a plan."""
    least = brute_force(problem)
    if least is None:
        assert outcome.status == "infeasible", name
        return False
    assert outcome.status == "optimal", name
    assert outcome.evaluation is not None
    assert outcome.evaluation.feasible
    assert outcome.evaluation.objective <= least * (1 + 1.01e-6), name
    assert outcome.bound <= least * (1 + 1e-9), name
    return True


def _compare(seeds: range) -> tuple[int, int]:
    found = [_check(problem, _search(problem), seed) for seed in seeds if _choices(problem := _drawn(seed)) <= 2000]
    return sum(found), len(found) - sum(found)


def test_equals_brute_force() -> None:
    plans, without = _compare(range(330))
    assert plans >= 200
    assert without >= 30


@pytest.mark.long
def test_equals_brute_force_on_thousands() -> None:
    assert sum(_compare(range(1000, 9000))) > 7000


@pytest.mark.parametrize("seed", [1238, 27435, 28695])
def test_is_not_misled_by_the_solver_s_presolve(seed: int) -> None:
    # Random problems for which HiGHS 1.12 with presolve, the last two with one rule of it switched off, claims that
    # nothing better than the start exists.
    rng = random.Random(seed)
    if rng.random() < 0.6:
        single = rng.random() < 0.7
        problem = (
            odd_problem(seed, ops=rng.choice([3, 5, 7]), devices=rng.choice([2, 3]))
            if single
            else odd_problem(seed, ops=3, devices=3, flows=2)
        )
    elif rng.random() < 0.7:
        problem = random_problem(seed, devices=3, ops=rng.choice([4, 5]), shares=True)
    else:
        problem = random_problem(seed, devices=2, ops=3, modes=2, shares=True)
    if rng.random() < 0.7:
        problem = with_caps(problem, rng)
    assert _check(problem, _search(problem), seed)


def _compare_stretched(seeds: range, backend: Backend = "highs") -> int:
    count = 0
    for seed in seeds:
        rng = random.Random(seed)
        problem = (
            odd_problem(seed, ops=rng.choice([3, 5]), devices=3)
            if rng.random() < 0.5
            else random_problem(seed, devices=3, ops=4, shares=True)
        )
        if _choices(problem) > 300:
            continue
        problem = stretched(problem, rng)
        if rng.random() < 0.7:
            problem = with_caps(problem, rng)
        count += 1
        _check(problem, _search(problem, backend=backend), seed)
    return count


def test_badly_scaled_numbers_do_not_mislead() -> None:
    assert _compare_stretched(range(100, 280)) > 100


def test_is_not_misled_by_cp_sat_s_presolve() -> None:
    # CP-SAT 9.15 with presolve cuts off the optimum, without any objective or tie to blame.
    assert _compare_stretched(range(1940, 1941), "cp-sat") == 1


@pytest.mark.long
@pytest.mark.parametrize("backend", ["highs", "cp-sat"])
def test_badly_scaled_numbers_do_not_mislead_on_thousands(backend: Backend) -> None:
    assert _compare_stretched(range(1000, 5000), backend) > 3000


@pytest.mark.parametrize("seed", range(12))
def test_two_devices_are_a_minimum_cut(seed: int) -> None:
    problem = two_device_problem(seed, ops=10 + 5 * (seed % 11))
    outcome, least = _search(problem), min_cut(problem)
    if least is None:
        assert outcome.status == "infeasible"
    else:
        assert outcome.status == "optimal"
        assert outcome.evaluation is not None
        assert outcome.evaluation.objective == pytest.approx(least, rel=2e-6)


@pytest.mark.parametrize("seed", range(12))
def test_a_chain_is_a_dynamic_program(seed: int) -> None:
    problem = chain_problem(seed, ops=8 + 2 * seed, devices=2 + seed % 4)
    outcome, least = _search(problem), chain_optimum(problem)
    if least is None:
        assert outcome.status == "infeasible"
    else:
        assert outcome.evaluation is not None
        assert outcome.evaluation.objective == pytest.approx(least, rel=2e-6)


@pytest.mark.parametrize("seed", range(6))
def test_equal_inputs_give_equal_plans(seed: int) -> None:
    problem = with_caps(random_problem(seed, ops=5), random.Random(seed))
    assert _search(problem).choices == _search(problem).choices


def test_the_time_limit_returns_a_plan_with_its_gap() -> None:
    options = (_option("a", 1.0, 1.0), _option("b", 1.0, 2.0))
    outcome = _search(_tiny((options,) * 30), time_limit_s=0.0)
    assert outcome.status == "feasible"
    assert outcome.evaluation is not None
    assert outcome.evaluation.feasible
    assert outcome.gap == pytest.approx(1.0)
    assert outcome.bound == 0.0


def test_no_plan_in_no_time_is_unknown_not_infeasible() -> None:
    assert _search(random_problem(3, ops=5), starts=(), time_limit_s=0.0).status == "unknown"


@pytest.mark.parametrize("backend", ["scip", "cp-sat"])
def test_other_solvers_find_the_same(backend: str) -> None:
    for seed in range(15):
        problem = with_caps(random_problem(seed, ops=4), random.Random(seed))
        _check(problem, _search(problem, backend=backend), seed)


@pytest.mark.long
@pytest.mark.parametrize("start", range(0, 2000, 200))
def test_cp_sat_equals_brute_force_on_thousands(start: int) -> None:
    for seed in range(start, start + 200):
        problem = _drawn(seed)
        if _choices(problem) <= 600:
            _check(problem, _search(problem, backend="cp-sat"), seed)


@pytest.mark.parametrize("objective", ["energy_j", "latency_s"])
def test_rounding_to_whole_numbers_takes_no_plan_away(objective: str) -> None:
    # CP-SAT rounds every time up to its unit, here a thousandth of the deadline or less, once for each op.
    ops = [(_option("a", 0.010501, 1.0), _option("b", 0.030501, 0.5)) for _ in range(60)]
    problem = replace(_tiny(tuple(ops)), objective=objective)
    chain = tuple(Tensor(name=f"t{i}", bytes=0.0, producer=f"v{i}", consumers=(f"v{i + 1}",)) for i in range(59))
    flow = replace(problem.flows[0], tensors=chain, deadline_s=60 * 0.010501)
    outcome = _search(replace(problem, flows=(flow,)), starts=(), backend="cp-sat")
    assert outcome.status == "optimal"
    assert outcome.evaluation is not None
    assert outcome.evaluation.flows[0].latency_s == pytest.approx(60 * 0.010501)
    assert outcome.bound <= outcome.evaluation.objective


# --- hunts -------------------------------------------------------------------------------------------------------


def _tiny(options: tuple[tuple[Option, ...], ...], more: tuple[Device, ...] = (), **flow: object) -> Problem:
    return Problem(
        devices=(Device(name="a", max_utilization=1e9), Device(name="b", max_utilization=1e9), *more),
        flows=(
            Flow(
                name="f",
                **{"rate_hz": 1.0, **flow},  # type: ignore[arg-type]
                ops=tuple(Op(name=f"v{i}", options=o) for i, o in enumerate(options)),
            ),
        ),
    )


def _option(device: str, seconds: float, joules: float) -> Option:
    return Option(device=device, mode="m", seconds=seconds, joules=joules)


def test_one_op() -> None:
    problem = _tiny(((_option("a", 1.0, 2.0), _option("b", 2.0, 1.0)),))
    assert _search(problem).choices == ((1,),)
    late = _tiny(((_option("a", 1.0, 2.0), _option("b", 2.0, 1.0)),), deadline_s=1.5)
    assert _search(late).choices == ((0,),)


def test_no_option_at_all_is_infeasible() -> None:
    assert _search(_tiny(((),))).status == "infeasible"


def test_all_ties_and_zeros() -> None:
    free = tuple(_option(d, 0.0, 0.0) for d in ("a", "b"))
    outcome = _search(_tiny((free, free, free)))
    assert outcome.status == "optimal"
    assert outcome.evaluation is not None
    assert outcome.evaluation.objective == 0.0


def test_parts_that_are_not_connected() -> None:
    # Two islands compete for one device: each alone would meet the deadline there, both together do not.
    options = (_option("a", 1.0, 1.0), _option("b", 1.0, 3.0))
    problem = _tiny((options, options), deadline_s=1.5)
    outcome = _search(problem)
    assert outcome.evaluation is not None
    assert outcome.evaluation.objective == pytest.approx(4.0)


def test_nanoseconds_beside_thousands_of_seconds() -> None:
    options = (_option("a", 1e3, 1.0), _option("b", 1e-9, 1.000003))
    outcome = _search(_tiny((options, options), deadline_s=1000.5))
    assert outcome.evaluation is not None
    # Both on a takes 2000 s; they share no edge, so one of them moves to b.
    assert outcome.evaluation.objective == pytest.approx(2.000003, rel=1e-9)


def test_a_device_that_is_never_used_does_not_set_the_scale() -> None:
    # 10 kW of idle power beside microwatts: what is worth saving is far below the largest coefficient.
    # The best plan is no starting choice, so it has to be found.
    idle = (Device(name="c", idle_w=1e9, always_on=False, max_utilization=1e9),)
    first = (_option("a", 1.0, 1e-6), _option("b", 1.0, 2e-6), _option("c", 1.0, 1e-9))
    second = (_option("a", 1.0, 2e-6), _option("b", 1.0, 1e-6))
    outcome = _search(_tiny((first, second) * 4, more=idle))
    assert outcome.status == "optimal"
    assert outcome.evaluation is not None
    assert outcome.evaluation.objective == pytest.approx(8e-6)
    # With the scale of c's idle power the solver sees nothing of the rest, and tries choice after choice.
    assert outcome.rounds <= 5


def test_the_last_proof_is_made_without_presolve(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = plain._solve

    def watched(*given: Any, presolve: bool) -> Any:
        asked.append(presolve)
        return real(*given, presolve=presolve)

    monkeypatch.setattr(plain, "_solve", watched)
    for seed in range(12):
        asked.clear()
        outcome = _search(with_caps(random_problem(seed, ops=4), random.Random(seed)))
        assert outcome.status in ("optimal", "infeasible")
        assert asked[-1] is False, seed
