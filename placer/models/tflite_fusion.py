"""Which operators LiteRT computes as one, with another rounding than one after the other.

Its XNNPACK delegate rewrites what it is given: the sum of squares becomes one step that does not round the squares,
and a sum that is divided by its count becomes a mean. A boundary in between would keep it from doing so, and the
last bit would differ. Its other rewrites (activations and zero padding drawn into the operator beside them, chains of
8-bit functions made a table, reshapes merged) give the same bits. Read in XNNPACK's src/subgraph.c, commit 0011854.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from placer.models.tflite_model import TfliteOperator, TfliteSubgraph

_REDUCING = frozenset({"MEAN", "SUM"})
_SCALING = frozenset({"DIV", "MUL"})


def fused_pairs(
    graph: TfliteSubgraph, constants: frozenset[int], makers: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield the positions of two operators that must not be separated.

    Parameters
    ----------
    graph
        The subgraph.
    constants
        Its constant tensors.
    makers
        Position of the operator that makes each tensor, by the tensor's index.
    """
    for position, operator in enumerate(graph.operators):
        for t in operator.inputs:
            if t not in makers or t in constants or not graph.tensors[t].dtype.startswith("float"):
                continue
            maker = graph.operators[makers[t]]
            squared_sum = operator.kind in _REDUCING and _squares(maker)
            scaled_sum = operator.kind in _SCALING and maker.kind == "SUM" and _by_a_number(graph, operator, constants)
            if squared_sum or scaled_sum:
                yield makers[t], position


def _squares(operator: TfliteOperator) -> bool:
    return operator.kind == "SQUARE" or (operator.kind == "MUL" and len(set(operator.inputs)) == 1)


def _by_a_number(graph: TfliteSubgraph, operator: TfliteOperator, constants: frozenset[int]) -> bool:
    return any(t in constants and math.prod(graph.tensors[t].shape) == 1 for t in operator.inputs)
