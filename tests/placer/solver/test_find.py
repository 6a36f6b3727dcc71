from __future__ import annotations

import json

import pytest

from placer.baselines import best_allowed, judge_baselines
from placer.index import ProblemIndex
from placer.problem import decode_problem
from placer.solver import one_flow as module
from placer.solver.find import find
from placer.solver.outcome import relative_gap
from tests.e2e.desk import large_problem
from tests.oracles.random_problem import random_problem


@pytest.mark.parametrize("first_s", [0.05, 2.0])
def test_ctrl_c_ends_the_search_in_whichever_turn_it_comes(monkeypatch, first_s):
    # A turn this short is over when the signal comes: no clock may tell the two apart.
    monkeypatch.setattr(module, "_FIRST_S", first_s)
    index = ProblemIndex(decode_problem(json.dumps(large_problem()).encode()))
    calls = []

    def progress(objective: float, bound: float) -> None:
        calls.append(objective)
        raise KeyboardInterrupt

    found = find(index, time_limit_s=60, progress=progress)
    assert (found.interrupted, found.status, len(calls)) == (True, "feasible", 1)
    assert found.evaluation.feasible
    assert 0 <= found.bound < found.evaluation.objective


def test_ctrl_c_before_there_is_a_choice_is_passed_on(monkeypatch):
    # The signal comes in the first turn itself: how far a search gets before it may depend on no clock.
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "search", interrupted)
    monkeypatch.setattr(module, "solve_flow", interrupted)
    index = ProblemIndex(decode_problem(json.dumps(large_problem(deadline_s=0.06)).encode()))
    with pytest.raises(KeyboardInterrupt):
        find(index, time_limit_s=60)


@pytest.mark.parametrize("seed", [-1, 2**31 - 1, 2**80])
def test_any_whole_number_is_a_seed(seed):
    index = ProblemIndex(random_problem(3, devices=2, ops=3, flows=2))
    assert find(index, seed=seed).status == "optimal"


def test_a_plan_that_costs_nothing_is_optimal_whatever_bound_rounding_left():
    assert relative_gap(0.0, -1e-12) == 0.0
    assert relative_gap(1.0, -1.0) == 2.0


@pytest.mark.parametrize("seed", [3, 9, 26])
def test_what_is_found_is_no_worse_than_a_baseline_however_wide_the_gap(seed):
    index = ProblemIndex(random_problem(seed, ops=5, flows=3, scarce=0.0))
    found = find(index, gap=0.9)
    simple = best_allowed(judge_baselines(index))
    assert found.evaluation.feasible
    assert found.evaluation.objective <= simple.baseline.objective
    assert found.bound <= found.evaluation.objective
