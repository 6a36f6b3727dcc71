"""Turns a plan into what its devices need: the model cut into segments, and an assignment for each device."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from placer.agent_energy import agent_energy
from placer.build import SINK, SOURCE
from placer.cut import cut
from placer.deployment import Deployment
from placer.errors import ProblemError
from placer.planning import read_model
from runtimes.assignment import Assignment, FlowSpec, Route, SegmentSpec, TensorSpec
from runtimes.datatypes import datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.agent_energy import FlowEnergy
    from placer.cut import Part
    from placer.graph import ModelGraph, Tensor
    from placer.plan import FlowPlan, Model, Plan

_MESSAGE_MARGIN_BYTES = 1 << 20
"""Room for names, shapes and parameters beside a message's tensors."""


def load_models(plan: Plan) -> dict[str, ModelGraph]:
    """Read the models of a plan again and check that they are the files it was made for.

    Raises
    ------
    ProblemError
        The plan has no models, or a file is missing or has changed.
    """
    if not plan.models:
        raise ProblemError("the plan was made from a bare problem and names no model files, so it cannot be deployed")
    graphs = {}
    for model in plan.models:
        graph = read_model(model.path, model.inputs)
        if graph.sha256 != model.sha256:
            raise ProblemError(
                f"{model.path}: has changed since the plan was made (sha256 {graph.sha256[:12]}..., the plan has "
                f"{model.sha256[:12]}...); run `placer plan` again"
            )
        graphs[model.flow] = graph
    return graphs


def assign(plan: Plan, graphs: Mapping[str, ModelGraph], *, epoch: int = 1, threads: int = 1) -> Deployment:
    """Cut the models of a plan and write each device's assignment.

    Parameters
    ----------
    plan
        A plan with models.
    graphs
        The model of each flow, from `load_models` or from planning.
    epoch
        The plan's turn on the site: above that of every plan deployed there before.
    threads
        Threads of each segment's session.

    Raises
    ------
    ProblemError
        A model does not fit the plan.
    """
    segments: defaultdict[str, list[SegmentSpec]] = defaultdict(list)
    routes: defaultdict[str, list[Route]] = defaultdict(list)
    flows: defaultdict[str, list[FlowSpec]] = defaultdict(list)
    blobs: dict[str, bytes] = {}
    largest_bytes = 0
    energies = agent_energy(plan)
    for model in plan.models:
        flow, graph, energy = plan.flow(model.flow), graphs[model.flow], energies[model.flow]
        parts = _parts(flow, model, graph)
        for segment, part, power_w in zip(flow.segments, parts, energy.power_w, strict=True):
            blobs[part.sha256] = part.blob
            segments[segment.device].append(
                SegmentSpec(
                    name=segment.name,
                    flow=flow.name,
                    runtime=graph.format,  # type: ignore[arg-type]
                    blob=part.sha256,
                    blob_bytes=len(part.blob),
                    inputs=_specs(part.inputs),
                    outputs=_specs(part.outputs),
                    threads=threads,
                    power_w=power_w,
                )
            )
        spec = _flow_spec(flow, graph, energy)
        for device in spec.devices:
            flows[device].append(spec)
        for sender, route in _routes(plan, flow, model, energy):
            routes[sender].append(route)
            largest_bytes = max(largest_bytes, sum(graph.tensors[name].bytes for name in route.tensors))
        for tensors in (graph.inputs, graph.outputs, *(p.inputs for p in parts), *(p.outputs for p in parts)):
            largest_bytes = max(largest_bytes, sum(t.bytes for t in tensors))
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
                routes=tuple(routes[device]),
                peers={},
                max_message_bytes=largest_bytes + _MESSAGE_MARGIN_BYTES,
            )
            for device in devices
        },
        blobs=blobs,
    )


def _parts(flow: FlowPlan, model: Model, graph: ModelGraph) -> Sequence[Part]:
    prefix = f"{model.stage}/"
    return cut(graph, [[op.removeprefix(prefix) for op in segment.ops] for segment in flow.segments])


def _specs(tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=t.name, port=t.name, dtype=_datatype(t), shape=t.shape) for t in tensors)


def _datatype(tensor: Tensor) -> str:
    if tensor.dtype == "bfloat16":
        return "BF16"
    name = datatype_of(np.dtype(tensor.dtype))
    if name is None:
        raise ProblemError(f"tensor {tensor.name!r} is of type {tensor.dtype}, which the protocol cannot carry")
    return name


def _flow_spec(flow: FlowPlan, graph: ModelGraph, energy: FlowEnergy) -> FlowSpec:
    source, sink = flow.assignment[SOURCE][0], flow.assignment[SINK][0]
    return FlowSpec(
        name=flow.name,
        source=source,
        sink=sink,
        devices=tuple(dict.fromkeys([source, *(s.device for s in flow.segments), sink])),
        inputs=_specs(graph.inputs),
        outputs=_specs(graph.outputs),
        # The plan's deadline is a promise of the profiles' hardware; how long a client waits is the client's.
        deadline_s=None,
        wait_w=energy.wait_w,
        energy_slo_j=energy.slo_j,
    )


def _routes(plan: Plan, flow: FlowPlan, model: Model, energy: FlowEnergy) -> list[tuple[str, Route]]:
    """One message per producing segment and receiving device, with all the tensors that go there."""
    prefix = f"{model.stage}/"
    segment_of = {op: s.name for s in flow.segments for op in s.ops}
    problem_flow = next(f for f in plan.problem.flows if f.name == flow.name)
    after = {t.name: "" if t.producer == SOURCE else segment_of[t.producer] for t in problem_flow.tensors}
    grouped: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    joules: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for transfer, transfer_j in zip(flow.transfers, energy.transfer_j, strict=True):
        key = (transfer.source, after[transfer.tensor], transfer.target)
        grouped[key].append(transfer.tensor.removeprefix(prefix))
        joules[key] += transfer_j
    return [
        (sender, Route(flow=flow.name, after=segment, to=target, tensors=tuple(tensors), energy_j=joules[key]))
        for key, tensors in grouped.items()
        for sender, segment, target in [key]
    ]
