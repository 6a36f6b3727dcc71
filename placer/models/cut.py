"""Cuts a model file into one file per segment; together the parts compute what the whole computes."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import onnx

from placer.errors import ProblemError
from placer.models.onnx_file import load_onnx
from placer.models.onnx_fold import bind_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.graph import ModelGraph, Tensor
    from placer.models.onnx_nodes import OnnxNodes

# One protobuf message cannot be larger.
_MAX_BLOB_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One segment's model file.

    Parameters
    ----------
    blob
        Bytes of the file, in the format of the model.
    inputs
        Tensors that reach the segment from outside.
    outputs
        Tensors of it that other segments read or that the model returns.
    sha256
        Digest of the blob.
    """

    blob: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sha256: str


def cut(graph: ModelGraph, segments: Sequence[Sequence[str]]) -> tuple[Part, ...]:
    """Cut a model into segments.

    Parameters
    ----------
    graph
        The model, as it was read, or without ops that lead to nothing that is wanted of it.
    segments
        Names of the ops of each segment: any sets that hold every op once and do not wait for each other in
        a circle.

    Returns
    -------
    tuple of Part
        One per segment, in the order given. Parts are not optimized: each agent does so for its hardware.
        An input that the model returns unchanged is in no part; it needs no op.

    Raises
    ------
    ProblemError
        An op is missing, unknown or in two segments; segments form a cycle; the file changed since it was
        read; a part exceeds 2 GiB.
    """
    owner = _owners(graph, segments)
    _refuse_cycle(graph, owner)
    boundaries = [_boundary(graph, owner, index) for index in range(len(segments))]
    blobs = (_onnx_parts if graph.format == "onnx" else _tflite_parts)(graph, owner, boundaries)
    return tuple(
        Part(blob=blob, inputs=inputs, outputs=outputs, sha256=hashlib.sha256(blob).hexdigest())
        for blob, (inputs, outputs) in zip(blobs, boundaries, strict=True)
    )


def _owners(graph: ModelGraph, segments: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the segment of every op."""
    known = {op.name for op in graph.ops}
    owner: dict[str, int] = {}
    for index, names in enumerate(segments):
        if not names:
            raise ProblemError(f"{graph.path}: segment {index} has no ops")
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ProblemError(f"{graph.path}: segment {index}: the model has no op {name!r}{hint}")
            if name in owner:
                raise ProblemError(f"{graph.path}: op {name!r} is in segments {owner[name]} and {index}")
            owner[name] = index
    missing = [op.name for op in graph.ops if op.name not in owner]
    if missing:
        raise ProblemError(f"{graph.path}: no segment holds {len(missing)} ops, the first is {missing[0]!r}")
    return owner


def _refuse_cycle(graph: ModelGraph, owner: Mapping[str, int]) -> None:
    """Two segments that wait for each other would never start."""
    quotient = nx.DiGraph()
    for source, target in graph.digraph.edges:
        if owner[source] != owner[target]:
            quotient.add_edge(owner[source], owner[target])
    if not nx.is_directed_acyclic_graph(quotient):
        circle = [source for source, _ in nx.find_cycle(quotient)]
        raise ProblemError(f"{graph.path}: segments {circle} wait for each other in a circle; divide one of them")


def _boundary(graph: ModelGraph, owner: Mapping[str, int], index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs and outputs of a segment, in the order of first use and of production."""
    returned = {tensor.name for tensor in graph.outputs}
    inside = [op for op in graph.ops if owner[op.name] == index]
    made = {name for op in inside for name in op.outputs}
    inputs = dict.fromkeys(name for op in inside for name in op.inputs if name not in made)
    outputs = [
        name
        for op in inside
        for name in op.outputs
        if name in returned or any(owner[reader.name] != index for reader in graph.consumers(name))
    ]
    return tuple(graph.tensors[name] for name in inputs), tuple(graph.tensors[name] for name in outputs)


def _onnx_parts(
    graph: ModelGraph,
    owner: Mapping[str, int],
    boundaries: Sequence[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]],
) -> list[bytes]:
    model, sha256 = load_onnx(graph.path)
    _refuse_changed(graph, sha256)
    bound = bind_inputs(graph.path, model, {tensor.name: tensor.shape for tensor in graph.inputs})
    blobs = []
    for index, (inputs, outputs) in enumerate(boundaries):
        inside = [place for place, name in enumerate(bound.nodes.names) if owner.get(name) == index]
        part = _onnx_part(bound.model, bound.nodes, inside, inputs, outputs)
        part.graph.name = f"{graph.name}/{index}"
        size = part.ByteSize()
        if size > _MAX_BLOB_BYTES:
            raise ProblemError(f"{graph.path}: segment {index} would be {size} bytes; a file holds {_MAX_BLOB_BYTES}")
        blobs.append(part.SerializeToString(deterministic=True))
    return blobs


def _onnx_part(
    model: Any, nodes: OnnxNodes, inside: Sequence[int], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Any:
    """Build the ModelProto of some ops, with a copy of every constant they need."""
    cone, initializers = nodes.constant_cone(name for place in inside for name in nodes.reads[place])
    constants = {id(node) for node in cone}
    inside = [place for place in inside if id(nodes.nodes[place]) not in constants]
    # Before IR 4 a constant had to be listed as an input too, which would let a caller overwrite it.
    part = onnx.ModelProto(ir_version=max(model.ir_version, 4), producer_name="placer")
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.node.extend([*cone, *(nodes.nodes[place] for place in inside)])
    for node, place in zip(part.graph.node[len(cone) :], inside, strict=True):
        node.name = nodes.names[place]  # what executors report of a part is then said in the plan's words
    part.graph.initializer.extend(initializers)
    part.graph.input.extend(_value_info(tensor) for tensor in inputs)
    part.graph.output.extend(_value_info(tensor) for tensor in outputs)
    return part


def _value_info(tensor: Tensor) -> Any:
    if tensor.dtype == "bfloat16":  # numpy has no such type to ask for
        elem_type = onnx.TensorProto.BFLOAT16
    else:
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(onnx.helper.np.dtype(tensor.dtype))
    return onnx.helper.make_tensor_value_info(tensor.name, elem_type, tensor.shape)


def _tflite_parts(
    graph: ModelGraph,
    owner: Mapping[str, int],
    boundaries: Sequence[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]],
) -> list[bytes]:
    # Imported here: who has no TFLite models need not have LiteRT.
    from placer.models.tflite_file import load_tflite
    from placer.models.tflite_ops import split_operators
    from placer.models.tflite_part import write_part

    file = load_tflite(graph.path)
    _refuse_changed(graph, file.sha256)
    ops = split_operators(file)
    blobs = []
    for index, (inputs, outputs) in enumerate(boundaries):
        inside = [place for place, name in enumerate(ops.names) if owner.get(name) == index]
        blobs.append(write_part(file, ops, inside, inputs, outputs))
    return blobs


def _refuse_changed(graph: ModelGraph, sha256: str) -> None:
    if sha256 != graph.sha256:
        raise ProblemError(f"{graph.path}: the file changed since it was read; read it again and plan anew")
