"""Reads a .tflite file as a ModelGraph of one op: such models are placed whole."""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from placer.graph import DTYPE_BYTES, ModelGraph, Op, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

# FlatBuffers file identifier of the format, at bytes 4 to 8.
_IDENTIFIER = b"TFL3"
_NUMERIC = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "uint8": "int8"}


def read_tflite(path: str | Path) -> ModelGraph:
    """Read a TFLite model.

    Shapes are those the file states; a dynamic dimension has the size which the file gives as default.

    Parameters
    ----------
    path
        The .tflite file.

    Raises
    ------
    ProblemError
        The file is missing, no TFLite model or a damaged one, or the reader (LiteRT's schema) is not installed.
    """
    schema = _schema()
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ProblemError(f"{file}: cannot read the model file: {error.strerror}") from error
    if content[4:8] != _IDENTIFIER:
        raise ProblemError(f"{file}: not a TFLite model: bytes 4 to 8 are {content[4:8]!r}, not {_IDENTIFIER!r}")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        main = model.subgraphs[0]
        inputs = tuple(_tensor(main.tensors[index], schema) for index in main.inputs)
        outputs = tuple(_tensor(main.tensors[index], schema) for index in main.outputs)
        macs = _macs(model, main, schema)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ProblemError(f"{file}: a damaged TFLite model ({len(content)} bytes): {error}") from error
    except ProblemError as error:
        raise ProblemError(f"{file}: {error}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    weights = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    boundary = {tensor.name: tensor for tensor in (*inputs, *outputs)}
    made = [tensor for tensor in outputs if tensor.name not in {given.name for given in inputs}]
    op = Op(
        name=file.stem,
        type="tflite",
        macs=sum(macs.values()),
        weights_bytes=weights,
        weights_id=sha256[:16] if weights else "",
        inputs=tuple(dict.fromkeys(tensor.name for tensor in inputs)),
        outputs=tuple(dict.fromkeys(tensor.name for tensor in made)),
        workspace_bytes=_workspace_bytes(main, schema),
    )
    dtype = max(sorted(macs), key=lambda name: macs[name]) if macs else (*outputs, *inputs)[0].dtype
    return ModelGraph(
        name=file.stem,
        format="tflite",
        path=str(path),
        sha256=sha256,
        numeric=_NUMERIC.get(dtype, dtype),
        inputs=inputs,
        outputs=outputs,
        ops=(op,),
        tensors=boundary,
    )


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ProblemError(
            "reading a .tflite model needs LiteRT; install it: pip install 'placer-joules[tflite]'"
        ) from error
    return schema_py_generated


def _dtype(tensor: Any, schema: Any) -> str:
    for name, value in vars(schema.TensorType).items():
        if value == tensor.type and name.isupper():
            return str(name).lower()
    raise ProblemError(f"tensor {tensor.name!r} has the unknown type {tensor.type}")


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(dim) for dim in tensor.shape)


def _tensor(tensor: Any, schema: Any) -> Tensor:
    return Tensor.dense(tensor.name.decode(), _shape(tensor), _dtype(tensor, schema))


def _macs(model: Any, main: Any, schema: Any) -> Counter[str]:
    """Count the MACs of the main subgraph by the dtype they produce."""
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    counted: Counter[str] = Counter()
    for operator in main.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Old files have the code in the deprecated one-byte field, new ones in both or in the wide one.
        kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
        tensors = [main.tensors[index] if index >= 0 else None for index in operator.inputs]
        output = main.tensors[operator.outputs[0]] if len(operator.outputs) else None
        macs = _operator_macs(kind, tensors, output, operator.builtinOptions)
        if macs:
            counted[_dtype(output, schema)] += macs
    return counted


def _operator_macs(kind: str, inputs: Sequence[Any], output: Any, options: Any) -> int:
    """Count the MACs of one operator; weights are laid out as LiteRT's kernels read them."""
    if kind in ("CONV_2D", "FULLY_CONNECTED"):  # [outputs, height, width, inputs / groups], [outputs, inputs]
        return math.prod(_shape(output)) * math.prod(_shape(inputs[1])[1:])
    if kind == "DEPTHWISE_CONV_2D":  # [1, height, width, outputs]
        return math.prod(_shape(output)) * math.prod(_shape(inputs[1])[1:3])
    if kind == "CONV_3D":  # [depth, height, width, inputs, outputs]
        return math.prod(_shape(output)) * math.prod(_shape(inputs[1])[:4])
    if kind == "TRANSPOSE_CONV":  # inputs are the output's shape, [outputs, height, width, inputs], the data
        return math.prod(_shape(inputs[2])) * math.prod(_shape(inputs[1])[:3])
    if kind == "BATCH_MATMUL":
        left = _shape(inputs[0])
        return math.prod(_shape(output)) * left[-2 if options is not None and options.adjX else -1]
    return 0


def _workspace_bytes(main: Any, schema: Any) -> int:
    """Return the most bytes that the inputs and outputs of one operator take, the model's own included."""
    variable = {index for operator in main.operators for index in operator.outputs} | set(main.inputs)

    def size(indices: Sequence[int]) -> int:
        tensors = [main.tensors[index] for index in indices if index in variable]
        return sum(math.prod(_shape(tensor)) * DTYPE_BYTES.get(_dtype(tensor, schema), 8) for tensor in tensors)

    steps = [size([*operator.inputs, *operator.outputs]) for operator in main.operators]
    return max([*steps, size([*main.inputs, *main.outputs])])
