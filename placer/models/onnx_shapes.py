"""Finds the concrete shape and dtype of every tensor of an ONNX model, or says which one has none and why."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import onnx

from placer.errors import ProblemError, UnboundInputError
from placer.models.graph import Tensor
from placer.models.onnx_run import onnx_runtime, open_session, synthetic_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.onnx_nodes import OnnxNodes

# Shape inference looks into constants only for shapes, axes and the like; weights would only be copied.
_SMALL_CONSTANT_ELEMENTS = 1024

# By definition these answer with as many elements as the data has it.
_COUNTING = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress"})

Shaped = tuple[tuple[int, ...], str]


def dtype_name(elem_type: int) -> str:
    """Return numpy's name of an ONNX element type ("float32"); ONNX's own for what numpy has not.

    Raises
    ------
    ProblemError
        There is no such type.
    """
    if elem_type == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type).name)
    except KeyError:
        raise ProblemError(f"a damaged ONNX model: there is no element type {elem_type}") from None


def bound_inputs(path: str, nodes: OnnxNodes, bindings: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the concrete shape of every model input.

    A symbolic dimension that one input's binding fixes is fixed in the other inputs too.

    Raises
    ------
    ProblemError
        A binding names no input, or contradicts the file or another binding.
    UnboundInputError
        A dimension stays open.
    """
    known = {value.name: value for value in nodes.inputs}
    for name in bindings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ProblemError(f"{path}: there is no input {name!r} to bind; it has {sorted(known)}{hint}")
    symbols: dict[str, int] = {}
    for name, shape in bindings.items():
        dims = _dims(path, known[name])
        if dims is None:
            continue
        if len(dims) != len(shape):
            raise ProblemError(f"{path}: input {name!r} has {len(dims)} dimensions {dims}, not {list(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            expected = symbols.setdefault(dim, size) if isinstance(dim, str) and dim != "?" else dim
            if isinstance(size, bool) or size < 1 or expected not in (size, "?"):
                raise ProblemError(
                    f"{path}: input {name!r} cannot be {list(shape)}: it is declared as {dims}"
                    + (f", and {dim!r} is {expected} already" if isinstance(dim, str) and size >= 1 else "")
                )
    shapes = {}
    for name, value in known.items():
        dims = list(bindings[name]) if name in bindings else _dims(path, value)
        if dims is None:
            raise UnboundInputError(f"{path}: input {name!r} has no shape", name, (1, 3, 224, 224))
        solved = [symbols.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]
        for axis, dim in enumerate(solved):
            if isinstance(dim, str):
                raise UnboundInputError(
                    f"{path}: input {name!r} has the dynamic dimension {dim!r} (axis {axis} of {list(dims)})",
                    name,
                    tuple(1 if isinstance(size, str) else size for size in solved),
                )
        shapes[name] = tuple(int(dim) for dim in solved)
    return shapes


def _dims(path: str, value: Any) -> list[int | str] | None:
    """Return the declared dimensions of an input; a symbol's name or "?" where they are open."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ProblemError(f"{path}: input {value.name!r} is a {kind or 'value of no type'}, not a tensor")
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    ]


def infer_shapes(
    path: str, model: Any, nodes: OnnxNodes, input_shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Shaped]:
    """Return shape and dtype of every value that the ops read or make, the constants that are kept for them included.

    ONNX's shape inference answers first; what it leaves open is read off two runs of the whole model in
    ONNX Runtime with different synthetic inputs.

    Raises
    ------
    ProblemError
        A tensor's shape stays unknown, depends on the data, or the value is no tensor.
    """
    inferred = inferred_values(model, nodes, input_shapes)
    found: dict[str, Shaped] = {}
    missing: dict[str, str] = {}
    live = {value.name for value in model.graph.output} | {name for reads in nodes.reads for name in reads}
    for name in input_shapes:
        missing[name] = "the input"
    for op_name, node, node_reads in zip(nodes.names, nodes.nodes, nodes.reads, strict=True):
        for name in (*node_reads, *nodes.stored(node_reads), *(output for output in node.output if output in live)):
            missing.setdefault(name, f"op {op_name!r} ({node.op_type})")
    for name, tensor in nodes.initializers.items():
        found[name] = (tuple(tensor.dims), dtype_name(tensor.data_type))
    for name, whose in missing.items():
        kind = inferred[name].type.WhichOneof("value") if name in inferred else None
        if kind not in (None, "tensor_type"):
            raise ProblemError(
                f"{path}: {whose}: {name!r} is a {kind.removesuffix('_type')}, not a tensor; a model that "
                "passes such values between its ops cannot be placed op by op"
            )
        shaped = concrete_shape(inferred.get(name))
        if shaped is not None:
            found.setdefault(name, shaped)
    unknown = {name: whose for name, whose in missing.items() if name not in found}
    for op_name, node in zip(nodes.names, nodes.nodes, strict=True):
        for name in node.output:
            if node.op_type in _COUNTING and name in unknown:
                raise ProblemError(
                    f"{path}: op {op_name!r} ({node.op_type}): the shape of {name!r} depends on the data; "
                    "such a model cannot be placed op by op"
                )
    if unknown:
        found.update(_run_shapes(path, model, nodes, input_shapes, unknown))
    return found


def inferred_values(model: Any, nodes: OnnxNodes, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return a ValueInfoProto of every value of a model that ONNX's shape inference, or the file, describes.

    Inference runs on a copy without weights, in which the inputs are bound.
    """
    graph = model.graph
    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    skeleton.graph.name = graph.name
    skeleton.graph.node.extend(graph.node)
    for value in nodes.inputs:
        elem_type = value.type.tensor_type.elem_type
        skeleton.graph.input.append(onnx.helper.make_tensor_value_info(value.name, elem_type, input_shapes[value.name]))
    for tensor in graph.initializer:
        if len(tensor.dims) <= 1 and sum(tensor.dims) <= _SMALL_CONSTANT_ELEMENTS:
            skeleton.graph.initializer.append(tensor)
        else:
            skeleton.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for value in graph.output:
        # Declared output shapes keep their symbols even where inference knows better: leave them out.
        skeleton.graph.output.append(onnx.ValueInfoProto(name=value.name))
    try:
        result = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception:  # any failure here only means that the run has to answer
        result = skeleton
    declared = {value.name: value for value in (*graph.value_info, *graph.output)}
    # An input that is returned stands among the outputs too, where it is of no type.
    inferred = {
        value.name: value
        for values in (result.graph.output, result.graph.value_info, result.graph.input)
        for value in values
        if value.type.WhichOneof("value")
    }
    # What the file itself declares helps with custom operators, but only where inference is silent.
    return {**declared, **inferred}


def concrete_shape(value: Any) -> Shaped | None:
    """Return shape and dtype of a ValueInfoProto; None unless every dimension is a number."""
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    if not value.type.tensor_type.elem_type or not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims), dtype_name(value.type.tensor_type.elem_type)


