"""Notes say each thing once, for all the devices and flows that it is true of."""

from __future__ import annotations

import msgspec
import pytest

from placer.demo import plan_demo
from placer.pauses import pauses
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
    (note,), (found,) = about_tcp(slow), pauses(slow)
    assert "at 0.5 a second TCP forgets" in note
    assert f"takes about {amount(found.paused_s, 's')}, not {amount(found.planned_s, 's')}" in note


def test_who_never_rests_is_not_told_of(slow):
    assert not about_tcp(several(slow, 50.0))


def test_flows_that_pause_alike_share_a_sentence(slow):
    (note,) = about_tcp(several(slow, *[0.5] * 30))
    assert "of flows 'look-0', 'look-1', 'look-2' and 27 more bear: each then takes about" in note
    (note,) = about_tcp(several(slow, 50.0, 1.0, 0.5))
    assert "at 0.5 to 1 a second" in note
    assert "of flows 'look-1' and 'look-2' bear: they then take longer, the most 'look-2': about" in note


def test_flows_that_are_late_after_a_pause_are_told_apart(slow):
    (flow,) = slow.flows
    tight = several(slow, 0.5, 0.5, deadline_s=flow.latency_s + 0.01)
    both = replace(tight, flows=(tight.flows[0], replace(tight.flows[1], deadline_s=60.0)))
    in_time, late = about_tcp(both)
    assert "flow 'look-1' bear" in in_time
    assert "flow 'look-0' bear" in late
    assert late.endswith(f"beyond the deadline of {amount(flow.latency_s + 0.01, 's')}; emulate it.")
    assert "each then takes" in about_tcp(tight)[0]
