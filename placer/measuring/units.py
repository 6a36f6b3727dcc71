"""Divides a model into the units that are timed alone, and into the cuts that are timed to correct them.

A unit is what an executor runs as one: ops that it fuses belong together, and so do ops too small to be timed. Units
stand in an order in which any run of them is a segment, so a cut is a list of places between two units.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import networkx as nx

from placer.models.onnx_fusion import fused_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placer.models.graph import ModelGraph, Op, Tensor

Span: TypeAlias = tuple[int, int]
"""Units from the first to before the second."""

Partition: TypeAlias = tuple[Span, ...]
"""Spans that follow each other and together hold every unit: the segments of one cut."""

_UNITS_AT_MOST = 120
_WINDOW_UNITS = 30
_SEGMENTS_OF_A_CUT = (2, 2, 3, 4, 6)
# Of eight dimensions.
_SHAPE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Ops that are timed as one.

    Parameters
    ----------
    ops
        Their names, in the model's order.
    kind
        What the costliest of them does; see `kind_of`.
    macs
        Multiply-accumulate operations of all of them.
    bytes
        What they read and write from outside the unit, weights included.
    boundary_bytes
        The same without weights: what crosses the unit's boundary where it is a segment.
    """

    ops: tuple[str, ...]
    kind: str
    macs: int
    bytes: int
    boundary_bytes: int


def units_of(graph: ModelGraph) -> tuple[Unit, ...]:
    """Return the units of a model, every op in one of them.

    Raises
    ------
    ProblemError
        An ONNX model cannot be optimized here, which shows what is fused.
    """
    groups = fused_units(graph) if graph.format == "onnx" else [(op,) for op in graph.ops]
    ordered = _in_order(graph, groups)
    whole = _with_ends(graph, ordered)
    while len(whole) > _UNITS_AT_MOST:
        work = [sum(op.macs + op.workspace_bytes for op in group) for group in whole]
        least = min(range(len(whole) - 1), key=lambda place: work[place] + work[place + 1])
        whole[least : least + 2] = [whole[least] + whole[least + 1]]
    return tuple(_unit(graph, group) for group in whole)


def whole(count: int) -> Partition:
    """Return the partition of so many units into one segment."""
    return ((0, count),)


def windows(count: int) -> tuple[Partition, ...]:
    """Return partitions that together run each of so many units alone once, the rest of the model around them.

    The whole model runs in each, so every unit gets real values: zeros are no indices into everything.
    """
    made = []
    for first in range(0, count, _WINDOW_UNITS):
        last = min(first + _WINDOW_UNITS, count)
        spans = [(0, first), *((unit, unit + 1) for unit in range(first, last)), (last, count)]
        made.append(tuple(span for span in spans if span[0] < span[1]))
    return tuple(made)


def random_cuts(count: int, number: int, seed: int) -> tuple[Partition, ...]:
    """Return random partitions of so many units into a few segments each; fewer where there are too few units."""
    rng = random.Random(seed)
    made: dict[Partition, None] = {}
    for _ in range(number):
        segments = min(rng.choice(_SEGMENTS_OF_A_CUT), count)
        places = sorted(rng.sample(range(1, count), segments - 1))
        made[tuple(zip([0, *places], [*places, count], strict=True))] = None
    return tuple(made)


def boundary_bytes(graph: ModelGraph, ops: Iterable[str]) -> int:
    """Return the bytes that enter and leave some ops where they run as one segment."""
    inside = set(ops)
    outputs = {tensor.name for tensor in graph.outputs}
    read = {name for op in graph.ops if op.name in inside for name in op.inputs}
    made = {name for op in graph.ops if op.name in inside for name in op.outputs}
    leaving = {name for name in made if name in outputs or any(op.name not in inside for op in graph.consumers(name))}
    return sum(graph.tensors[name].bytes for name in (read - made) | leaving)


def share_out(graph: ModelGraph, unit: Unit, seconds: float) -> dict[str, float]:
    """Give a unit's seconds to its ops by their MACs, or in equal shares where they have none."""
    ops = [op for op in graph.ops if op.name in set(unit.ops)]
    return {op.name: seconds * (op.macs / unit.macs if unit.macs else 1 / len(ops)) for op in ops}


def kind_of(graph: ModelGraph, op: Op) -> str:
    """Name what an op costs like: its operator, whether it is grouped, or ``other`` where it multiplies nothing.

    A depthwise convolution has the operator of a dense one in ONNX and several times its seconds per multiplication.
    """
    if not op.macs:
        return "other"
    if op.type.endswith("Conv"):
        elements = sum(math.prod(graph.tensors[name].shape) for name in op.outputs)
        shape = graph.tensors[op.inputs[0]].shape
        # In a dense one every output takes whole columns of input channels.
        if len(shape) > 1 and elements and (op.macs // elements) % shape[1]:
            return f"{op.type} grouped"
    return op.type


def _in_order(graph: ModelGraph, groups: Sequence[Sequence[Op]]) -> list[tuple[Op, ...]]:
    """Put groups in an order in which each follows those it reads from; groups that read each other become one.

    So do groups that pass each other a shape: agents warm parts up on zeros, which are no shape.
    """
    place = {op.name: number for number, op in enumerate(graph.ops)}
    owner = {op.name: number for number, group in enumerate(groups) for op in group}
    quotient = nx.DiGraph()
    quotient.add_nodes_from(range(len(groups)))
    quotient.add_edges_from((owner[a], owner[b]) for a, b in graph.digraph.edges if owner[a] != owner[b])
    for source, target, tensors in graph.digraph.edges.data("tensors"):
        if any(_may_be_shape(tensor) for tensor in tensors):
            quotient.add_edges_from([(owner[source], owner[target]), (owner[target], owner[source])])
    joined = nx.condensation(quotient)
    members = {}
    for number in joined:
        ops = [op for group in joined.nodes[number]["members"] for op in groups[group]]
        members[number] = sorted(ops, key=lambda op: place[op.name])
    order = nx.lexicographical_topological_sort(joined, key=lambda number: place[members[number][0].name])
    return [tuple(members[number]) for number in order]


def _may_be_shape(tensor: Tensor) -> bool:
    return tensor.dtype in ("int32", "int64") and len(tensor.shape) <= 1 and tensor.bytes <= _SHAPE_BYTES


def _with_ends(graph: ModelGraph, groups: Sequence[tuple[Op, ...]]) -> list[tuple[Op, ...]]:
    """Join groups that read nothing, or that nobody reads, to the next one: a segment has inputs and outputs."""
    outputs = {tensor.name for tensor in graph.outputs}
    made: list[tuple[Op, ...]] = []
    waiting: tuple[Op, ...] = ()
    for group in groups:
        waiting += group
        inside = {op.name for op in waiting}
        own = {name for op in waiting for name in op.outputs}
        reads = any(name not in own for op in waiting for name in op.inputs)
        read = any(name in outputs or any(op.name not in inside for op in graph.consumers(name)) for name in own)
        if reads and read:
            made.append(waiting)
            waiting = ()
    if waiting:
        made[-1:] = [made[-1] + waiting] if made else [waiting]
    return made


def _unit(graph: ModelGraph, group: Sequence[Op]) -> Unit:
    names = tuple(op.name for op in group)
    boundary = boundary_bytes(graph, names)
    costliest = max(group, key=lambda op: (op.macs, op.workspace_bytes))
    return Unit(
        ops=names,
        kind=kind_of(graph, costliest),
        macs=sum(op.macs for op in group),
        bytes=boundary + sum(op.weights_bytes for op in group),
        boundary_bytes=boundary,
    )
