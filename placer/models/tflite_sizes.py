"""Which sizes of a TFLite model are known before it runs, and what follows from knowing them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from placer.models.tflite_model import TfliteFile, TfliteSubgraph

# The size of what these make depends on the values they read.
_SIZED_BY_VALUES = frozenset({"UNIQUE", "WHERE"})


def unsettled_sizes(graph: TfliteSubgraph) -> set[int]:
    """Return the tensors whose size only their values settle, so that no plan can know it.

    An open dimension of an input has its default size, and so has what follows from it; one that follows
    from no input is open for another reason.
    """
    inputs_open = any(graph.tensors[t].is_open for t in graph.inputs)
    unsettled: set[int] = set()
    for operator in graph.operators:
        made = {t for t in operator.outputs if t >= 0}
        if operator.kind in _SIZED_BY_VALUES:
            unsettled |= made
        elif not inputs_open or unsettled.intersection(operator.inputs):
            unsettled.update(t for t in made if graph.tensors[t].is_open)
    return unsettled


def answer_shapes(file: TfliteFile) -> TfliteFile:
    """Return a model in which the main subgraph's questions for a shape are answered: by constants.

    Else a tensor would be sent from segment to segment only to ask how large it is.
    """
    graph = file.subgraphs[0]
    unsettled = unsettled_sizes(graph)
    tensors, buffers = list(graph.tensors), list(file.buffers)
    for operator in graph.operators:
        if operator.kind != "SHAPE" or len(operator.inputs) != 1 or len(operator.outputs) != 1:
            continue
        asked, answer = operator.inputs[0], operator.outputs[0]
        if answer in graph.outputs or asked in unsettled or tensors[answer].dtype not in ("int32", "int64"):
            continue
        shape = np.array(tensors[asked].shape, tensors[answer].dtype)
        if tensors[answer].shape != shape.shape:
            continue
        tensors[answer] = dataclasses.replace(tensors[answer], buffer=len(buffers))
        buffers.append(np.frombuffer(shape.tobytes(), np.uint8))
    main = dataclasses.replace(graph, tensors=tuple(tensors))
    return dataclasses.replace(file, subgraphs=(main, *file.subgraphs[1:]), buffers=tuple(buffers))
