from __future__ import annotations

import msgspec
import pytest

from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.find import find
from placer.solver.floor import floor
from tests.oracles.brute_force import brute_force
from tests.oracles.random_problem import random_problem
from tests.placer.solver.exact.drawn import drawn_problem, odd_drawn_problem

replace = msgspec.structs.replace


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_no_choice_is_below_it(start: int) -> None:
    above = 0
    for seed in range(start, start + 20):
        for problem in (drawn_problem(seed), odd_drawn_problem(seed), random_problem(seed, ops=4, shares=True)):
            if problem is not None and (best := brute_force(problem)) is not None:
                least = floor(ProblemIndex(problem))
                assert 0 <= least <= best
                above += least > 0
    assert above > 10


def _fork() -> Problem:
    """One op of 2 s, then two side by side of 3 and 4 s, on either of two devices, the second at half the seconds."""
    seconds = {"in": 2.0, "left": 3.0, "right": 4.0}
    ops = tuple(
        Op(
            name=name,
            share=0.5 if name == "left" else 1.0,
            options=(
                Option(device="a", mode="m", seconds=s, joules=s),
                Option(device="b", mode="m", seconds=s / 2, joules=3 * s),
            ),
        )
        for name, s in seconds.items()
    )
    tensor = Tensor(name="t", bytes=1.0, producer="in", consumers=("left", "right"))
    flow = Flow(name="f", rate_hz=2.0, ops=ops, tensors=(tensor,))
    links = (Link(source="a", target="b", latency_s=0.0, bytes_per_s=1.0, energy_j_per_byte=1.0),)
    devices = (Device(name="a", carbon_g_per_j=4.0), Device(name="b", carbon_g_per_j=1.0))
    return Problem(devices=devices, links=tuple(replace(k, carbon_g_per_j=1.0) for k in links), flows=(flow,))


@pytest.mark.parametrize(
    ("objective", "least"),
    [
        ("energy_j", 2 * (2 + 3 / 2 + 4)),
        ("carbon_g", 2 * 3 * (2 + 3 / 2 + 4)),
        ("latency_s", (2 + 4) / 2),
    ],
)
def test_it_is_the_sum_of_the_cheapest_or_the_longest_path(objective: str, least: float) -> None:
    assert floor(ProblemIndex(replace(_fork(), objective=objective))) == pytest.approx(least)


def test_serial_latency_is_a_sum() -> None:
    problem = _fork()
    flow = replace(problem.flows[0], latency="serial")
    index = ProblemIndex(replace(problem, objective="latency_s", flows=(flow,)))
    assert floor(index) == pytest.approx((2 + 3 + 4) / 2)


def test_a_search_without_time_knows_at_least_that() -> None:
    index = ProblemIndex(_fork())
    assert find(index, time_limit_s=0.0).bound == pytest.approx(floor(index))
