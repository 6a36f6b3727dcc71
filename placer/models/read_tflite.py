"""Reads a .tflite file as a ModelGraph; the file is never changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from placer.errors import ProblemError
from placer.models.graph import ModelGraph, Op, Tensor
from placer.models.tflite_file import load_tflite
from placer.models.tflite_macs import count_macs
from placer.models.tflite_ops import split_operators
from placer.models.tflite_sizes import unsettled_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.tflite_model import TfliteFile, TfliteSubgraph
    from placer.models.tflite_ops import TfliteOps

_NUMERIC = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "uint8": "int8"}
_NO_BINDINGS: Mapping[str, Sequence[int]] = MappingProxyType({})


def read_tflite(path: str | Path, inputs: Mapping[str, Sequence[int]] = _NO_BINDINGS) -> ModelGraph:
    """Read a TFLite model.

    Shapes are those the file states; a dynamic dimension has the size which the file gives as default.

    Parameters
    ----------
    path
        The .tflite file.
    inputs
        Shapes that the caller expects, by input name; they must be the file's.

    Raises
    ------
    ProblemError
        The file is no usable model, an input has another shape than expected, or the size of an input or output
        is not known before the execution; the message names it.
    """
    file = load_tflite(path)
    graph = file.subgraphs[0]
    try:
        ops = split_operators(file)
        named = _boundary_tensors(graph, ops)
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}") from error
    model = ModelGraph(
        name=Path(path).stem,
        format="tflite",
        path=str(path),
        sha256=file.sha256,
        numeric=_numeric(file, graph, ops),
        inputs=tuple(named[t] for t in dict.fromkeys(graph.inputs)),
        outputs=tuple(named[t] for t in dict.fromkeys(graph.outputs)),
        ops=tuple(_op(file, graph, ops, place, named) for place in range(len(ops.names))),
        tensors={tensor.name: tensor for tensor in named.values()},
    )
    _check_expected(model, inputs)
    return model


def _boundary_tensors(graph: TfliteSubgraph, ops: TfliteOps) -> dict[int, Tensor]:
    """Return every tensor that some boundary may separate, by its index."""
    unsettled = unsettled_sizes(graph)
    crossing = dict.fromkeys((*graph.inputs, *(t for makes in ops.makes for t in makes), *graph.outputs))
    named = {}
    for index in crossing:
        tensor = graph.tensors[index]
        if index in ops.constants:
            raise ProblemError(f"the output {tensor.name!r} is a constant of the file; remove it from the outputs")
        if index in unsettled:
            raise ProblemError(
                f"the size of the output {tensor.name!r} depends on values, so no plan can know it; "
                "cut the model before it when it is converted"
            )
        named[index] = Tensor.dense(tensor.name, tensor.shape, tensor.dtype)
    return named


def _op(file: TfliteFile, graph: TfliteSubgraph, ops: TfliteOps, place: int, named: Mapping[int, Tensor]) -> Op:
    members = ops.members[place]
    operators = [graph.operators[position] for position in members]
    buffers = _weights(file, graph, ops, members)
    taken = {graph.tensors[t].name: graph.tensors[t].bytes for t in ops.reads[place]}
    made = {named[t].name: named[t].bytes for t in ops.makes[place]}
    # Inside an op of several operators more may live than what enters and leaves it.
    steps = [
        sum(graph.tensors[t].bytes for t in {*operator.inputs, *operator.outputs} - ops.constants if t >= 0)
        for operator in operators
    ]
    return Op(
        name=ops.names[place],
        type="+".join(dict.fromkeys(operator.kind for operator in operators)),
        macs=sum(count_macs(file, graph, operators).values()),
        weights_bytes=sum(len(file.buffers[buffer]) for buffer in buffers),
        weights_id=f"{file.sha256[:16]}/{'+'.join(map(str, buffers))}" if buffers else "",
        inputs=tuple(taken),
        outputs=tuple(made),
        workspace_bytes=max(sum(taken.values()) + sum(made.values()), *steps),
    )


def _weights(file: TfliteFile, graph: TfliteSubgraph, ops: TfliteOps, members: Sequence[int]) -> tuple[int, ...]:
    """Return the buffers of the constants that an op needs, those of the bodies it calls included."""
    _, constants = ops.constant_cone(graph, members)
    buffers = {graph.tensors[t].buffer for t in constants}
    bodies = [body for position in members for body in graph.operators[position].calls]
    seen: set[int] = set()
    while bodies:
        body = bodies.pop()
        if body not in seen:
            seen.add(body)
            subgraph = file.subgraphs[body]
            buffers.update(tensor.buffer for tensor in subgraph.tensors)
            bodies += [inner for operator in subgraph.operators for inner in operator.calls]
    return tuple(sorted(buffers - {0}))


def _numeric(file: TfliteFile, graph: TfliteSubgraph, ops: TfliteOps) -> str:
    """Name the format in which most MACs are computed; without MACs, that of most of the bytes made."""
    operators = [graph.operators[position] for members in ops.members for position in members]
    votes = count_macs(file, graph, operators)
    if not votes:
        votes = Counter()
        for t in (t for makes in ops.makes for t in makes):
            votes[graph.tensors[t].dtype] += graph.tensors[t].bytes
    dtype = max(sorted(votes), key=lambda name: votes[name])
    return _NUMERIC.get(dtype, dtype)


def _check_expected(model: ModelGraph, expected: Mapping[str, Sequence[int]]) -> None:
    known = {tensor.name: tensor.shape for tensor in model.inputs}
    for name, shape in expected.items():
        if name not in known:
            raise ProblemError(f"{model.path}: has no input {name!r}; its inputs are {', '.join(map(repr, known))}")
        if tuple(shape) != known[name]:
            raise ProblemError(
                f"{model.path}: input {name!r} is {list(known[name])} in the file, not {list(shape)}; "
                "convert the model for that shape"
            )
