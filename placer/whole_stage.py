"""A stage that keeps its results, as a problem has it: a look for a kept one, then all of the stage, on one device.

Its inputs, what is kept and its outputs are then together, so that what is found is as good as executed. The look comes
as often as data do, all of the stage only for what is not found: (1 - hits) times that.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from placer.costs import Cost, CostTable
from placer.errors import ProblemError
from placer.models.flow_graph import lookup_op, whole_op
from placer.problem import Op, Option, Tensor
from profiles import compute_j, weakest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from placer.models import graph as model
    from placer.models.flow_graph import FlowGraph
    from profiles import Device


def lookup_table(graph: FlowGraph, stage: str, table: CostTable, devices: Sequence[Device]) -> CostTable:
    """Give the costs of looking for a kept result: the bytes of what the stage reads over the device's rate.

    Parameters
    ----------
    graph, stage
        The flow's stages, joined, and the one with a cache.
    table
        The costs of its model: a look goes before an execution, in the same mode.
    devices
        The site's.

    Raises
    ------
    ProblemError
        A device that can run the stage has no such rate; the message names the field.
    """
    op = lookup_op(stage)
    size_bytes = sum(graph.tensors[name].bytes for name in stage_inputs(graph, stage))
    rows = {}
    for device in devices:
        modes = {mode for _, name, mode in table.rows if name == device.name}
        if not modes:
            continue
        rate = device.lookup_bytes_per_s
        if rate is None:
            raise ProblemError(
                f"device {device.name!r} has no lookup_bytes_per_s, so what looking for a kept result costs there is "
                "not known: give `lookup_bytes_per_s: NUMBER` of the device in the site's file, or a profile by "
                "`placer profile`, which measures it"
            )
        for mode in (m for m in device.modes if m.name in modes):
            seconds = size_bytes / rate.value
            rows[op, device.name, mode.name] = Cost(
                seconds=seconds,
                joules=compute_j(device, mode, seconds),
                origin=weakest(rate.origin, mode.active_w.origin, device.idle_w.origin),
                source=", ".join(dict.fromkeys((rate.source, mode.active_w.source, device.idle_w.source))),
                relative_uncertainty=None,
            )
    return CostTable(rows=rows)


def stage_inputs(graph: FlowGraph, stage: str) -> list[str]:
    """Name the tensors of a flow that a stage reads and does not make."""
    ops = _ops(graph, stage)
    made = {name for op in ops for name in op.outputs}
    return list(dict.fromkeys(name for op in ops for name in op.inputs if name not in made))


def readers(graph: FlowGraph, tensor: str) -> list[str]:
    """Name the ops of a problem that read a tensor: of a stage with a cache, the two that stand for it."""
    producer = graph.producer(tensor)
    maker = None if producer is None or producer.name in graph.conditions else graph.stage_of[producer.name]
    found: list[str] = []
    for op in graph.consumers(tensor):
        stage = graph.stage_of[op.name]
        if stage not in graph.caches or op.name in graph.conditions:
            found.append(op.name)
        elif stage != maker:
            found += [lookup_op(stage), whole_op(stage)]
    return list(dict.fromkeys(found))


def stage_ops(
    graph: FlowGraph, stage: str, table: CostTable, lookups: CostTable, barred: Collection[str],
    mode_name: Callable[[str], str],
) -> tuple[Op, Op]:  # fmt: skip
    """Give the two ops that stand for a stage with a cache.

    Parameters
    ----------
    graph, stage
        The flow's stages, joined, and the one with a cache.
    table, lookups
        The costs of its model, and of looking for a kept result.
    barred
        Devices that must not hold its weights.
    mode_name
        Names a mode of the stage as the problem does.
    """
    ops = _ops(graph, stage)
    names = [graph.op_in_model(op.name) for op in ops]
    weights = {op.weights_id: op.weights_bytes for op in ops if op.weights_bytes > 0}
    look, run = [], []
    for (_, device, mode), cost in lookups.rows.items():
        costs = [table.rows.get((name, device, mode)) for name in names]
        known = [c for c in costs if c is not None]
        if len(known) == len(costs) and not (weights and device in barred):
            name = mode_name(mode)
            look.append(Option(device=device, mode=name, seconds=cost.seconds, joules=cost.joules))
            seconds, joules = sum(c.seconds for c in known), sum(c.joules for c in known)
            run.append(Option(device=device, mode=name, seconds=seconds, joules=joules))
    lookup, whole = lookup_op(stage), whole_op(stage)
    size_bytes = sum(graph.tensors[name].bytes for name in stage_inputs(graph, stage))
    return (
        # What is kept counts against the device's memory as weights do, for each flow its own.
        Op(
            name=lookup,
            options=tuple(look),
            weights_bytes=graph.caches[stage].memory_bytes,
            workspace_bytes=size_bytes,
            share=graph.share[lookup],
        ),
        Op(
            name=whole,
            options=tuple(run),
            weights_bytes=sum(weights.values()),
            weights_id=hashlib.sha256(repr(sorted(weights)).encode()).hexdigest() if weights else None,
            workspace_bytes=max(op.workspace_bytes for op in ops),
            share=graph.share[whole],
        ),
    )


def after_lookup(stage: str) -> Tensor:
    """Give the tensor of no bytes by which all of a stage comes after the look for its result."""
    return Tensor(name=f"miss {lookup_op(stage)}", bytes=0.0, producer=lookup_op(stage), consumers=(whole_op(stage),))


def stands_for(graph: FlowGraph) -> Mapping[str, str]:
    """Give the stage by each op of the graph that a problem has not, since `whole_op` of its stage stands for it."""
    return {
        op.name: graph.stage_of[op.name]
        for op in graph.ops
        if graph.stage_of[op.name] in graph.caches and op.name not in graph.conditions
    }


def _ops(graph: FlowGraph, stage: str) -> list[model.Op]:
    return [op for op in graph.ops if graph.stage_of[op.name] == stage and op.name not in graph.conditions]