def _run_shapes(
    path: str,
    model: Any,
    nodes: OnnxNodes,
    input_shapes: Mapping[str, tuple[int, ...]],
    unknown: Mapping[str, str],
) -> dict[str, Shaped]:
    """Read the shapes of the unknown tensors off two runs of the whole model."""
    first, whose = next(iter(unknown.items()))
    try:
        onnx_runtime()
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        present = {value.name for value in probe.graph.output}
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown if name not in present)
        session = open_session(probe.SerializeToString(), threads=1, optimize=False)
        fed = tuple(
            Tensor.dense(value.name, input_shapes[value.name], dtype_name(value.type.tensor_type.elem_type))
            for value in nodes.inputs
        )
        runs = [session.run(list(unknown), synthetic_inputs(fed, seed)) for seed in (0, 1)]
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ProblemError(
            f"{path}: {whose}: the shape of {first!r} is unknown: shape inference leaves it open, and running "
            f"the model on synthetic input failed: {error}"
        ) from error
    found: dict[str, Shaped] = {}
    for name, one, other in zip(unknown, *runs, strict=True):
        if not hasattr(one, "shape") or not hasattr(other, "shape"):
            raise ProblemError(f"{path}: {unknown[name]}: {name!r} is a {type(one).__name__}, not a tensor")
        if one.shape != other.shape:
            raise ProblemError(
                f"{path}: {unknown[name]}: the shape of {name!r} depends on the data: {list(one.shape)} in one "
                f"run, {list(other.shape)} in the next; such a model cannot be placed op by op"
            )
        found[name] = (tuple(int(dim) for dim in one.shape), "string" if one.dtype == object else one.dtype.name)
    return found
