"""Turns a plan into what its devices need: the model cut into segments, and an assignment for each device."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from placer.deployment.agent_energy import agent_energy
from placer.deployment.deployment import Deployment
from placer.deployment.messages import released_by
from placer.ends import SINK, SOURCE, sink_devices, source_devices
from placer.errors import ProblemError, below
from placer.models.cut import cut
from placer.models.flow_graph import whole_op
from placer.planning import read_flow
from profiles import Flow, Stage
from runtimes.assignment import Assignment
from runtimes.datatypes import datatype_of
from runtimes.specs import ConditionSpec, FlowSpec, Route, SegmentSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.deployment.agent_energy import FlowEnergy
    from placer.models.cut import Part
    from placer.models.flow_graph import Condition, FlowGraph
    from placer.models.graph import Tensor
    from placer.plan import FlowPlan, Plan, Segment

_MESSAGE_MARGIN_BYTES = 1 << 20
"""Room for names, shapes and parameters beside a message's tensors."""


def load_models(plan: Plan) -> dict[str, FlowGraph]:
    """Read the models of a plan again and check that they are the files it was made for.

    Returns
    -------
    dict
        Each flow's stages, joined, by flow.

    Raises
    ------
    ProblemError
        The plan has no models, or a file is missing or has changed.
    """
    if not plan.models:
        raise ProblemError("the plan was made from a bare problem and names no model files, so it cannot be deployed")
    return {flow: _load(plan, flow) for flow in dict.fromkeys(model.flow for model in plan.models)}


def assign(plan: Plan, graphs: Mapping[str, FlowGraph], *, epoch: int = 1, threads: int = 1) -> Deployment:
    """Cut the models of a plan and write each device's assignment.

    Parameters
    ----------
    plan
        A plan with models.
    graphs
        Each flow's stages, joined: from `load_models` or from planning.
    epoch
        The plan's turn on the site: above that of every plan deployed there before.
    threads
        Threads of each segment's session, where the plan does not say them.

    Raises
    ------
    ProblemError
        A model does not fit the plan, or a flow's are not given.
    """
    segments: defaultdict[str, list[SegmentSpec]] = defaultdict(list)
    conditions: defaultdict[str, list[ConditionSpec]] = defaultdict(list)
    routes: defaultdict[str, list[Route]] = defaultdict(list)
    flows: defaultdict[str, list[FlowSpec]] = defaultdict(list)
    blobs: dict[str, bytes] = {}
    largest_bytes = 0
    if absent := [flow.name for flow in plan.flows if flow.name not in graphs]:
        raise ProblemError(f"graphs: none of flow {', '.join(map(repr, absent))}; give those of `load_models(plan)`")
    energies = agent_energy(plan)
    for flow in plan.flows:
        graph, energy = graphs[flow.name], energies[flow.name]
        power_w = dict(zip((s.name for s in flow.segments), energy.power_w, strict=True))
        for segment, stage, part in _parts(flow, graph):
            blobs[part.sha256] = part.blob
            segments[segment.device].append(
                SegmentSpec(
                    name=segment.name,
                    flow=flow.name,
                    runtime=graph.stages[stage].format,  # type: ignore[arg-type]
                    blob=part.sha256,
                    blob_bytes=len(part.blob),
                    inputs=_specs(graph, part.inputs, stage),
                    outputs=_specs(graph, part.outputs, stage),
                    threads=_threads(plan, segment, threads),
                    power_w=power_w[segment.name],
                    every=graph.every[stage],
                    cache_bytes=int(graph.caches[stage].memory_bytes) if stage in graph.caches else None,
                )
            )
            largest_bytes = max(largest_bytes, _size(part.inputs), _size(part.outputs))
        for condition in graph.conditions.values():
            conditions[flow.assignment[condition.name][0]].append(_condition_spec(flow, graph, condition))
        spec = _flow_spec(plan, flow, graph, energy)
        for device in spec.devices:
            flows[device].append(spec)
        for sender, route, size in _routes(plan, flow, graph, energy):
            routes[sender].append(route)
            largest_bytes = max(largest_bytes, size)
        largest_bytes = max(largest_bytes, _size(graph.inputs), _size(graph.outputs))
    devices = [d.name for d in plan.problem.devices if d.name in flows]
    return Deployment(
        plan=plan.identity,
        epoch=epoch,
        assignments={
            device: Assignment(
                plan=plan.identity,
                epoch=epoch,
                device=device,
                flows=tuple(flows[device]),
                segments=tuple(segments[device]),
                conditions=tuple(conditions[device]),
                routes=tuple(routes[device]),
                peers={},
                max_message_bytes=largest_bytes + _MESSAGE_MARGIN_BYTES,
            )
            for device in devices
        },
        blobs=blobs,
    )


def _threads(plan: Plan, segment: Segment, otherwise: int) -> int:
    """Give the threads that a segment's mode was measured with; modes name the stage too where a flow has several."""
    known = plan.threads.get(segment.device, {})
    return next(
        (n for mode, n in known.items() if segment.mode == mode or segment.mode.startswith(f"{mode} (")), otherwise
    )


def _load(plan: Plan, flow: str) -> FlowGraph:
    models = [model for model in plan.models if model.flow == flow]
    stages = tuple(
        Stage(name=m.stage, model=m.path, inputs=m.inputs, reads=m.reads, when=m.when, every=m.every, cache=m.cache)
        for m in models
    )
    wanted = plan.flow(flow)
    written = Flow(
        name=flow,
        source=wanted.assignment[SOURCE][0],
        sink=wanted.assignment[SINK][0],
        # Reading the models asks for none, and a plan of a bare problem may have none.
        rate_hz=wanted.rate_hz or 1.0,
        label="",
        stages=stages,
        outputs=tuple(f"{m.stage}/{output}" for m in models for output in m.outputs),
    )
    with below(f"flow {flow!r}"):
        graph = read_flow(written, Path())
    for model in models:
        found = graph.stages[model.stage]
        if found.sha256 != model.sha256:
            raise ProblemError(
                f"{model.path}: has changed since the plan was made (sha256 {found.sha256[:12]}..., the plan has "
                f"{model.sha256[:12]}...); run `placer plan` again"
            )
    return graph


