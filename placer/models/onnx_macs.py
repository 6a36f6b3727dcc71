"""Counts the multiply-accumulate operations of one ONNX node.

A MAC is one multiplication and one addition into a sum; element-wise operators, pooling and normalization
count as none, as in the MAC counts that published model tables give.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from placer.errors import ProblemError
from placer.models.onnx_file import bodies
from placer.models.onnx_shapes import Shaped, concrete_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Positions of operands among a node's inputs; quantized forms have scales and zero points in between.
_CONV_WEIGHTS = {
    "Conv": 1,
    "FusedConv": 1,
    "NhwcFusedConv": 1,
    "DeformConv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
}
_MATMUL_LEFT = frozenset(
    {"MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"}
)
_GEMM_LEFT = frozenset({"Gemm", "FusedGemm", "QGemm"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_INTEGER = frozenset(
    {
        "ConvInteger",
        "QLinearConv",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QLinearMatMul",
        "QGemm",
    }
)


def multiplies_integers(node: Any) -> bool:
    """Tell whether an operator multiplies integers by itself, without QuantizeLinear around it."""
    return node.op_type in _INTEGER


def count_macs(node: Any, shapes: Mapping[str, Shaped], model: Any) -> int:
    """Count the MACs of one execution of a node.

    Parameters
    ----------
    node
        The NodeProto.
    shapes
        Shape and dtype of every value it reads or makes.
    model
        The ModelProto it stands in: its opsets and local functions.

    Returns
    -------
    int
        Convolution: output elements x weights per output. Product: M x N x K. Recurrent net: steps x batch
        x weights. Einsum: operands are multiplied from left to right, each sum taken as soon as nobody else
        reads its index. Attention: queries x keys, and what they weigh x values. If: the larger branch. Loop
        and Scan: one pass, since only a run knows how many; within these, nodes whose shapes change from pass
        to pass count as none. Other operators: none.

    Raises
    ------
    ProblemError
        A node cannot be expanded, or an Einsum's equation does not fit its operands.
    """
    local = {(function.domain, function.name) for function in model.functions}
    if (node.domain, node.op_type) not in local and not any(True for _ in bodies(node)):
        return _plain_macs(node, shapes)
    graph = _expanded(node, shapes, model)
    return _nodes_macs(graph, {}) if graph is not None else 0


def _expanded(node: Any, shapes: Mapping[str, Shaped], model: Any) -> Any:
    """Return one node as a graph of its own, functions expanded and shapes inferred in every body."""
    alone = onnx.ModelProto(ir_version=max(model.ir_version, 8))
    alone.opset_import.extend(model.opset_import)
    alone.functions.extend(model.functions)
    alone.graph.name = "alone"
    alone.graph.node.append(node)
    for name, (shape, dtype) in shapes.items():
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(onnx.helper.np.dtype(dtype))
        alone.graph.input.append(onnx.helper.make_tensor_value_info(name, elem_type, shape))
    alone.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
    try:
        return onnx.shape_inference.infer_shapes(inliner.inline_local_functions(alone), data_prop=True).graph
    except (RuntimeError, ValueError, IndexError, DecodeError) as error:
        raise ProblemError(f"{node.op_type} {node.name!r} cannot be expanded: {error}") from error


def _nodes_macs(graph: Any, outer: Mapping[str, Shaped]) -> int:
    """Sum the MACs of a graph whose shapes were inferred; what has no concrete shape counts as none."""
    shapes = dict(outer)
    for values in (graph.input, graph.value_info, graph.output):
        for value in values:
            if (shaped := concrete_shape(value)) is not None:
                shapes[value.name] = shaped
    for tensor in graph.initializer:
        shapes[tensor.name] = (tuple(tensor.dims), "")
    total = 0
    for node in graph.node:
        inner = [_nodes_macs(body, shapes) for body in bodies(node)]
        if inner:
            total += max(inner)
        elif all(name in shapes for name in (*node.input, *node.output) if name):
            total += _plain_macs(node, shapes)
    return total


def _plain_macs(node: Any, shapes: Mapping[str, Shaped]) -> int:
    """Count the MACs of a node without bodies from its operands' shapes."""
    kind = node.op_type

    def shape(names: Sequence[str], position: int) -> tuple[int, ...]:
        return shapes[names[position]][0]

    def flag(name: str) -> int:
        return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)

    if kind in _CONV_WEIGHTS:
        # Weights are [outputs, inputs / groups, kernel...].
        return math.prod(shape(node.output, 0)) * math.prod(shape(node.input, _CONV_WEIGHTS[kind])[1:])
    if kind == "ConvTranspose":
        # Weights are [inputs, outputs / groups, kernel...]: every input element meets all but the first.
        return math.prod(shape(node.input, 0)) * math.prod(shape(node.input, 1)[1:])
    if kind in _MATMUL_LEFT or kind in _GEMM_LEFT:
        left = shape(node.input, 0)
        depth = left[-2] if flag("transA") and len(left) > 1 else left[-1]
        return math.prod(shape(node.output, 0)) * depth
    if kind == "Einsum":
        equation = next((a.s.decode(errors="replace") for a in node.attribute if a.name == "equation"), "")
        try:
            return _einsum_macs(equation, [shape(node.input, i) for i in range(len(node.input))])
        except ValueError:
            raise ProblemError(f"Einsum {node.name!r}: {equation!r} does not fit its operands") from None
    if kind == "Attention" and node.domain in ("", "ai.onnx"):
        # Keys are [..., length, size], after those of the past; heads and their sizes are in queries and output.
        past = shape(node.input, 4)[-2] if len(node.input) > 4 and node.input[4] else 0
        weighed = shapes.get(node.output[0], ((0,), ""))[0]
        return (past + shape(node.input, 1)[-2]) * (math.prod(shape(node.input, 0)) + math.prod(weighed))
    if kind == "MatMulNBits":
        return math.prod(shape(node.output, 0)) * flag("K")
    if kind in _RECURRENT:
        first, second, _ = shape(node.input, 0)  # steps and batch, in either layout
        return first * second * (math.prod(shape(node.input, 1)) + math.prod(shape(node.input, 2)))
    return 0


def _einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """Count what multiplying the operands from left to right takes; a product of which nothing is summed takes none."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_indices(term, len(shape)) for term, shape in zip(left.split(","), shapes, strict=True)]
    size: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, length in zip(term, shape, strict=True):
            size[index] = max(length, size.get(index, 1))  # a length of 1 is repeated
    every = [index for term in terms for index in term]
    # Without an arrow: the indices that stand once, and those of the dots.
    wanted = (
        {*right, *(i for i in size if "..." in i)} if arrow else {i for i in size if every.count(i) == 1 or "." in i}
    )
    macs, have = 0, set(terms[0])
    for number, term in enumerate(terms[1:], 1):
        have |= set(term)
        kept = have & wanted.union(*terms[number + 1 :])
        if kept != have:
            macs += math.prod(size[index] for index in have)
        have = kept
    return macs


def _indices(term: str, rank: int) -> list[str]:
    """Name the dimensions of an Einsum's operand; those of the dots are counted from the last."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{place}" for place in range(hidden, 0, -1)), *after]
