"""Opens a .tflite file without changing it, and refuses at the door what does not hold together."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from placer.errors import ProblemError
from placer.models.graph import DTYPE_BYTES
from placer.models.tflite_check import check_calls, check_order
from placer.models.tflite_layout import enum_names, layout, schema
from placer.models.tflite_model import (
    TfliteFile,
    TfliteOperator,
    TfliteSubgraph,
    TfliteTensor,
    called,
    integers,
)
from placer.models.tflite_sizes import answer_shapes
from placer.models.tflite_verify import verify

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import numpy.typing as npt

# A tensor's buffer lies at this offset of the file or later; 0 and 1 say that it is inside the flatbuffer.
_FIRST_OUTSIDE = 2


def load_tflite(path: str | Path) -> TfliteFile:
    """Read a .tflite file; operators that ask for a known shape make constants of it.

    Raises
    ------
    ProblemError
        The file is missing, no TFLite model, damaged, keeps weights in other files, or contradicts itself; or the
        reader (LiteRT's schema) is not installed.
    """
    names = schema()
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ProblemError(f"{file}: cannot read the model file: {error.strerror}") from error
    try:
        verify(content, layout())
        model = names.ModelT.InitFromPackedBuf(content, 0)
        if model.externalBuffers or model.externalBufferGroups:
            raise ProblemError("its weights are in other files; convert it to a single file")
        buffers = tuple(_buffer(content, index, buffer) for index, buffer in enumerate(model.buffers or ()))
        subgraphs = tuple(_subgraph(content, model, graph, buffers) for graph in model.subgraphs or ())
        check_calls(subgraphs)
    except ProblemError as error:
        raise ProblemError(f"{file}: {error}") from error
    except (struct.error, ValueError, TypeError) as error:
        raise ProblemError(f"{file}: a damaged TFLite model ({len(content)} bytes): {error}") from error
    return answer_shapes(
        TfliteFile(
            path=str(path),
            sha256=hashlib.sha256(content).hexdigest(),
            subgraphs=subgraphs,
            buffers=buffers,
            model=model,
        )
    )


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")


def _outside(content: bytes, what: str, offset: int, size: int) -> npt.NDArray[np.uint8]:
    """Return bytes that stand behind the flatbuffer, which large files use."""
    if offset + size > len(content):
        raise ProblemError(f"{what} is at bytes {offset} to {offset + size}, the file has {len(content)}")
    return np.frombuffer(content, np.uint8, size, offset)


def _buffer(content: bytes, index: int, buffer: Any) -> npt.NDArray[np.uint8]:
    if buffer.offset >= _FIRST_OUTSIDE:
        return _outside(content, f"buffer {index}", buffer.offset, buffer.size)
    return np.empty(0, np.uint8) if buffer.data is None else np.asarray(buffer.data, np.uint8)


def _subgraph(
    content: bytes, model: Any, graph: Any, buffers: Sequence[npt.NDArray[np.uint8]]
) -> TfliteSubgraph:  # fmt: skip
    types = enum_names(schema().TensorType)
    taken: set[str] = set()
    tensors = []
    for index, tensor in enumerate(graph.tensors or ()):
        name = _text(tensor.name)
        while not name or name in taken:
            name = f"{name}#{index}"
        taken.add(name)
        tensors.append(_tensor(tensor, name, types, buffers))
    made = TfliteSubgraph(
        tensors=tuple(tensors),
        operators=tuple(_operator(content, model, operator) for operator in graph.operators or ()),
        inputs=integers(graph.inputs),
        outputs=integers(graph.outputs),
        source=graph,
    )
    check_order(made)
    return made


def _tensor(
    tensor: Any, name: str, types: Mapping[int, str], buffers: Sequence[npt.NDArray[np.uint8]]
) -> TfliteTensor:  # fmt: skip
    if tensor.type not in types:
        raise ProblemError(f"tensor {name!r} has the unknown type {tensor.type}")
    if not 0 <= tensor.buffer < max(1, len(buffers)):
        raise ProblemError(f"tensor {name!r} is in buffer {tensor.buffer}; the file has {len(buffers)}")
    stored = len(buffers[tensor.buffer]) if buffers else 0
    made = TfliteTensor(
        name=name,
        shape=integers(tensor.shape),
        dtype=types[tensor.type].lower(),
        is_open=any(dim < 0 for dim in integers(tensor.shapeSignature)),
        is_variable=bool(tensor.isVariable),
        buffer=tensor.buffer if stored else 0,
    )
    if any(dim < 0 for dim in made.shape):
        raise ProblemError(f"tensor {name!r} has a negative dimension: {list(made.shape)}")
    if stored and made.dtype in DTYPE_BYTES and tensor.sparsity is None and stored != made.bytes:
        raise ProblemError(
            f"tensor {name!r}: {made.dtype} {list(made.shape)} is {made.bytes} bytes, but its buffer has {stored}"
        )
    return made


def _operator(content: bytes, model: Any, operator: Any) -> TfliteOperator:
    codes = model.operatorCodes or ()
    if not 0 <= operator.opcodeIndex < len(codes):
        raise ProblemError(f"an operator is of code {operator.opcodeIndex}; the file has {len(codes)}")
    code = codes[operator.opcodeIndex]
    # Old files have the code in the deprecated one-byte field, new ones in both or in the wide one.
    value = max(code.builtinCode, code.deprecatedBuiltinCode)
    kinds = enum_names(schema().BuiltinOperator)
    if value not in kinds:
        raise ProblemError(
            f"operator {value} is unknown to the installed LiteRT; a newer one may know it: "
            "pip install --upgrade ai-edge-litert"
        )
    is_custom = kinds[value] == "CUSTOM"
    kind = _text(code.customCode) or kinds[value] if is_custom else kinds[value]
    if operator.largeCustomOptionsOffset >= _FIRST_OUTSIDE:
        # Kept in the table, where a part has it too.
        offset, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
        operator.customOptions = _outside(content, f"the options of a {kind}", offset, size)
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    options = operator.builtinOptions or operator.builtinOptions2
    # Options of another operator are none at all, to LiteRT too.
    state: Hashable = None
    if kind == "VAR_HANDLE":
        state = (kind, getattr(options, "container", None), getattr(options, "sharedName", None))
    elif kind == "HASHTABLE":
        state = (kind, getattr(options, "tableId", None))
    return TfliteOperator(
        kind=kind,
        is_custom=is_custom,
        inputs=integers(operator.inputs),
        outputs=integers(operator.outputs),
        calls=tuple(index for _, indices in called(options) for index in indices),
        state=state,
        options=options,
        source=operator,
    )
