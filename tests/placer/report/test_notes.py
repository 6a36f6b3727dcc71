"""Notes say each thing once, for all the devices and flows that it is true of."""

from __future__ import annotations

import msgspec
import pytest

from placer.demo import plan_demo
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.report.notes import latencies_after_pauses_s, notes
from placer.report.tables import amount
from placer.solver.solve import solve
from placer.transfer_time import CALL_S
from profiles.op_costs import ANY_KIND, KindCost, ModelCost, OpCosts

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
    assert "Give `segment_s` of the mode" in note
    (note,) = told("gpu", "box", "camera")
    assert "on 'camera' and 'box', so it counts as nothing" in note


@pytest.fixture(scope="module")
def profiled(planned):
    """Return a function that gives notes of the demo's plan on a site whose every device was profiled so."""
    (model,) = planned.plan.models

    def told(*, suffix="", knows=False, costs="profile", **errors):
        known = OpCosts(
            source="a test", s_per_boundary_byte=0.0,
            models=(ModelCost(name="m", sha256=model.sha256, inputs={}, seconds={}, relative_error=0.9),) * knows,
            kinds=(KindCost(kind=ANY_KIND, base_s=0.0, s_per_mac=1e-9, s_per_byte=0.0),), **errors,
        )  # fmt: skip
        devices = tuple(
            replace(d, costs=costs, modes=tuple(replace(mode, op_costs=known) for mode in d.modes))
            for d in planned.site.devices
        )
        flows = tuple(
            replace(f, segments=tuple(replace(s, mode=s.mode + suffix) for s in f.segments)) for f in planned.plan.flows
        )
        return [
            n for n in notes(replace(planned.plan, flows=flows), replace(planned.site, devices=devices)) if "%" in n
        ]

    return told


def test_a_profile_that_calls_itself_far_off_is_told_of_devices_in_use(profiled, planned):
    used = " and ".join(repr(d.name) for d in planned.site.devices if d.name in planned.plan.flows[0].devices)
    for suffix in ("", f" ({planned.plan.models[0].stage})"):
        (note,) = profiled(unseen_relative_error=0.83, suffix=suffix)
        assert f"on {used} misses models that it was not made with by 83% on average" in note
    assert not profiled(unseen_relative_error=0.25)
    assert not profiled()
    assert not profiled(unseen_relative_error=0.83, knows=True)
    assert not profiled(unseen_relative_error=0.83, costs="measured")


def test_seconds_of_another_device_are_told_with_the_error_of_their_level(profiled):
    (note,) = profiled(unseen_relative_error=0.1, scale_relative_error=0.27)
    assert "are those of another device's ops, at a level of its own (`seconds_like`), which is off by 27%" in note
    assert len(profiled(unseen_relative_error=0.83, scale_relative_error=0.27)) == 2
    assert len(profiled(unseen_relative_error=0.83, scale_relative_error=0.27, knows=True)) == 1


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


def test_a_deadline_that_leaves_the_processes_no_time_is_told(planned):
    def told(left_s):
        plan = planned.plan
        (flow,) = plan.flows
        deadline_s = latencies_after_pauses_s(plan)[flow.name] + left_s
        return [n for n in notes(replace(plan, flows=(replace(flow, deadline_s=deadline_s),))) if "may be late" in n]

    in_a_row = len(planned.plan.flows[0].transfers)
    assert in_a_row > 1
    assert not told(in_a_row * CALL_S + 1e-6)
    (note,) = told(in_a_row * CALL_S - 1e-6)
    assert f"its {in_a_row} messages, one after the other" in note
