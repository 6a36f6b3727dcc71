"""Segments that are there for nothing go; those that save something, or that a rule needs, stay."""

from __future__ import annotations

import random

import msgspec
import pytest

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.tidy import tidy
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.random_problem import random_problem


def _op(name: str, *devices: str, seconds: float) -> Op:
    return Op(name=name, options=tuple(Option(device=d, mode="m", seconds=seconds, joules=seconds) for d in devices))


def chain(**not_on: tuple[str, ...]) -> ProblemIndex:
    """A working op and an idle one; starting is free, and so is sending."""
    io = (Option(device="sink", mode="io", seconds=0.0, joules=0.0),)
    return ProblemIndex(
        Problem(
            devices=(Device(name="box"), Device(name="gpu"), Device(name="sink")),
            links=tuple(
                Link(source=a, target=b, latency_s=0.0, bytes_per_s=1e9, energy_j_per_byte=0.0)
                for a in ("box", "gpu", "sink")
                for b in ("box", "gpu", "sink")
                if a != b
            ),
            flows=(
                Flow(
                    name="f",
                    rate_hz=1.0,
                    ops=(
                        _op("work", "box", "gpu", seconds=1.0),
                        _op("shape", "box", "gpu", seconds=0.0),
                        Op(name="end", options=io),
                    ),
                    tensors=(
                        Tensor(name="a", bytes=8, producer="work", consumers=("shape",)),
                        Tensor(name="b", bytes=8, producer="shape", consumers=("end",), not_on=not_on.get("b", ())),
                    ),
                ),
            ),
        )
    )


def test_an_idle_segment_joins_its_neighbour():
    index = chain()
    choices, evaluation = tidy(index, ((0, 1, 0),), evaluate(index, ((0, 1, 0),)))
    assert choices == ((0, 0, 0),)
    assert len(evaluation.flows[0].layout.segments) == 1


def test_an_idle_segment_that_a_rule_keeps_apart_stays():
    index = chain(b=("box",))
    before = ((0, 1, 0),)
    assert tidy(index, before, evaluate(index, before))[0] == before


@pytest.mark.parametrize("seed", range(30))
def test_no_rule_breaks_and_nothing_costs_more(seed):
    problem = random_problem(seed, devices=2, ops=5)
    idle = tuple(msgspec.structs.replace(d, segment_s=0.0, segment_j=0.0) for d in problem.devices)
    problem = with_caps(msgspec.structs.replace(problem, devices=idle), random.Random(seed))
    index = ProblemIndex(problem)
    for choices, evaluation in all_evaluations(problem)[::5]:
        if evaluation.feasible:
            after, found = tidy(index, choices, evaluation)
            assert found.feasible
            assert found.objective <= evaluation.objective
            assert evaluate(index, after).objective == found.objective
