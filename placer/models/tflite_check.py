"""Refuses a .tflite model whose parts do not fit together: order of execution, calls of subgraphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

from placer.errors import ProblemError
from placer.models.tflite_model import integers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.models.tflite_model import TfliteSubgraph


# Real models nest two or three deep.
_MAX_NESTED_CALLS = 64


def check_order(graph: TfliteSubgraph) -> None:
    """Check the indices of a subgraph, and that operators come after what they read.

    Raises
    ------
    ProblemError
        An index names no tensor; a tensor is made twice, by nothing, or after it is read.
    """
    count = len(graph.tensors)
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if any(not 0 <= index < count for index in indices):
            raise ProblemError(f"{what}s {list(indices)} are not all among the {count} tensors")
    ready = {index for index, tensor in enumerate(graph.tensors) if tensor.buffer or tensor.is_variable}
    ready.update(graph.inputs)
    # An empty constant has no bytes that would tell it from a tensor that nothing makes.
    empty = {index for index, tensor in enumerate(graph.tensors) if tensor.bytes == 0}
    for position, operator in enumerate(graph.operators):
        what = f"operator {position} ({operator.kind})"
        for index in (*operator.inputs, *operator.outputs, *integers(operator.source.intermediates)):
            if not -1 <= index < count:
                raise ProblemError(f"{what} names tensor {index}; there are {count}")
        for index in operator.inputs:
            if index >= 0 and index not in ready and index not in empty:
                raise ProblemError(f"{what} reads {graph.tensors[index].name!r}, which nothing before it makes")
        for index in operator.outputs:
            if index in ready:
                raise ProblemError(f"{what} makes {graph.tensors[index].name!r}, which is there already")
            if index >= 0:
                ready.add(index)
    for index in graph.outputs:
        if index not in ready:
            raise ProblemError(f"nothing makes the output {graph.tensors[index].name!r}")


def check_calls(subgraphs: Sequence[TfliteSubgraph]) -> None:
    """Check what operators call.

    Raises
    ------
    ProblemError
        There are no subgraphs; a call names none of them; they call each other without end, or too deep.
    """
    if not subgraphs:
        raise ProblemError("the model has no subgraphs; there is nothing to place")
    calls = nx.DiGraph()
    for index, graph in enumerate(subgraphs):
        for operator in graph.operators:
            for target in operator.calls:
                if target >= len(subgraphs):
                    raise ProblemError(f"a {operator.kind} calls subgraph {target}; the file has {len(subgraphs)}")
                calls.add_edge(index, target)
    if not nx.is_directed_acyclic_graph(calls):
        raise ProblemError(f"subgraphs {[source for source, _ in nx.find_cycle(calls)]} call each other without end")
    depth = nx.dag_longest_path_length(calls)
    if depth > _MAX_NESTED_CALLS:
        raise ProblemError(f"subgraphs call each other {depth} deep; at most {_MAX_NESTED_CALLS} are read")
