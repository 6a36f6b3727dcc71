"""Turns a site, its models and their costs into the numbers of a problem, and keeps what those numbers mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from placer import rules
from placer.build_machines import build_device, build_link, check_boundaries, gap_s, problem_mode
from placer.counted import counted, device_figures, link_figures
from placer.ends import sink_ops, source_ops
from placer.errors import below
from placer.models.flow_graph import lookup_op, whole_op
from placer.origins import joule_origins
from placer.privacy import apply_rules
from placer.problem import Flow, Limits, Op, Option, Problem, Tensor
from placer.whole_stage import after_lookup, lookup_table, readers, stage_ops, stands_for

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import profiles
    from placer.costs import CostTable
    from placer.models.flow_graph import Condition, FlowGraph
    from placer.privacy import Privacy
    from placer.problem import Objective
    from profiles import Site

CONDITION_MODE = "condition"
"""Mode of a condition on a device that cannot run the stage whose output it looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A problem and what a reader needs to understand a plan for it.

    Parameters
    ----------
    problem
        What the solver sees.
    meanings
        Rule names of `placer.rules` to the site's own words for them.
    pue
        Power usage effectiveness by device, where above 1; it is inside the problem's joules.
    origins
        Where joules come from: by ("compute", "segment", "wait" or "transfer", device or link name).
    privacy
        Labels and barred devices by flow, for reports and independent checks.
    threads
        Of an execution by device and mode, where the mode's figures are of so many.
    """

    problem: Problem
    meanings: Mapping[str, str]
    pue: Mapping[str, float]
    origins: Mapping[tuple[str, str], str]
    privacy: Mapping[str, Privacy]
    threads: Mapping[str, Mapping[str, int]]


def build(
    site: Site,
    graphs: Mapping[str, FlowGraph],
    costs: Mapping[str, Mapping[str, CostTable]],
    also: Collection[Objective] = (),
) -> Built:
    """Make the problem of a site.

    Parameters
    ----------
    site
        Devices, links, flows and rules.
    graphs
        Each flow's stages, joined.
    costs
        The costs of each stage's model, by flow and stage.
    also
        Objectives that the problem is to have the figures for, beside those that the site itself asks for.

    Raises
    ------
    ProblemError
        A figure of energy, carbon or cost is missing, or figures of different power boundaries would be added; the
        message names the device or link.
    """
    check_boundaries(site)
    flows, meanings, privacy, tables = [], {}, {}, {}
    for flow in site.flows:
        graph = graphs[flow.name]
        with below(site.field_of(flow), "."):
            privacy[flow.name] = apply_rules(site, flow, graph)
        tables[flow.name] = {**costs[flow.name], **_lookups(site, flow, graph, costs[flow.name])}
        flows.append(_flow(site, flow, graph, tables[flow.name], privacy[flow.name]))
        for stage in graph.caches:
            group = (lookup_op(stage), whole_op(stage))
            meanings[rules.colocated(flow.name, group)] = (
                f"cache of stage {stage!r} in flow {flow.name!r}: it runs where its results are kept"
            )
        if flow.deadline_s is not None:
            meanings[rules.deadline_after_pauses(flow.name)] = f"{rules.deadline(flow.name)} after pauses"
        for device, words in privacy[flow.name].reasons.items():
            meanings[rules.kept_off(flow.name, device)] = (
                f"privacy of flow {flow.name!r} on {device!r}: {'; '.join(words)}"
            )
    totals = counted(site, also)
    devices = [
        msgspec.structs.replace(build_device(site, d, graphs, costs), **device_figures(site, d, totals))
        for d in site.devices
    ]
    links = []
    for link in site.links:
        made = build_link(site, link, gap_s(site, link))
        links.append(msgspec.structs.replace(made, **link_figures(site, link, made, totals)))
    return Built(
        problem=Problem(
            objective=site.objective,
            devices=tuple(devices),
            links=tuple(links),
            flows=tuple(flows),
            limits=_limits(site.limits),
        ),
        meanings=meanings,
        pue={d.name: d.pue for d in site.devices if d.pue > 1},
        origins=joule_origins(site, tables),
        privacy=privacy,
        threads={
            device.name: counts
            for device in site.devices
            if (counts := {mode.name: mode.threads for mode in device.modes if mode.threads is not None})
        },
    )


def _limits(limits: profiles.Limits) -> Limits:
    return Limits(
        power_w=dict(limits.power_w),
        flow_energy_j=dict(limits.flow_energy_j),
        energy_w=limits.energy_w,
        carbon_g_per_s=limits.carbon_g_per_s,
        cost_per_s=limits.cost_per_s,
    )


def _flow(site: Site, flow: profiles.Flow, graph: FlowGraph, tables: Mapping[str, CostTable], privacy: Privacy) -> Flow:
    stood_for = stands_for(graph)
    options = {
        **_model_options(graph, tables, privacy, stood_for),
        **{name: _condition_options(site, graph, tables, c) for name, c in graph.conditions.items()},
    }
    with below(site.field_of(flow), "."):
        (sources, ops), (sinks, last) = source_ops(flow, graph), sink_ops(flow, graph)
    for stage in graph.caches:
        barred = privacy.weights_barred.get(stage, ())
        table, lookups = tables[stage], tables[lookup_op(stage)]
        ops += stage_ops(graph, stage, table, lookups, barred, partial(problem_mode, graph, stage))
    for op in graph.ops:
        if op.name in stood_for:
            continue
        ops.append(
            Op(
                name=op.name,
                options=tuple(options[op.name]),
                weights_bytes=op.weights_bytes,
                weights_id=op.weights_id if op.weights_bytes > 0 else None,
                workspace_bytes=op.workspace_bytes,
                share=graph.share[op.name],
            )
        )
    ops += last
    tensors = [after_lookup(stage) for stage in graph.caches]
    for name, tensor in graph.tensors.items():
        producer = graph.producer(name)
        made_by = sources[name] if producer is None else producer.name
        consumers = readers(graph, name) + ([sinks[name]] if name in sinks else [])
        if made_by in stood_for:
            # What is made inside and stays there is no more sensitive than what is read, or than the weights.
            if not consumers:
                continue
            made_by = whole_op(stood_for[made_by])
        # Also what nobody reads: who makes it, or brings it in, holds it.
        tensors.append(
            Tensor(
                name=name,
                bytes=tensor.bytes,
                producer=made_by,
                consumers=tuple(consumers),
                not_on=privacy.barred[name],
            )
        )
    return Flow(
        name=flow.name,
        rate_hz=flow.rate_hz,
        deadline_s=flow.deadline_s,
        ops=tuple(ops),
        tensors=tuple(tensors),
        colocate=tuple((lookup_op(stage), whole_op(stage)) for stage in graph.caches),
    )


def _lookups(
    site: Site, flow: profiles.Flow, graph: FlowGraph, tables: Mapping[str, CostTable]
) -> dict[str, CostTable]:  # fmt: skip
    """Give the costs of looking for kept results, by the op that does."""
    found = {}
    for index, stage in enumerate(flow.stages):
        if stage.cache is not None:
            with below(f"{site.field_of(flow)}.stages[{index}].cache"):
                found[lookup_op(stage.name)] = lookup_table(graph, stage.name, tables[stage.name], site.devices)
    return found


def _model_options(
    graph: FlowGraph, tables: Mapping[str, CostTable], privacy: Privacy, stood_for: Collection[str]
) -> dict[str, list[Option]]:
    weights = {op.name: op.weights_bytes > 0 for op in graph.ops if op.name not in stood_for}
    options: dict[str, list[Option]] = {name: [] for name in weights if name not in graph.conditions}
    for stage, table in tables.items():
        if stage not in graph.stages or stage in graph.caches:
            continue
        barred = privacy.weights_barred.get(stage, ())
        for (op, device, mode), cost in table.rows.items():
            name = f"{stage}/{op}"
            if not (weights[name] and device in barred):
                options[name].append(
                    Option(
                        device=device, mode=problem_mode(graph, stage, mode), seconds=cost.seconds, joules=cost.joules
                    )
                )
    return options


def _condition_options(
    site: Site, graph: FlowGraph, tables: Mapping[str, CostTable], condition: Condition
) -> list[Option]:
    """Let a condition be looked at anywhere: within a segment of the stage it tests, or by itself.

    Looking at one number takes no time or joules to speak of. By itself it is charged as a segment that starts.
    """
    options = []
    for device in site.devices:
        rows = tables[condition.tested].rows
        modes = dict.fromkeys(mode for _, name, mode in rows if name == device.name)
        names = [problem_mode(graph, condition.tested, mode) for mode in modes] or [CONDITION_MODE]
        options += [Option(device=device.name, mode=name, seconds=0.0, joules=0.0) for name in names]
    return options
