"""Tells which ops of a model an executor's optimized nodes stand for.

ONNX Runtime fuses, renames and reorders nodes, but keeps the names of the tensors that survive. A node which
makes a tensor of the model is anchored at the op that made it there; the ops between two anchors were fused.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from placer.models.cut import cut
from placer.models.onnx_run import onnx_runtime, open_session

if TYPE_CHECKING:
    from collections.abc import Collection

    from placer.models.graph import ModelGraph, Op

# Blocked-layout nodes make tensors with new names, but are called after the tensor they replace.
_BLOCKED_SUFFIX = "_nchwc"


def anchors_of(graph: ModelGraph, optimized: Any) -> dict[str, str]:
    """Return for each node of the optimized graph, by name, the op at which it is anchored.

    A node that the executor added (a change of layout or type) is counted with the node that reads its
    result. Nodes of which neither can be said are left out.
    """
    anchors: dict[str, str] = {}
    reader_anchor: dict[str, str] = {}
    for node in reversed(optimized.node):
        names = [*node.output]
        if _BLOCKED_SUFFIX in node.name:
            names.append(node.name.rpartition(_BLOCKED_SUFFIX)[0])
        ops = [op.name for op in map(graph.producer, names) if op is not None]
        read = [reader_anchor[name] for name in node.output if name in reader_anchor]
        anchor = next(iter([*ops, *read]), None)
        if anchor is not None:
            anchors[node.name] = anchor
            reader_anchor.update((name, anchor) for name in node.input)
    return anchors


def fused_groups(graph: ModelGraph, anchors: Collection[str]) -> dict[str, list[Op]]:
    """Group the ops of a model by the anchor that executes them.

    A simple op without an anchor of its own (an activation) joins the op before it, if that is executed;
    every other one (a convolution whose normalization was folded in) joins the op after it.
    """
    owner: dict[str, str] = {name: name for name in anchors}
    for op in graph.ops:
        if op.name not in owner and not op.macs and len(op.inputs) == 1:
            before = graph.producer(op.inputs[0])
            if before is not None and before.name in owner:
                owner[op.name] = owner[before.name]
    groups: dict[str, list[Op]] = {}
    for op in reversed(graph.ops):
        if op.name not in owner:
            after = [owner[reader.name] for name in op.outputs for reader in graph.consumers(name)]
            owner[op.name] = after[0] if after else op.name
        groups.setdefault(owner[op.name], []).append(op)
    return groups


def fused_units(graph: ModelGraph) -> list[tuple[Op, ...]]:
    """Return the ops of a model in the groups that ONNX Runtime runs as one, as this host optimizes it.

    Raises
    ------
    ProblemError
        The model cannot be loaded here, or ONNX Runtime is missing.
    """
    (whole,) = cut(graph, [[op.name for op in graph.ops]])
    with tempfile.TemporaryDirectory(prefix="placer-fusion-") as directory:
        options = onnx_runtime().SessionOptions()
        optimized_file = Path(directory) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized_file)
        open_session(whole.blob, threads=1, options=options)
        optimized = onnx.load(optimized_file).graph
    place = {op.name: number for number, op in enumerate(graph.ops)}
    anchors = set(anchors_of(graph, optimized).values())
    return [tuple(sorted(ops, key=lambda op: place[op.name])) for ops in fused_groups(graph, anchors).values()]
