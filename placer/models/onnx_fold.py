"""Fixes the input shapes of an ONNX model, and turns what only asks for shapes into constants.

Once the inputs are bound, a Shape node answers the same in every inference. Left as an op it would carry a
whole tensor to another device, and that tensor's label along with it, only to read off its dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from placer.models.onnx_nodes import OnnxNodes, reads, split_nodes
from placer.models.onnx_shapes import bound_inputs, concrete_shape, inferred_values

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundModel:
    """An ONNX model whose inputs have concrete shapes.

    Parameters
    ----------
    model
        The onnx.ModelProto, Shape and Size nodes replaced by constants where the answer is known.
    nodes
        Its ops and constants.
    input_shapes
        Concrete shape of every input.
    following
        Constants that are what they are by the inputs' shapes.
    """

    model: Any
    nodes: OnnxNodes
    input_shapes: Mapping[str, tuple[int, ...]]
    following: frozenset[str]

    def identity(self, constant: str) -> str:
        """Name a constant so that, of one file, equal names are equal bytes, however its inputs are bound."""
        if constant not in self.following:
            return constant
        return f"{constant} of " + ",".join("x".join(map(str, shape)) for shape in self.input_shapes.values())


def bind_inputs(path: str, model: Any, bindings: Mapping[str, Sequence[int]]) -> BoundModel:
    """Fix the input shapes of a model that was read.

    Parameters
    ----------
    path
        The file it came from, for messages.
    model
        The onnx.ModelProto; it is changed in memory, so hand over a fresh one.
    bindings
        Whole shapes for inputs with dynamic dimensions, by input name.

    Raises
    ------
    ProblemError
        The graph is none that can be placed, or a dimension stays open.
    """
    nodes = split_nodes(path, model)
    shapes = bound_inputs(path, nodes, bindings)
    values = inferred_values(model, nodes, shapes)
    folded = [_answered(node, values) for node in model.graph.node]
    answered = {
        o for node, answer in zip(model.graph.node, folded, strict=True) if answer is not None for o in node.output
    }
    if any(answer is not None for answer in folded):
        for node, answer in zip(model.graph.node, folded, strict=True):
            if answer is not None:
                node.CopyFrom(
                    onnx.helper.make_node(
                        "Constant", [], list(node.output), node.name, value=onnx.numpy_helper.from_array(answer)
                    )
                )
        nodes = split_nodes(path, model)
    return BoundModel(model=model, nodes=nodes, input_shapes=shapes, following=_following(nodes, answered))


def _following(nodes: OnnxNodes, answered: Collection[str]) -> frozenset[str]:
    """Return the constants that are made of answers."""
    found = set(answered)
    for name, node in nodes.constant_nodes.items():
        if found.intersection(reads(node)):
            found.add(name)
    return frozenset(found)


def _answered(node: Any, values: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return what a Shape or Size node will answer; None for other nodes and open shapes."""
    if node.op_type not in ("Shape", "Size") or node.domain not in ("", "ai.onnx"):
        return None
    shaped = concrete_shape(values.get(node.input[0]))
    if shaped is None:
        return None
    if node.op_type == "Size":
        return np.array(math.prod(shaped[0]), np.int64)
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return np.array(shaped[0][bounds.get("start", 0) : bounds.get("end")], np.int64)