def _parts(flow: FlowPlan, graph: FlowGraph) -> list[tuple[Segment, str, Part]]:
    """Cut each stage's model into its segments, in the plan's order.

    A segment of conditions alone has no part, nor one that only looks for kept results: who has the stage does that.
    """
    found: dict[str, tuple[str, Part]] = {}
    for stage, model in graph.stages.items():
        held: dict[str, list[str]] = {}
        for segment in flow.segments:
            for op in segment.ops:
                if stage in graph.caches:
                    if op == whole_op(stage):
                        held[segment.name] = [op.name for op in model.ops]
                elif graph.stage_of[op] == stage and op not in graph.conditions:
                    held.setdefault(segment.name, []).append(graph.op_in_model(op))
        parts = cut(model, list(held.values()))
        found.update((name, (stage, part)) for name, part in zip(held, parts, strict=True))
    return [(segment, *found[segment.name]) for segment in flow.segments if segment.name in found]


def _specs(graph: FlowGraph, tensors: Sequence[Tensor], stage: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=graph.wire_name(graph.tensor_of(stage, t.name)), port=t.name, dtype=_datatype(t), shape=t.shape)
        for t in tensors
    )


def _flow_specs(graph: FlowGraph, tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    names = [graph.wire_name(t.name) for t in tensors]
    return tuple(
        TensorSpec(name=name, port=name, dtype=_datatype(t), shape=t.shape)
        for name, t in zip(names, tensors, strict=True)
    )


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(t.bytes for t in tensors)


def _datatype(tensor: Tensor) -> str:
    if tensor.dtype == "bfloat16":
        return "BF16"
    name = datatype_of(np.dtype(tensor.dtype))
    if name is None:
        raise ProblemError(f"tensor {tensor.name!r} is of type {tensor.dtype}, which the protocol cannot carry")
    return name


def _condition_spec(flow: FlowPlan, graph: FlowGraph, condition: Condition) -> ConditionSpec:
    tests, carries, makes = (
        _flow_specs(graph, [graph.tensors[name]])[0] for name in (condition.tests, condition.carries, condition.makes)
    )
    return ConditionSpec(
        name=condition.name,
        flow=flow.name,
        tests=tests,
        element=condition.when.element or 0,
        at_least=condition.when.at_least,
        at_most=condition.when.at_most,
        carries=carries,
        makes=makes,
        every=graph.every[graph.stage_of[condition.name]],
    )


def _flow_spec(plan: Plan, flow: FlowPlan, graph: FlowGraph, energy: FlowEnergy) -> FlowSpec:
    source, sink = flow.assignment[SOURCE][0], flow.assignment[SINK][0]
    (problem_flow,) = (f for f in plan.problem.flows if f.name == flow.name)
    begins, ends = source_devices(flow, problem_flow), sink_devices(flow, problem_flow)
    sources = {graph.wire_name(t.name): begins[t.name] for t in graph.inputs if begins[t.name] != source}
    sinks = {graph.wire_name(t.name): ends[t.name] for t in graph.outputs if ends[t.name] != sink}
    return FlowSpec(
        name=flow.name,
        source=source,
        sink=sink,
        devices=tuple(
            dict.fromkeys([source, *sources.values(), *(s.device for s in flow.segments), *sinks.values(), sink])
        ),
        hops=tuple(dict.fromkeys((t.source, t.target) for t in flow.transfers)),
        inputs=_flow_specs(graph, graph.inputs),
        outputs=_flow_specs(graph, graph.outputs),
        sources=sources,
        sinks=sinks,
        # The plan's deadline is a promise of the profiles' hardware; how long a client waits is the client's.
        deadline_s=None,
        wait_w=energy.wait_w,
        energy_slo_j=energy.slo_j,
    )


def _routes(plan: Plan, flow: FlowPlan, graph: FlowGraph, energy: FlowEnergy) -> list[tuple[str, Route, int]]:
    """One message per producing segment and receiving device, with all the tensors that go there, and its bytes."""
    after = released_by(plan, flow.name)
    (problem_flow,) = (f for f in plan.problem.flows if f.name == flow.name)
    readers = {t.name: t.consumers for t in problem_flow.tensors}
    grouped: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    joules: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for transfer, transfer_j in zip(flow.transfers, energy.transfer_j, strict=True):
        key = (transfer.source, after[transfer.tensor], transfer.target)
        grouped[key].append(transfer.tensor)
        joules[key] += transfer_j
    at = {op: device for op, (device, _) in flow.assignment.items()}
    found = []
    for key, tensors in grouped.items():
        sender, segment, target = key
        names = tuple(graph.wire_name(t) for t in tensors)
        # Once in so many requests, as the one there that takes it most often does; a sink takes what there is.
        wanted = [
            min(graph.every[graph.stage_of[c]] if c in graph.stage_of else 1 for c in readers[t] if at[c] == target)
            for t in tensors
        ]
        route = Route(
            flow=flow.name, after=segment, to=target, tensors=names, energy_j=joules[key],
            every={name: every for name, every in zip(names, wanted, strict=True) if every > 1},
        )  # fmt: skip
        found.append((sender, route, _size([graph.tensors[t] for t in tensors])))
    return found
