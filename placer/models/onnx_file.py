"""Opens an ONNX file without changing it, and refuses at the door what cannot be planned at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nested local functions grow exponentially when expanded; a real model stays far below this.
_MAX_EXPANDED_NODES = 1_000_000


def bodies(node: Any) -> Iterator[Any]:
    """Yield the graphs that a control-flow node carries as attributes (branches, loop bodies)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def load_onnx(path: str | Path) -> tuple[Any, str]:
    """Read an ONNX file with its external data.

    Parameters
    ----------
    path
        The .onnx file; external data is looked up beside it, never above it.

    Returns
    -------
    tuple
        The onnx.ModelProto and the SHA-256 digest of the file followed by its external data files.

    Raises
    ------
    ProblemError
        The file is missing, truncated, no model, without nodes or opset, has sparse initializers, or its
        local functions call each other without end.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ProblemError(f"{file}: cannot read the model file: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ProblemError(f"{file}: not an ONNX model, or a truncated one ({len(content)} bytes)") from error
    _refuse_bad_text(file, model)
    if not model.HasField("graph") or not model.opset_import:
        raise ProblemError(f"{file}: not an ONNX model, or a truncated one: it has no graph or no opset")
    if not model.graph.node:
        raise ProblemError(f"{file}: the model has no nodes; there is nothing to place")
    _refuse_sparse(file, model.graph)
    _refuse_endless_functions(file, model)
    digest = hashlib.sha256(content)
    try:
        for location in _external_files(model.graph):
            digest.update((file.parent / location).read_bytes())
        external_data_helper.load_external_data_for_model(model, str(file.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ProblemError(f"{file}: its external data cannot be read: {error}") from error
    return model, digest.hexdigest()


def _refuse_bad_text(file: Path, message: Any) -> None:
    """Names are text: protobuf gives bytes for one that is not UTF-8, which nothing later expects."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        if field.type == field.TYPE_MESSAGE:
            for child in values:
                _refuse_bad_text(file, child)
        elif field.type == field.TYPE_STRING:
            for text in values:
                if isinstance(text, bytes):
                    raise ProblemError(f"{file}: a damaged ONNX model: its {field.full_name} {text[:40]!r} is no text")


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and every body inside it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)


def _external_files(graph: Any) -> list[str]:
    """Return the sorted names of the files that hold this graph's external tensors."""
    found: set[str] = set()
    for inner in _graphs(graph):
        tensors = [attribute.t for node in inner.node for attribute in node.attribute if attribute.HasField("t")]
        for tensor in (*inner.initializer, *tensors):
            if external_data_helper.uses_external_data(tensor):
                found.update(entry.value for entry in tensor.external_data if entry.key == "location")
    return sorted(found)


def _refuse_sparse(file: Path, graph: Any) -> None:
    """Sparse initializers are rare and no executor here was tried with them: say so instead of guessing."""
    for inner in _graphs(graph):
        for sparse in inner.sparse_initializer:
            raise ProblemError(
                f"{file}: the sparse initializer {sparse.values.name!r} is not supported; store it densely"
            )


def _refuse_endless_functions(file: Path, model: Any) -> None:
    """Bound the expansion of local functions: each is counted once, so that checking cannot hang either."""
    functions = {(function.domain, function.name): function for function in model.functions}
    size: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def nodes_size(nodes: Any) -> int:
        return sum(node_size(node) for node in nodes)

    def node_size(node: Any) -> int:
        total = 1 + sum(nodes_size(body.node) for body in bodies(node))
        key = (node.domain, node.op_type)
        if key not in functions:
            return total
        if key in open_calls:
            raise ProblemError(f"{file}: the local function {node.op_type!r} calls itself")
        if key not in size:
            open_calls.add(key)
            size[key] = nodes_size(functions[key].node)
            open_calls.remove(key)
        return total + size[key]

    expanded = nodes_size(model.graph.node)
    if expanded > _MAX_EXPANDED_NODES:
        raise ProblemError(
            f"{file}: its local functions expand to {expanded} nodes; at most {_MAX_EXPANDED_NODES} are read"
        )
