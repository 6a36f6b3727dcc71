"""Whether a model is a function of its inputs: what draws numbers or remembers gives other results for equal ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from placer.models.onnx_file import bodies, load_onnx

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placer.models.graph import ModelGraph

_DROPOUT_TRAINING_INPUT = 2


def why_no_function(graph: ModelGraph) -> str:
    """Say what makes a model give other results for the same inputs; ``""`` if nothing does.

    All of its file counts, also what leads to nothing that is wanted of it.
    """
    return _onnx(graph.path) if graph.format == "onnx" else _tflite(graph.path)


def _onnx(path: str) -> str:
    model, _ = load_onnx(path)
    return _drawing([*model.graph.node, *(node for function in model.functions for node in function.node)])


def _drawing(nodes: Iterable[Any]) -> str:
    from placer.models.onnx_nodes import RANDOM

    for node in nodes:
        trains = node.op_type == "Dropout" and len(node.input) > _DROPOUT_TRAINING_INPUT
        if node.op_type in RANDOM or (trains and node.input[_DROPOUT_TRAINING_INPUT]):
            return f"its {node.op_type} node {node.name or node.output[0]!r} draws numbers anew each time"
        if inside := _drawing(inner for body in bodies(node) for inner in body.node):
            return inside
    return ""


def _tflite(path: str) -> str:
    # Imported here: who has no TFLite models need not have LiteRT.
    from placer.models.tflite_file import load_tflite
    from placer.models.tflite_ops import RANDOM

    for graph in load_tflite(path).subgraphs:
        if variable := next((tensor for tensor in graph.tensors if tensor.is_variable), None):
            return f"its variable {variable.name!r} remembers what came before"
        for operator in graph.operators:
            if operator.state is not None:
                return f"its {operator.kind} remembers what came before"
            if operator.kind in RANDOM:
                return f"its {operator.kind} draws numbers anew each time"
            if operator.is_custom:
                return f"its {operator.kind} is a custom operator, of which nobody knows"
    return ""
