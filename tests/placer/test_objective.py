from __future__ import annotations

import math
import random

import msgspec
import pytest

from placer.errors import ProblemError
from placer.index import ProblemIndex
from placer.problem import FORMAT, FORMAT_TOTALS, Problem, decode_problem, encode_problem
from placer.rules import names, total, without
from placer.solver.plain import search
from placer.solver.solve import find
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem

replace = msgspec.structs.replace


def with_figures(problem: Problem, rng: random.Random) -> Problem:
    """Give every device and link grams and prices that disagree on what is dear."""
    grams = [0.0, 1e-5, 1e-4, 2e-4]
    return replace(
        problem,
        devices=tuple(
            replace(d, carbon_g_per_j=rng.choice(grams), cost_per_j=rng.choice([2e-8, 9e-8])) for d in problem.devices
        ),
        links=tuple(
            replace(k, carbon_g_per_j=rng.choice(grams), cost_per_j=rng.choice([2e-8, 9e-8])) for k in problem.links
        ),
    )


def quantile(problem: Problem, objective: str, rng: random.Random) -> float:
    values = sorted(e.objective for _, e in all_evaluations(replace(problem, objective=objective)))
    return values[int(rng.choice([0.0, 0.05, 0.2, 0.5]) * (len(values) - 1))]


@pytest.mark.parametrize("seed", range(24))
def test_optimum_of_every_objective_under_every_cap_equals_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    problem = with_figures(random_problem(seed, devices=3, ops=4, modes=1 + seed % 2, shares=seed % 3 == 0), rng)
    caps = {
        field: quantile(problem, objective, rng)
        for field, objective in (("energy_w", "energy_j"), ("carbon_g_per_s", "carbon_g"), ("cost_per_s", "cost"))
        if rng.random() < 0.4
    }
    problem = with_caps(problem, rng) if seed % 2 else problem
    problem = replace(problem, limits=replace(problem.limits, **caps))
    for objective in ("energy_j", "latency_s", "carbon_g", "cost"):
        posed = replace(problem, objective=objective)
        feasible = [e.objective for _, e in all_evaluations(posed) if e.feasible]
        index = ProblemIndex(posed)
        for outcome in (find(index), search(index)):
            if not feasible:
                assert outcome.status == "infeasible"
                continue
            assert outcome.status == "optimal"
            assert outcome.evaluation is not None
            assert outcome.evaluation.objective == pytest.approx(min(feasible), rel=2e-6, abs=0.0)


def test_equal_figures_make_carbon_proportional_to_energy() -> None:
    for seed in range(20):
        problem = random_problem(seed, devices=3, ops=4)
        carbon = replace(
            problem,
            objective="carbon_g",
            devices=tuple(replace(d, carbon_g_per_j=1e-4) for d in problem.devices),
            links=tuple(replace(k, carbon_g_per_j=1e-4) for k in problem.links),
        )
        for (choice, energy), (same, grams) in zip(all_evaluations(problem), all_evaluations(carbon), strict=True):
            assert choice == same
            assert grams.objective == pytest.approx(1e-4 * energy.objective, rel=1e-12)


@pytest.mark.parametrize("posed", [{"objective": "carbon_g"}, {"objective": "cost"}])
def test_a_missing_figure_is_an_error_and_names_its_field(posed: dict[str, str]) -> None:
    problem = random_problem(1)
    with pytest.raises(ProblemError, match=r"devices\[0\]\.\w+_per_j: missing; objective"):
        replace(problem, **posed)


def test_a_capped_total_needs_its_figures_and_so_does_the_network() -> None:
    problem = random_problem(1)
    with pytest.raises(ProblemError, match=r"devices\[0\]\.carbon_g_per_j: missing; limits\.carbon_g_per_s"):
        replace(problem, limits=replace(problem.limits, carbon_g_per_s=1.0))
    priced = replace(problem, devices=tuple(replace(d, cost_per_j=1e-7) for d in problem.devices))
    with pytest.raises(ProblemError, match=r"links\[\d\]\.cost_per_j: missing; .* network's part"):
        replace(priced, objective="cost")
    whole = tuple(replace(k, receiver_fraction=1 - k.sender_fraction) for k in priced.links)
    assert replace(priced, objective="cost", links=whole).objective == "cost"


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_figures_and_caps_are_finite_and_not_negative(value: float) -> None:
    problem = random_problem(1)
    with pytest.raises(ProblemError, match=r"devices\[0\]\.cost_per_j"):
        replace(problem, devices=(replace(problem.devices[0], cost_per_j=value), *problem.devices[1:]))
    with pytest.raises(ProblemError, match=r"limits\.energy_w"):
        replace(problem, limits=replace(problem.limits, energy_w=value))


def test_the_format_is_1_0_until_a_newer_field_is_used() -> None:
    problem = random_problem(1)
    problem = replace(problem, format=FORMAT, devices=tuple(replace(d, starts=()) for d in problem.devices))
    assert problem.format == FORMAT
    text = encode_problem(problem)
    assert b"carbon" not in text
    assert b"cost_per" not in text
    assert b"energy_w" not in text
    assert decode_problem(text) == problem
    priced = with_figures(problem, random.Random(0))
    capped = replace(problem, limits=replace(problem.limits, energy_w=3.0))
    for newer in (priced, capped, replace(priced, objective="carbon_g")):
        assert newer.format == FORMAT_TOTALS
        assert decode_problem(encode_problem(newer)) == newer


def test_caps_on_totals_are_rules_like_others() -> None:
    problem = with_figures(random_problem(1), random.Random(0))
    capped = replace(problem, limits=replace(problem.limits, energy_w=3.0, carbon_g_per_s=1.0, cost_per_s=2.0))
    assert {total("energy_w"), total("carbon_g_per_s"), total("cost_per_s")} < set(names(capped))
    assert without(capped, {total("carbon_g_per_s")}).limits == replace(capped.limits, carbon_g_per_s=None)
