from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver import improve as module
from placer.solver.fill import filled, groups
from placer.solver.find import find
from placer.solver.improve import improve
from tests.oracles.alike_problem import alike_problem
from tests.oracles.brute_force import brute_force


def pipeline(ops: int, *, colocate: tuple[tuple[str, ...], ...] = ()) -> Problem:
    """A chain of ops of one byte each, on accelerators that hold four ops each and a host that is ten times slower."""
    names = ("host", "a", "b", "c")
    return Problem(
        objective="latency_s",
        devices=tuple(Device(name=n, memory_bytes=None if n == "host" else 4.0) for n in names),
        links=tuple(
            Link(source=x, target=y, latency_s=0.0, bytes_per_s=2.0, energy_j_per_byte=0.0)
            for x in names
            for y in names
            if x != y
        ),
        flows=(
            Flow(
                name="f",
                rate_hz=0.0,
                ops=tuple(
                    Op(
                        name=f"v{i}",
                        weights_bytes=1.0,
                        options=tuple(
                            Option(device=n, mode="m", seconds=10.0 if n == "host" else 1.0, joules=0.0) for n in names
                        ),
                    )
                    for i in range(ops)
                ),
                tensors=tuple(
                    Tensor(name=f"t{i}", bytes=1.0, producer=f"v{i}", consumers=(f"v{i + 1}",)) for i in range(ops - 1)
                ),
                colocate=colocate,
            ),
        ),
    )


def test_devices_are_filled_one_after_the_other_in_the_order_of_the_data() -> None:
    index = ProblemIndex(pipeline(10))
    first = next(filled(index))[0]
    assert [index.devices[index.flows[0].options[v][o].device].name for v, o in enumerate(first)] == [*"aaaabbbbcc"]
    # Ten ops of a second, and two changes of half a second: nothing is faster.
    assert evaluate(index, (first,)).objective == 11.0


def test_what_no_accelerator_holds_goes_to_the_host() -> None:
    index = ProblemIndex(pipeline(13))
    first = next(filled(index))[0]
    assert index.flows[0].options[12][first[12]].device == 0
    assert all(evaluate(index, choices).feasible for choices in filled(index))


def test_what_must_be_together_is_filled_in_together() -> None:
    index = ProblemIndex(pipeline(10, colocate=(("v0", "v9"), ("v9", "v5"))))
    assert groups(index.flows[0])[5] == (0, 5, 9)
    for choices in filled(index):
        assert evaluate(index, choices).feasible


def test_without_limits_of_memory_nothing_is_filled() -> None:
    problem = pipeline(3)
    devices = tuple(replace(d, memory_bytes=None) for d in problem.devices)
    assert list(filled(ProblemIndex(replace(problem, devices=devices)))) == []


def test_moves_lead_from_everything_on_the_host_to_the_best() -> None:
    index = ProblemIndex(pipeline(10))
    start = (tuple(0 for _ in range(10)),)
    found = improve(index, start, time_limit_s=20.0, seed=1)
    assert found.evaluation is not None
    assert found.evaluation.objective == 11.0
    assert (found.status, found.bound, found.interrupted) == ("feasible", 0.0, False)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_found_is_allowed_and_no_worse(seed: int) -> None:
    problem = alike_problem(seed, ops=4)
    if math.prod(len(op.options) for op in problem.flows[0].ops) > 300:
        return
    least, index = brute_force(problem), ProblemIndex(problem)
    for choices in filled(index):
        judged = evaluate(index, choices)
        if judged.feasible:
            found = improve(index, choices, time_limit_s=0.2, seed=seed)
            assert found.evaluation is not None
            assert found.choices is not None
            assert evaluate(index, found.choices).feasible
            assert least is not None
            assert least <= found.evaluation.objective <= judged.objective


def test_no_time_leaves_the_start() -> None:
    index = ProblemIndex(pipeline(4))
    start = (tuple(0 for _ in range(4)),)
    assert improve(index, start, time_limit_s=0.0, seed=1).choices == start


def test_ctrl_c_leaves_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    index = ProblemIndex(pipeline(10))
    start = (tuple(0 for _ in range(10)),)
    calls = 0

    def judge(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 50:
            raise KeyboardInterrupt
        return evaluate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", judge)
    found = improve(index, start, time_limit_s=20.0, seed=1)
    assert found.interrupted
    assert found.evaluation is not None
    assert found.evaluation.feasible


def test_a_search_of_one_flow_begins_with_what_was_filled() -> None:
    found = find(ProblemIndex(pipeline(10)), time_limit_s=20.0)
    assert found.status == "optimal"
    assert found.evaluation is not None
    assert found.evaluation.objective == 11.0
