from __future__ import annotations

import itertools
import math
import random

import pytest
from msgspec.structs import replace

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Limits, Link, Op, Option, Problem, Tensor
from placer.solver.alike import alike
from placer.solver.exact.solve import solve_flow
from placer.solver.plain import search
from tests.oracles.alike_problem import alike_problem
from tests.oracles.brute_force import brute_force


def _choices(problem: Problem) -> int:
    return math.prod(len(op.options) for op in problem.flows[0].ops)


def _pair() -> Problem:
    """Two accelerators beside a host, linked to it and to each other."""
    names = ("host", "a", "b")
    ops = (
        Op(name="in", options=(Option(device="host", mode="io", seconds=0.0, joules=0.0),)),
        Op(name="work", options=tuple(Option(device=d, mode="m", seconds=0.1, joules=1.0) for d in names)),
    )
    return Problem(
        devices=tuple(Device(name=n, memory_bytes=8.0) for n in names),
        links=tuple(
            Link(source=x, target=y, latency_s=0.1, bytes_per_s=10.0, energy_j_per_byte=0.0)
            for x, y in itertools.permutations(names, 2)
        ),
        flows=(
            Flow(
                name="f",
                rate_hz=1.0,
                ops=ops,
                tensors=(Tensor(name="t", bytes=1.0, producer="in", consumers=("work",)),),
            ),
        ),
    )


def test_two_accelerators_are_alike_and_the_host_with_the_source_is_not() -> None:
    assert alike(ProblemIndex(_pair())) == ((1, 2),)


def _change_device(problem: Problem, **fields: object) -> Problem:
    host, a, b = problem.devices
    return replace(problem, devices=(host, a, replace(b, **fields)))


def _change_link(problem: Problem, source: str, target: str, **fields: object) -> Problem:
    links = tuple(replace(k, **fields) if (k.source, k.target) == (source, target) else k for k in problem.links)
    return replace(problem, links=links)


def _change_flow(problem: Problem, **fields: object) -> Problem:
    return replace(problem, flows=(replace(problem.flows[0], **fields),))


def _change_option(problem: Problem, **fields: object) -> Problem:
    source, work = problem.flows[0].ops
    host, a, b = work.options
    return _change_flow(problem, ops=(source, replace(work, options=(host, a, replace(b, **fields)))))


@pytest.mark.parametrize(
    "changed",
    [
        _change_device(_pair(), memory_bytes=9.0),
        _change_device(_pair(), wait_w=1.0),
        _change_device(_pair(), always_on=False, idle_w=1.0),
        _change_link(_pair(), "host", "b", latency_s=0.2),
        _change_link(_pair(), "b", "host", tail_j=0.2),
        _change_link(_pair(), "a", "b", bytes_per_s=1.0),
        replace(_pair(), links=_pair().links[:-1]),
        _change_option(_pair(), seconds=0.2),
        _change_option(_pair(), mode="n"),
        _change_option(_pair(), accuracy_cost=1.0),
        _change_flow(_pair(), tensors=(replace(_pair().flows[0].tensors[0], not_on=("a",)),)),
        _change_flow(
            _pair(),
            ops=(
                *_pair().flows[0].ops,
                replace(
                    _pair().flows[0].ops[0],
                    name="in2",
                    options=(Option(device="b", mode="io", seconds=0.0, joules=0.0),),
                ),
            ),
        ),
        replace(_pair(), limits=Limits(power_w={"a": 1.0})),
        replace(_pair(), limits=Limits(flow_device_energy_j={"f": {"b": 1.0}})),
        # Who comes first in a shared queue goes by the order of the file.
        _change_link(_change_link(_pair(), "host", "a", medium="air"), "host", "b", medium="air"),
    ],
)
def test_one_difference_is_enough_to_tell_devices_apart(changed: Problem) -> None:
    assert alike(ProblemIndex(changed)) == ()


@pytest.mark.parametrize("seed", range(40))
def test_exchanging_alike_devices_changes_no_number(seed: int) -> None:
    problem = alike_problem(seed, ops=6)
    index = ProblemIndex(problem)
    rng = random.Random(seed)
    for first, *others in alike(index):
        for _ in range(5):
            choice = tuple(rng.randrange(len(options)) for options in index.flows[0].options)
            other = rng.choice(others)
            swap = {first: other, other: first}
            swapped = tuple(
                next(
                    i
                    for i, option in enumerate(options)
                    if (option.device, option.mode) == (swap.get(options[o].device, options[o].device), options[o].mode)
                )
                for options, o in zip(index.flows[0].options, choice, strict=True)
            )
            one, two = evaluate(index, (choice,)), evaluate(index, (swapped,))
            assert two.objective == pytest.approx(one.objective, rel=1e-12)
            assert two.flows[0].latency_s == pytest.approx(one.flows[0].latency_s, rel=1e-12)
            assert len(two.violations) == len(one.violations)


def _compare(seeds: range) -> int:
    count = 0
    for seed in seeds:
        problem = alike_problem(seed, ops=3 + seed % 3)
        if _choices(problem) > 300:
            continue
        count += 1
        least, index = brute_force(problem), ProblemIndex(problem)
        exact, milp = solve_flow(index), search(index, backend="cp-sat")
        if least is None:
            assert (exact.status, milp.status) == ("infeasible", "infeasible"), seed
            continue
        assert (exact.status, milp.status) == ("optimal", "optimal"), seed
        assert milp.evaluation is not None
        for objective, bound in ((exact.objective, exact.bound), (milp.evaluation.objective, milp.bound)):
            assert objective == pytest.approx(least, rel=1.01e-6, abs=0), seed
            assert bound <= least * (1 + 1e-9), seed
    return count


def test_the_optimum_is_that_of_brute_force() -> None:
    assert _compare(range(60)) > 35


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 5000, 200))
def test_the_optimum_is_that_of_brute_force_on_thousands(start: int) -> None:
    assert _compare(range(start, start + 200)) > 100
