"""`evaluate` against a second evaluator written from the format's text, and against sums done by hand."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Conversion, Problem
from tests.oracles.brute_force import with_caps
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem
from tests.oracles.second_evaluate import second_evaluate
from tests.placer.by_hand import chain, link, only, op, option, problem_of, tensor


def _drawn(seed: int) -> Problem:
    rng = random.Random(seed)
    if rng.random() < 0.7:
        problem = odd_problem(seed, ops=9, devices=4, flows=rng.choice([1, 1, 2, 3]))
    else:
        problem = random_problem(seed, devices=3, ops=7, flows=rng.choice([1, 2]), modes=2, shares=True)
    return with_caps(problem, rng) if rng.random() < 0.5 else problem


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _compare(seed: int) -> int:
    """Compare both evaluators on a few choices of one problem; return on how many every number counts."""
    problem = _drawn(seed)
    index = ProblemIndex(problem)
    rng = random.Random(seed)
    whole = 0
    for _ in range(4):
        choices = tuple(tuple(rng.randrange(len(o)) for o in f.options) for f in index.flows)
        one = evaluate(index, choices)
        named = {f.name: index.assignment_of(i, c) for i, (f, c) in enumerate(zip(problem.flows, choices, strict=True))}
        other = second_evaluate(problem, named)
        assert one.feasible == (not other["broken"]), (seed, one.violations, other["broken"])
        if any(what.endswith("/link") for what in other["broken"]):
            continue  # A choice that no link joins has no times to compare.
        whole += 1
        assert _same(one.objective, other["objective"]), seed
        for flow, result in zip(problem.flows, one.flows, strict=True):
            theirs = other["flows"][flow.name]
            assert _same(result.latency_s, theirs["latency_s"]), seed
            assert _same(result.energy_j, theirs["energy_j"]), seed
            assert _same(result.accuracy_cost, theirs["accuracy_cost"]), seed
            assert len(result.layout.segments) == theirs["segments"], seed
            for d, device in enumerate(problem.devices):
                spent = math.fsum(c.joules for c in result.charges if c.device == d)
                assert _same(spent, theirs["at_device_j"][device.name]), seed
        for d, device in enumerate(problem.devices):
            assert _same(one.idle_w[d], other["idle_w"][device.name]), seed
            assert _same(one.memory_bytes[d], other["memory_bytes"][device.name]), seed
            assert _same(one.device_utilization[d], other["device_utilization"][device.name]), seed
            assert _same(one.device_power_w[d], other["power_w"][device.name]), seed
        for k, a_link in enumerate(problem.links):
            name = f"medium {a_link.medium}" if a_link.medium else f"{a_link.source}->{a_link.target}"
            assert _same(one.medium_utilization[index.medium_of[k]], other["medium_utilization"][name]), seed
    return whole


def test_agrees_with_the_second_evaluator() -> None:
    assert sum(_compare(seed) for seed in range(1000)) > 2000


@pytest.mark.long
def test_agrees_with_the_second_evaluator_on_many() -> None:
    assert sum(_compare(seed) for seed in range(1000, 40_000)) > 50_000


# --- one rule at a time, with numbers small enough to do by hand ---------------------------------------------


def test_latency_and_energy_of_a_chain() -> None:
    result = only(chain())
    flow = result.flows[0]
    # 0.25 + 1 on a, 1000 bytes at 1000 per second + 0.5 s, 2 s on b.
    assert flow.latency_s == pytest.approx(1.25 + 1.5 + 2.0)
    # Waiting: latency less what a works, segment start included.
    assert flow.energy_j == pytest.approx(10 + 20 * 0.5 + 1.0 + 1.0 * 0.5 + 4.0 * (4.75 - 1.25))


def test_tail_once_per_link_and_not_scaled_by_share() -> None:
    plain = only(chain()).flows[0].energy_j
    tailed = link("a", "b", tail_j=7.0)
    assert only(chain(links=(tailed,))).flows[0].energy_j == pytest.approx(plain + 7.0)


def test_a_tensor_goes_once_per_receiving_device_with_the_largest_share() -> None:
    problem = problem_of(
        op("in", option("a", mode="io")),
        op("one", option("b"), share=0.25),
        op("two", option("b"), share=0.75),
        tensors=(tensor("in", "one", "two"),),
        devices={"a": {}, "b": {}},
    )
    assert only(problem).flows[0].energy_j == pytest.approx(0.75)
    assert only(problem).medium_utilization[0] == pytest.approx(0.75)


def test_links_of_one_medium_queue_in_file_order() -> None:
    devices = {"a": {}, "b": {}, "c": {}}
    ops = (op("in", option("a", mode="io")), op("x", option("b")), op("y", option("c")))
    tensors = (tensor("in", "y"), tensor("in", "x"))
    links = (link("a", "b", medium="air"), link("a", "c", medium="air"))
    flow = only(problem_of(*ops, tensors=tensors, devices=devices, links=links)).flows[0]
    # The tensor that stands first goes first: to y, then to x; the latency of the first does not hold the second.
    assert flow.schedule.op_end_s == pytest.approx((0.0, 2.5, 1.5))


def test_what_sources_hand_on_at_once_arrives_before_anything_starts() -> None:
    # "first" is fed by the source, "second" by nobody; both are ready at 0 and the file's order decides.
    problem = problem_of(
        op("in", option("a", mode="io")),
        op("first", option("a", 1.0)),
        op("second", option("a", 2.0)),
        op("after", option("b", 10.0)),
        tensors=(tensor("in", "first"), tensor("first", "after")),
        devices={"a": {}, "b": {}},
    )
    schedule = only(problem).flows[0].schedule
    assert schedule.op_end_s[1] == pytest.approx(1.0)
    assert schedule.latency_s == pytest.approx(1.0 + 1.5 + 10.0)


def test_ops_of_equal_place_and_level_are_one_segment_only_if_joined() -> None:
    # x and y both read the source; they are at one level but share no edge: two segments.
    ops = (
        op("in", option("a", mode="io")),
        op("x", option("a", 1.0)),
        op("y", option("a", 1.0)),
        op("z", option("a", 1.0)),
    )
    apart = problem_of(*ops[:3], tensors=(tensor("in", "x", "y"),), devices={"a": {}})
    assert len(only(apart).flows[0].layout.segments) == 2
    joined = problem_of(*ops, tensors=(tensor("in", "x", "y"), tensor("x", "z"), tensor("y", "z")), devices={"a": {}})
    assert len(only(joined).flows[0].layout.segments) == 1


def test_a_detour_over_another_device_splits_a_segment() -> None:
    problem = problem_of(
        op("x", option("a", 1.0)),
        op("y", option("b", 1.0)),
        op("z", option("a", 1.0)),
        tensors=(tensor("x", "y"), tensor("x", "z"), tensor("y", "z")),
        devices={"a": {}, "b": {}},
    )
    assert [s.level for s in only(problem).flows[0].layout.segments] == [0, 1, 2]


def test_conversions_delay_cost_once_per_mode_and_occupy_nothing() -> None:
    conversion = Conversion(from_mode="m", to_mode="n", s_per_byte=0.001, j_per_byte=0.01)
    problem = problem_of(
        op("x", option("a", 1.0)),
        op("y", option("a", 1.0, mode="n"), share=0.5),
        op("z", option("a", 1.0, mode="n"), share=0.25),
        tensors=(tensor("x", "y", "z"),),
        devices={"a": {"conversions": (conversion,)}},
        rate_hz=1.0,
    )
    result = only(problem)
    assert result.flows[0].latency_s == pytest.approx(1.0 + 1.0 + 2.0)
    assert result.flows[0].energy_j == pytest.approx(10 * 0.5)
    assert result.device_utilization[0] == pytest.approx(1 + 0.5 + 0.25)
    serial = msgspec.structs.replace(problem, flows=(msgspec.structs.replace(problem.flows[0], latency="serial"),))
    assert only(serial).flows[0].latency_s == pytest.approx(1.0 + 1.0 + 2.0)


def test_idle_power_only_for_devices_that_work_and_are_not_always_on() -> None:
    devices = {"a": {"idle_w": 5.0}, "b": {"idle_w": 3.0, "always_on": False}, "c": {"idle_w": 2.0, "always_on": False}}
    result = only(chain(devices=devices))
    assert result.idle_w == (0.0, 3.0, 0.0)
    # Average power counts what is on anyway, too.
    assert result.device_power_w[0] > 5.0
    assert result.device_power_w[2] == 0.0


def test_weights_of_one_id_are_held_once() -> None:
    one, two = (
        op(n, option("a"), weights_bytes=8.0, weights_id="w", workspace_bytes=s) for n, s in (("x", 2), ("y", 3))
    )
    own = op("z", option("a"), weights_bytes=8.0)
    problem = problem_of(one, two, own, tensors=(), devices={"a": {}})
    assert only(problem).memory_bytes == (8.0 + 8.0 + 3.0,)


def test_two_ends_that_pay_for_all_of_a_transfer_leave_nothing_to_the_network() -> None:
    rng = random.Random(0)
    for _ in range(200):
        sent, received = rng.random(), rng.random()
        fractions = {"sender_fraction": sent / (sent + received), "receiver_fraction": received / (sent + received)}
        problem = problem_of(
            op("in", option("a", mode="io")),
            op("one", option("b", 1.0, 10.0)),
            tensors=(tensor("in", "one", size=rng.randint(1, 10**6)),),
            devices={"a": {}, "b": {}},
            links=(link("a", "b", **fractions),),
        )
        charges = only(problem).flows[0].charges
        assert [(c.kind, c.device) for c in charges] == [("compute", 1), ("transfer", 0), ("transfer", 1)]
