"""Answers in JSON: with a plan, and with the reason why there is none."""

from __future__ import annotations

import math

import pytest

from placer.cli.answer import NoAnswer, make_answer
from placer.errors import Infeasible, NoPlanFound
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Op, Option, Problem, Tensor
from placer.solver.find import find


def problem(deadline_s: float) -> Problem:
    ends = [Option(device="d", mode="io", seconds=0, joules=0)]
    return Problem(
        devices=(Device(name="d"),),
        flows=(
            Flow(
                name="f",
                rate_hz=2,
                deadline_s=deadline_s,
                ops=(
                    Op(name="source", options=tuple(ends)),
                    Op(name="op", options=(Option(device="d", mode="cpu", seconds=0.5, joules=3),)),
                    Op(name="sink", options=tuple(ends)),
                ),
                tensors=(
                    Tensor(name="x", bytes=1, producer="source", consumers=("op",)),
                    Tensor(name="y", bytes=1, producer="op", consumers=("sink",)),
                ),
            ),
        ),
    )


def test_a_plan_is_answered_in_the_names_of_the_problem():
    index = ProblemIndex(problem(1))
    answer = make_answer(index, find(index))
    assert (answer.status, answer.conflict) == ("optimal", ())
    assert answer.objective == pytest.approx(6)
    assert answer.bound == pytest.approx(6)
    (flow,) = answer.flows
    assert (flow.name, flow.latency_s, flow.energy_j) == ("f", 0.5, 3)
    assert flow.assignment == {"source": ("d", "io"), "op": ("d", "cpu"), "sink": ("d", "io")}


def test_no_plan_is_answered_without_numbers():
    index = ProblemIndex(problem(0.1))
    answer = make_answer(index, find(index), ("deadline",))
    assert (answer.status, answer.objective, answer.bound, answer.flows) == ("infeasible", None, None, ())
    assert answer.conflict == ("deadline",)
    assert math.isfinite(answer.seconds)


def test_a_site_without_a_plan_is_answered_too():
    assert NoAnswer.of(Infeasible(("a", "b"))) == NoAnswer(status="infeasible", conflict=("a", "b"))
    assert NoAnswer.of(NoPlanFound("too short")) == NoAnswer(status="unknown", conflict=())
