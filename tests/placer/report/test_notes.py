"""Notes say each thing once, for all the devices and flows that it is true of."""

from __future__ import annotations

import msgspec
import pytest

from placer.demo import plan_demo
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.report.notes import notes
from placer.report.tables import amount
from placer.solver.solve import solve

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def planned():
    return plan_demo()


@pytest.fixture(scope="module")
def slow(planned):
    """The demo's plan with links between camera and box that hold much, and seconds between requests."""
    problem = planned.plan.problem
    links = tuple(
        replace(k, latency_s=0.03, bytes_per_s=12.5e6) if {k.source, k.target} == {"camera", "box"} else k
        for k in problem.links
    )
    flows = tuple(replace(f, rate_hz=0.5, deadline_s=0.4) for f in problem.flows)
    return solve(replace(problem, links=links, flows=flows))


def several(plan, *rates, deadline_s=None):
    """A plan with its flow once for each rate, as `look-0` and so on."""
    (flow,), (of_problem,) = plan.flows, plan.problem.flows
    made = [{"name": f"look-{i}", "rate_hz": rate, "deadline_s": deadline_s} for i, rate in enumerate(rates)]
    return replace(
        plan,
        flows=tuple(replace(flow, **changes) for changes in made),
        problem=replace(plan.problem, flows=tuple(replace(of_problem, **changes) for changes in made)),
    )


def about_tcp(plan):
    return [n for n in notes(plan) if "TCP" in n]


def test_a_start_that_is_not_known_is_told_of_devices_in_use_only(planned):
    def told(*unknown):
        devices = tuple(
            msgspec.structs.replace(d, segment_s=0.0 if d.name in unknown else 0.001)
            for d in planned.plan.problem.devices
        )
        problem = msgspec.structs.replace(planned.plan.problem, devices=devices)
        return [n for n in notes(msgspec.structs.replace(planned.plan, problem=problem)) if "as nothing" in n]

    assert not told("gpu")
    (note,) = told("gpu", "box")
    assert "on 'box', so it counts as nothing" in note
    (note,) = told("gpu", "box", "camera")
    assert "on 'camera' and 'box', so it counts as nothing" in note


def test_a_pause_is_told_once_with_its_figures(slow):
    (note,), (flow,) = about_tcp(slow), slow.flows
    index = ProblemIndex(slow.problem)
    (paused,) = evaluate(index, (index.choice_of(0, flow.assignment),), "paused").flows
    assert "at 0.5 a second TCP forgets" in note
    assert f"takes about {amount(paused.latency_s, 's')}, not {amount(flow.latency_s, 's')}." in note


def test_who_never_rests_is_not_told_of(slow):
    assert not about_tcp(several(slow, 50.0))


def test_flows_that_pause_alike_share_a_sentence(slow):
    (note,) = about_tcp(several(slow, *[0.5] * 30))
    assert "of flows 'look-0', 'look-1', 'look-2' and 27 more bear: each then takes about" in note
    (note,) = about_tcp(several(slow, 50.0, 1.0, 0.5))
    assert "at 0.5 to 1 a second" in note
    assert "of flows 'look-1' and 'look-2' bear: they then take longer, the most 'look-2': about" in note


def test_it_is_told_for_which_deadlines_plans_were_passed_over(slow):
    def told(**limits_s):
        plan = several(slow, 0.5, 0.5)
        limits = replace(
            plan.problem.limits, deadline_after_pauses_s={n.replace("_", "-"): s for n, s in limits_s.items()}
        )
        return [n for n in notes(replace(plan, problem=replace(plan.problem, limits=limits))) if "passed over" in n]

    assert not told()
    (note,) = told(look_1=0.4)
    assert "plans that keep the deadline of 400 ms of flow 'look-1' only without such pauses" in note
    (note,) = told(look_0=0.4, look_1=0.4)
    assert "the deadline of 400 ms of flows 'look-0' and 'look-1' only" in note
    (note,) = told(look_0=0.4, look_1=0.5)
    assert "keep the deadlines of flows 'look-0' and 'look-1' only" in note
