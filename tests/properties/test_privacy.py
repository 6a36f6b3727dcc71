"""No plan lets a device hold what it must not see, judged by a checker that knows neither solver nor privacy module.

The checker reads the rules as people state them: labels are ordered; what an op makes is as sensitive as the most
sensitive thing it read; a declassification lowers exactly the tensor it names; a device holds what it makes, reads,
brings in and hands out; its zone must see that label, and every region rule at or below it must name its region.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.build import build
from placer.errors import Infeasible, ProblemError
from placer.models.join_stages import join_stages
from placer.solver.solve import solve
from tests.properties.random_site import random_costs, random_graph, random_site

if TYPE_CHECKING:
    from placer.models.flow_graph import FlowGraph
    from placer.models.graph import ModelGraph
    from placer.plan import Plan
    from profiles import Site


def joined(site: Site, graph: ModelGraph) -> dict[str, FlowGraph]:
    """The only flow, with the only model."""
    return {"flow": join_stages(site.flows[0], {"stage": graph})}


def sensitivity(site: Site, graph: ModelGraph) -> dict[str, int]:
    """How sensitive each tensor is, as a number."""
    (flow,) = site.flows
    order = {name: i for i, name in enumerate(site.labels.names)}
    lowered = {rule.tensor: order[rule.to] for rule in flow.stages[0].declassify}
    level: dict[str, int] = {}
    for t in graph.inputs:
        level[t.name] = lowered.get(t.name, order[flow.label])
    for op in graph.ops:
        weights = flow.stages[0].weights_label if op.weights_bytes else None
        most = max([level[name] for name in op.inputs], default=order[weights] if weights else 0)
        for name in op.outputs:
            level[name] = lowered.get(name, most)
    return level


def may_see(site: Site, device: str, level: int) -> bool:
    """Whether a device may hold something of this sensitivity."""
    order = {name: i for i, name in enumerate(site.labels.names)}
    (zone,) = (z for z in site.zones if z.name == next(d.zone for d in site.devices if d.name == device))
    if order[zone.sees] < level:
        return False
    return all(zone.region in rule.regions for rule in site.region_rules if order[rule.label] <= level)


def offences(site: Site, graph: ModelGraph, where: dict[str, str]) -> list[str]:
    """Who holds what it must not, for a placement of the model's ops."""
    (flow,) = site.flows
    level = sensitivity(site, graph)
    weights = flow.stages[0].weights_label
    holders: dict[str, set[str]] = {name: set() for name in graph.tensors}
    for t in graph.inputs:
        holders[t.name].add(flow.source)
    for t in graph.outputs:
        holders[t.name].add(flow.sink)
    for op in graph.ops:
        for name in (*op.inputs, *op.outputs):
            holders[name].add(where[op.name])
    found = [f"{d} holds {t}" for t, ds in holders.items() for d in sorted(ds) if not may_see(site, d, level[t])]
    if weights is not None:
        secret = site.labels.names.index(weights)
        found += [
            f"{where[op.name]} holds the weights of {op.name}"
            for op in graph.ops
            if op.weights_bytes and not may_see(site, where[op.name], secret)
        ]
    return found


def some_placement_exists(site: Site, graph: ModelGraph) -> bool:
    """Whether any placement is without offence: all devices are linked, so each op can be asked alone."""
    names = [d.name for d in site.devices]
    for op in graph.ops:
        if not any(not _own_offences(site, graph, op.name, d) for d in names):
            return False
    return not _own_offences(site, graph, "", "")


def _own_offences(site: Site, graph: ModelGraph, op: str, device: str) -> list[str]:
    """Offences of one op on a device; of the source and the sink if there is no op."""
    (flow,) = site.flows
    level = sensitivity(site, graph)
    if not op:
        ends = [(flow.source, t.name) for t in graph.inputs]
        ends += [(flow.sink, t.name) for t in graph.outputs]
        return [t for d, t in ends if not may_see(site, d, level[t])]
    (node,) = (o for o in graph.ops if o.name == op)
    found = [t for t in (*node.inputs, *node.outputs) if not may_see(site, device, level[t])]
    weights = flow.stages[0].weights_label
    if weights and node.weights_bytes and not may_see(site, device, site.labels.names.index(weights)):
        found.append("weights")
    return found


def placement(plan: Plan) -> dict[str, str]:
    """Device by op of the model."""
    (flow,) = plan.flows
    return {op.split("/", 1)[1]: device for op, (device, _) in flow.assignment.items() if "/" in op}


@settings(max_examples=120)
@given(st.integers(0, 2**32))
def test_no_device_holds_what_it_must_not_see(seed: int) -> None:
    rng = random.Random(seed)
    graph = random_graph(rng, rng.randint(1, 7))
    site = random_site(rng, graph)
    refusal, built, plan = "", None, None
    try:
        built = build(site, joined(site, graph), {"flow": {"stage": random_costs(rng, graph, site)}})
        plan = solve(built.problem, built=built)
    except ProblemError as error:
        refusal = str(error)
    except Infeasible as error:
        refusal = "; ".join(error.conflict)
    if built is None:
        assert "can only lower" in refusal  # A rule that would raise a label is refused.
        return
    if plan is None:
        assert not some_placement_exists(site, graph)
        # Nothing but privacy stands in the way of these problems, and the refusal names the rule or the op.
        assert "privacy of flow" in refusal or "has no option" in refusal
        return
    assert offences(site, graph, placement(plan)) == []
    assert some_placement_exists(site, graph)


def test_most_of_the_drawn_sites_are_worth_checking() -> None:
    """A generator that never tempts the planner proves nothing: count plans that would be cheaper without rules."""
    tempted = 0
    for seed in range(60):
        rng = random.Random(seed)
        graph = random_graph(rng, 5)
        site = random_site(rng, graph)
        costs = {"stage": random_costs(rng, graph, site)}
        try:
            built = build(site, joined(site, graph), {"flow": costs})
            plan = solve(built.problem)
        except (ProblemError, Infeasible):
            continue
        table = costs["stage"]
        cheapest = {
            op.name: min(site.devices, key=lambda d, op=op: table.cost(op.name, d.name, "cpu-fp32").joules).name  # type: ignore[misc]
            for op in graph.ops
        }
        assert offences(site, graph, placement(plan)) == []
        tempted += bool(offences(site, graph, cheapest))
    assert tempted >= 10


@pytest.mark.long
@settings(max_examples=3000)
@given(st.integers(0, 2**48))
def test_no_device_holds_what_it_must_not_see_at_length(seed: int) -> None:
    test_no_device_holds_what_it_must_not_see.hypothesis.inner_test(seed)  # type: ignore[attr-defined]
