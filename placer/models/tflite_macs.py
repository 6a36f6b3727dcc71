"""Counts the multiply-accumulate operations of TFLite operators; weights are laid out as LiteRT's kernels read them."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placer.models.tflite_model import TfliteFile, TfliteOperator, TfliteSubgraph

# Each multiplies every weight of its matrices once per item of the batch and step of the sequence.
_RECURRENT = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)


def count_macs(file: TfliteFile, graph: TfliteSubgraph, operators: Iterable[TfliteOperator]) -> Counter[str]:
    """Count the MACs of some operators by the dtype they produce.

    Bodies that an operator calls are counted once each, since how often a loop runs is not known before.

    Parameters
    ----------
    file
        The model.
    graph
        The subgraph they are of.
    operators
        Those to count.
    """
    bodies: dict[int, Counter[str]] = {}

    def counted(graph: TfliteSubgraph, operators: Iterable[TfliteOperator]) -> Counter[str]:
        total: Counter[str] = Counter()
        for operator in operators:
            macs = _operator_macs(graph, operator)
            if macs:
                total[graph.tensors[operator.outputs[0]].dtype] += macs
            for body in dict.fromkeys(operator.calls):
                if body not in bodies:
                    bodies[body] = counted(file.subgraphs[body], file.subgraphs[body].operators)
                total += bodies[body]
        return total

    return counted(graph, operators)


def _operator_macs(graph: TfliteSubgraph, operator: TfliteOperator) -> int:
    """Count the MACs of one operator; 0 where it lacks the tensors that its kind has."""
    shapes = [graph.tensors[index].shape if index >= 0 else () for index in operator.inputs]
    if len(shapes) < 2 or not operator.outputs or operator.outputs[0] < 0:
        return 0
    made = math.prod(graph.tensors[operator.outputs[0]].shape)
    weights = shapes[1]
    match operator.kind:
        case "CONV_2D" | "FULLY_CONNECTED":  # [outputs, height, width, inputs / groups], [outputs, inputs]
            return made * math.prod(weights[1:])
        case "DEPTHWISE_CONV_2D":  # [1, height, width, outputs]
            return made * math.prod(weights[1:3])
        case "CONV_3D":  # [depth, height, width, inputs, outputs]
            return made * math.prod(weights[:4])
        case "TRANSPOSE_CONV" if len(shapes) > 2:  # the output's shape, [outputs, height, width, inputs], the data
            return math.prod(shapes[2]) * math.prod(weights[:3])
        case "BATCH_MATMUL" if len(shapes[0]) > 1:
            return made * shapes[0][-2 if getattr(operator.options, "adjX", False) else -1]
        case kind if kind in _RECURRENT and shapes[0]:  # data is [..., inputs]; biases are vectors
            matrices = [
                math.prod(shape)
                for index, shape in zip(operator.inputs[1:], shapes[1:], strict=True)
                if len(shape) == 2 and not graph.tensors[index].is_variable
            ]
            return math.prod(shapes[0][:-1]) * sum(matrices)
    return 0
