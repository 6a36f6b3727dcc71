"""What agents count joules by adds up to what the referee charges, and reaches every device's assignment."""

from __future__ import annotations

from math import fsum

import msgspec
import pytest

from placer.demo import FLOW, plan_demo
from placer.deployment.agent_energy import agent_energy
from placer.deployment.assign import assign, load_models
from placer.errors import Infeasible
from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex
from placer.solver.solve import solve
from tests.oracles.random_problem import random_problem


@pytest.fixture(scope="module")
def plan():
    return plan_demo().plan


def recounted_j(plan, flow) -> float:
    """Joules of one inference, as agents would count them if every segment took its planned seconds."""
    energy, planned = agent_energy(plan)[flow], plan.flow(flow)
    work_j = fsum(w * s.seconds for w, s in zip(energy.power_w, planned.segments, strict=True))
    index = ProblemIndex(plan.problem)
    position = [f.name for f in index.flows].index(flow)
    waiting = index.flows[position].source_devices
    result = evaluate_flow(index, index.flows[position], index.choice_of(position, planned.assignment))
    at_source_s = fsum(s.seconds for s in result.layout.segments if s.device in waiting)
    return work_j + fsum(energy.transfer_j) + energy.wait_w * max(0.0, planned.latency_s - at_source_s)


def test_the_parts_add_up_to_the_flows_joules(plan):
    assert recounted_j(plan, FLOW) == pytest.approx(plan.flow(FLOW).energy_j, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_parts_add_up_on_random_problems(seed):
    problem = random_problem(seed)
    try:
        plan = solve(problem, time_limit_s=20)
    except Infeasible:
        pytest.skip("no plan within the rules")
    for flow in plan.flows:
        shares = {op.share for f in problem.flows if f.name == flow.name for op in f.ops}
        if shares == {1.0}:
            assert recounted_j(plan, flow.name) == pytest.approx(flow.energy_j, rel=1e-9, abs=1e-15)


def test_assignments_carry_it(plan):
    deployment = assign(plan, load_models(plan))
    energy = agent_energy(plan)[FLOW]
    segments = {s.name: s for share in deployment.assignments.values() for s in share.segments}
    assert tuple(segments[s.name].power_w for s in plan.flow(FLOW).segments) == energy.power_w
    routes = [r for share in deployment.assignments.values() for r in share.routes]
    assert fsum(r.energy_j for r in routes) == pytest.approx(fsum(energy.transfer_j))
    flow = deployment.flow(FLOW)
    assert (flow.wait_w, flow.energy_slo_j) == (energy.wait_w, plan.flow(FLOW).energy_j)


def test_a_limit_of_the_site_is_the_objective(plan):
    limits = msgspec.structs.replace(plan.problem.limits, flow_energy_j={FLOW: 1.5})
    capped = msgspec.structs.replace(plan, problem=msgspec.structs.replace(plan.problem, limits=limits))
    assert agent_energy(capped)[FLOW].slo_j == 1.5
