"""Reads an ONNX file as a ModelGraph; the file is never changed."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from placer.models.graph import DTYPE_BYTES, ModelGraph, Op, Tensor
from placer.models.onnx_file import bodies, load_onnx
from placer.models.onnx_fold import bind_inputs
from placer.models.onnx_macs import count_macs, multiplies_integers
from placer.models.onnx_shapes import Shaped, dtype_name, infer_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.onnx_nodes import OnnxNodes

_NUMERIC = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_LISTS_OF_WEIGHTS = frozenset({"Constant", "TfIdfVectorizer"})
"""Operators whose lists of numbers are no settings, beside those of classical machine learning."""
_NO_BINDINGS: Mapping[str, Sequence[int]] = MappingProxyType({})


def read_onnx(path: str | Path, inputs: Mapping[str, Sequence[int]] = _NO_BINDINGS) -> ModelGraph:
    """Read an ONNX model.

    Parameters
    ----------
    path
        The .onnx file.
    inputs
        Whole shapes for inputs with dynamic dimensions, by input name.

    Raises
    ------
    ProblemError
        The file is no usable model, a dimension stays open, or a tensor has no shape; the message names it.
    """
    where = str(path)
    file_model, sha256 = load_onnx(path)
    bound = bind_inputs(where, file_model, inputs)
    model, nodes = bound.model, bound.nodes
    shapes = infer_shapes(where, model, nodes, bound.input_shapes)

    tensors: dict[str, Tensor] = {}

    def tensor(name: str, whose: str) -> Tensor:
        if name not in tensors:
            try:
                tensors[name] = Tensor.dense(name, *shapes[name])
            except ProblemError as error:
                raise ProblemError(f"{where}: {whose}: {error}") from error
        return tensors[name]

    model_inputs = tuple(tensor(value.name, "input") for value in nodes.inputs)
    live = {value.name for value in model.graph.output} | {name for reads in nodes.reads for name in reads}
    held = _Held(model)
    ops = []
    for name, node, reads in zip(nodes.names, nodes.nodes, nodes.reads, strict=True):
        taken = tuple(tensor(used, f"op {name!r}") for used in reads if not nodes.is_constant(used))
        made = tuple(tensor(output, f"op {name!r}") for output in node.output if output in live)
        weights = nodes.stored(reads)
        inside = held.bytes_of(node)
        ids = [bound.identity(constant) for constant in weights] + ([f"in {name}"] if inside else [])
        ops.append(
            Op(
                name=name,
                type=node.op_type,
                macs=count_macs(node, _of_node(node, reads, shapes), model),
                weights_bytes=inside + sum(_constant_bytes(nodes, shapes, constant) for constant in weights),
                weights_id=f"{sha256[:16]}/{'+'.join(ids)}" if ids else "",
                inputs=tuple(value.name for value in taken),
                outputs=tuple(value.name for value in made),
                workspace_bytes=sum(value.bytes for value in (*taken, *made)),
            )
        )
    return ModelGraph(
        name=Path(path).stem,
        format="onnx",
        path=where,
        sha256=sha256,
        numeric=_numeric(nodes, ops, shapes),
        inputs=model_inputs,
        outputs=tuple(tensor(value.name, "output") for value in model.graph.output),
        ops=tuple(ops),
        tensors=tensors,
    )


def _of_node(node: Any, reads: Sequence[str], shapes: Mapping[str, Shaped]) -> dict[str, Shaped]:
    return {name: shapes[name] for name in (*reads, *node.output) if name in shapes}


def _constant_bytes(nodes: OnnxNodes, shapes: Mapping[str, Shaped], name: str) -> int:
    """Return the bytes of one constant, as the executor holds it after folding."""
    if name in nodes.initializers:
        tensor = nodes.initializers[name]
        if tensor.HasField("raw_data"):
            return len(tensor.raw_data)
    shape, dtype = shapes[name]
    return math.prod(shape) * DTYPE_BYTES.get(dtype, 1)


class _Held:
    """Counts the bytes of weights that nodes hold themselves: in attributes, in bodies, in functions of the file."""

    def __init__(self, model: Any) -> None:
        self._functions = {(function.domain, function.name): function.node for function in model.functions}
        self._sizes: dict[tuple[str, str], int] = {}

    def bytes_of(self, node: Any) -> int:
        lists = node.domain == "ai.onnx.ml" or node.op_type in _LISTS_OF_WEIGHTS
        size = sum(_attribute_bytes(attribute, lists) for attribute in node.attribute)
        for body in bodies(node):
            size += sum(map(_tensor_bytes, body.initializer)) + sum(map(self.bytes_of, body.node))
        called = (node.domain, node.op_type)
        if called in self._functions:
            if called not in self._sizes:
                self._sizes[called] = sum(map(self.bytes_of, self._functions[called]))
            size += self._sizes[called]
        return size


def _attribute_bytes(attribute: Any, lists: bool) -> int:
    sparse = (attribute.sparse_tensor, *attribute.sparse_tensors)
    tensors = (attribute.t, *attribute.tensors, *(part for s in sparse for part in (s.values, s.indices)))
    size = sum(map(_tensor_bytes, tensors))
    if lists:
        size += 4 * len(attribute.floats) + 8 * len(attribute.ints) + sum(map(len, attribute.strings))
    return size


def _tensor_bytes(tensor: Any) -> int:
    if not tensor.data_type:
        return 0  # no tensor is there
    elements: int = math.prod(tensor.dims)
    return elements * DTYPE_BYTES.get(dtype_name(tensor.data_type), 1)


def _numeric(nodes: OnnxNodes, ops: Sequence[Op], shapes: Mapping[str, Shaped]) -> str:
    """Name the format in which most MACs are computed; without MACs, that of most of the bytes made."""
    dequantized = {output for node in nodes.nodes if node.op_type == "DequantizeLinear" for output in node.output}
    votes: Counter[str] = Counter()
    for op, node in zip(ops, nodes.nodes, strict=True):
        if multiplies_integers(node) or (op.macs and dequantized & set(node.input)):
            dtype = "int8"
        else:
            dtype = shapes[op.outputs[0]][1]
        votes[_NUMERIC.get(dtype, dtype)] += op.macs
    if not any(votes.values()):
        for op in ops:
            dtype = shapes[op.outputs[0]][1]
            votes[_NUMERIC.get(dtype, dtype)] += math.prod(shapes[op.outputs[0]][0]) * DTYPE_BYTES[dtype]
    return max(sorted(votes), key=lambda numeric: votes[numeric])
