"""Plans of flows of stages are optimal by trying every choice, and let no device hold what it must not see.

The checker of privacy reads the rules stage by stage and knows neither solver, privacy module nor joined graph: what a
stage on a condition reads is as sensitive as that and as the number that lets it come.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.build import Built, build
from placer.errors import Infeasible, ProblemError
from placer.models.flow_graph import lookup_op, whole_op
from placer.models.join_stages import join_stages
from placer.solver.solve import solve
from profiles import stage_order
from tests.oracles.brute_force import all_evaluations
from tests.properties.random_stages import random_stages
from tests.properties.test_privacy import may_see

if TYPE_CHECKING:
    from placer.models.graph import ModelGraph
    from placer.plan import Plan
    from placer.problem import Problem
    from profiles import Site


def built_of(seed: int) -> tuple[Site, dict[str, ModelGraph], Built]:
    site, models, graph, costs = random_stages(random.Random(seed))
    return site, models, build(site, {"flow": graph}, {"flow": costs})


def sensitivity(site: Site, models: dict[str, ModelGraph]) -> dict[str, int]:
    """How sensitive each tensor is, as a number; by the names that the plan has for them."""
    (flow,) = site.flows
    order = {name: i for i, name in enumerate(site.labels.names)}
    level = {name: order[flow.labels.get(name, flow.label)] for name in ("frame", "sound")}
    for stage in stage_order(flow.stages):
        lowered = {rule.tensor: order[rule.to] for rule in stage.declassify}
        seldom = level[stage.when.tensor] if stage.when else 0
        inside = {name: max(level[origin], seldom) for name, origin in stage.reads.items()}
        for op in models[stage.name].ops:
            weights = stage.weights_label if op.weights_bytes else None
            most = max([inside[name] for name in op.inputs], default=order[weights] if weights else 0)
            inside |= {name: lowered.get(name, most) for name in op.outputs}
        level |= {f"{stage.name}/{name}": value for name, value in inside.items()}
    return level


def offences(site: Site, models: dict[str, ModelGraph], plan: Plan) -> list[tuple[str, str]]:
    """Who holds what it must not: pairs of a device and what is there."""
    (flow,) = site.flows
    order = {name: i for i, name in enumerate(site.labels.names)}
    at = {op: device for op, (device, _) in plan.flow("flow").assignment.items()}
    holders: dict[str, set[str]] = {name: {flow.sources.get(name, flow.source)} for name in ("frame", "sound")}
    found = []
    taken = {origin for stage in flow.stages for origin in stage.origins}
    # Of a stage with a cache the plan does not name the ops, some of which may be left out.
    executed = {name: {op.name for op in model.ops} for name, model in join_stages(flow, models).stages.items()}
    for stage in stage_order(flow.stages):
        hold: dict[str, set[str]] = {}
        if stage.cache is not None:
            assert at[lookup_op(stage.name)] == at[whole_op(stage.name)]
        for name, origin in stage.reads.items():
            # What nothing depends on is neither computed nor sent.
            hold[name] = holders.get(origin, set())
            if stage.when is not None and f"when {stage.name}/{name}" in at:
                decides = at[f"when {stage.name}/{name}"]
                holders[origin].add(decides)
                holders[stage.when.tensor].add(decides)
                hold[name] = {decides}
        for op in models[stage.name].ops:
            if stage.cache is None and f"{stage.name}/{op.name}" not in at:
                continue
            if stage.cache is not None and op.name not in executed[stage.name]:
                continue
            device = at[whole_op(stage.name) if stage.cache else f"{stage.name}/{op.name}"]
            for name in op.inputs:
                hold[name].add(device)
            hold |= {name: {device} for name in op.outputs}
            if op.weights_bytes and stage.weights_label and not may_see(site, device, order[stage.weights_label]):
                found.append((device, f"weights of {stage.name}/{op.name}"))
        holders |= {f"{stage.name}/{name}": devices for name, devices in hold.items()}
        for tensor in models[stage.name].outputs:
            if f"{stage.name}/{tensor.name}" not in taken:
                hold[tensor.name].add(flow.sinks.get(f"{stage.name}/{tensor.name}", flow.sink))
    level = sensitivity(site, models)
    return found + [
        (device, tensor)
        for tensor, devices in holders.items()
        if tensor in level and (tensor not in ("frame", "sound") or tensor in taken)
        for device in sorted(devices)
        if not may_see(site, device, level[tensor])
    ]


def with_deadline(problem: Problem, rng: random.Random) -> Problem:
    """Take a deadline from what random choices reach, so that it bites; or none."""
    (flow,) = problem.flows
    if rng.random() < 0.3:
        return problem
    latencies = sorted({e.flows[0].latency_s for _, e in all_evaluations(problem)})
    deadline_s = latencies[min(len(latencies) - 1, rng.choice([0, 1, 3, len(latencies) // 2]))]
    return msgspec.structs.replace(problem, flows=(msgspec.structs.replace(flow, deadline_s=deadline_s),))


def small(problem: Problem, limit: int) -> bool:
    count = 1
    for op in problem.flows[0].ops:
        count *= len(op.options)
    return 0 < count <= limit


def check(seed: int, limit: int) -> str:
    """Check one draw; returns what it was worth."""
    try:
        site, models, built = built_of(seed)
    except ProblemError as error:
        if "can only lower" not in str(error):
            raise
        return "refused"
    if not small(built.problem, limit):
        return "large"
    problem = with_deadline(built.problem, random.Random(seed))
    feasible = [e.objective for _, e in all_evaluations(problem) if e.feasible]
    try:
        plan = solve(problem)
    except Infeasible:
        assert not feasible
        return "infeasible"
    assert plan.status == "optimal"
    assert plan.objective == pytest.approx(min(feasible), rel=2e-6)
    assert offences(site, models, plan) == []
    return "solved"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_each_tensor_is_kept_off_those_who_must_not_see_it(seed: int) -> None:
    try:
        site, models, built = built_of(seed)
    except ProblemError as error:
        assert "can only lower" in str(error)  # noqa: PT017
        return
    level = sensitivity(site, models)
    for made in built.problem.flows[0].tensors:
        if made.name.startswith("miss "):
            # What a look for a kept result says to the rest of the stage, beside it.
            assert (made.bytes, made.not_on) == (0, ())
            continue
        barred = {d.name for d in site.devices if not may_see(site, d.name, level[made.name])}
        assert set(made.not_on) == barred, made.name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_plans_of_stages_are_optimal_and_keep_privacy(seed: int) -> None:
    check(seed, 800)


def test_most_of_what_is_drawn_is_worth_checking() -> None:
    worth = [check(seed, 800) for seed in range(25)]
    assert worth.count("solved") >= 8, worth
    cached = [seed for seed in range(25) if worth[seed] == "solved" and built_of(seed)[2].problem.flows[0].colocate]
    assert len(cached) >= 3, worth
    (ends,) = zip(*[[built_of(seed)[0].flows[0]] for seed in range(40) if check(seed, 1) != "refused"], strict=True)
    assert min(sum(bool(getattr(f, field)) for f in ends) for field in ("sources", "labels", "sinks")) >= 5


@pytest.mark.long
@settings(max_examples=600, deadline=None)
@given(st.integers(0, 2**48))
def test_plans_of_stages_are_optimal_and_keep_privacy_at_length(seed: int) -> None:
    check(seed, 2000)
