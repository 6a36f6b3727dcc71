"""The one converter between numpy arrays and tensors of the Open Inference Protocol.

Raw contents are always sent: typed ones are some thirty times slower. Both are read. Whatever a foreign
client sends is compared with the exact type and shape that is expected before a byte of it is used.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from runtimes.datatypes import DATATYPES
from runtimes.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runtimes.specs import TensorSpec
    from runtimes.wire import Buffer

    Array = np.ndarray[Any, np.dtype[Any]]

_TYPED_FIELD = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_LENGTH = struct.Struct("<I")
_ALIGNMENT_BYTES = 16
# Below this size a copy costs less than a view.
_SMALL_BYTES = 1 << 12

NOT_TAKEN = "placer.not_taken"
"""The parameter of a reply that names the outputs which a condition kept from being made, one a line."""


def encode(arrays: Mapping[str, Array], specs: Iterable[TensorSpec], tensors: Any, raw: Any) -> None:
    """Append arrays to a message; parameters and errors as for ``lay_out``, and ``raw`` its raw contents."""
    raw.extend(map(bytes, lay_out(arrays, specs, tensors)))


def lay_out(arrays: Mapping[str, Array], specs: Iterable[TensorSpec], tensors: Any) -> list[Buffer]:
    """Describe arrays in a message, and give their raw contents, which are views of the arrays where that is possible.

    Parameters
    ----------
    arrays
        The arrays by tensor name.
    specs
        Which of them to take, in this order, and as what.
    tensors
        The message's repeated field, ``inputs`` or ``outputs``.

    Raises
    ------
    BadRequest
        If an array is missing or is not what its spec says.
    """
    raw: list[Buffer] = []
    for spec in specs:
        raw.append(contents_of(arrays, spec))
        tensors.add(name=spec.name, datatype=spec.dtype, shape=spec.shape)
    return raw


def contents_of(arrays: Mapping[str, Array], spec: TensorSpec) -> Buffer:
    """Give the raw contents of one of the arrays, if it is what its spec says; else as ``lay_out``."""
    array = arrays.get(spec.name)
    if array is None:
        raise BadRequest(f"tensor {spec.name!r} is missing; given are {sorted(arrays)}")
    dtype = DATATYPES[spec.dtype]
    if array.dtype != dtype or array.shape != spec.shape:
        raise BadRequest(
            f"tensor {spec.name!r} is {array.dtype}{list(array.shape)}; "
            f"{spec.dtype} ({dtype}){list(spec.shape)} is expected"
        )
    return _buffer_of(array)


def encode_result(arrays: Mapping[str, Array], specs: Iterable[TensorSpec], reply: Any) -> None:
    """Fill a reply with a result; parameters and errors as for ``lay_out_result``."""
    reply.raw_output_contents.extend(map(bytes, lay_out_result(arrays, specs, reply)))


def lay_out_result(arrays: Mapping[str, Array], specs: Iterable[TensorSpec], reply: Any) -> list[Buffer]:
    """Describe a result in a reply, and give its raw contents.

    Outputs that are not in the result were not taken, and the reply's parameters say so.

    Parameters
    ----------
    arrays
        The result, by name.
    specs
        The outputs that are asked for.
    reply
        A ModelInferResponse.

    Raises
    ------
    BadRequest
        As ``lay_out`` does.
    """
    asked = list(specs)
    raw = lay_out(arrays, (s for s in asked if s.name in arrays), reply.outputs)
    if missing := [s.name for s in asked if s.name not in arrays]:
        reply.parameters[NOT_TAKEN].string_param = "\n".join(missing)
    return raw


def decode(tensors: Sequence[Any], raw: Sequence[Buffer], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Read the tensors of a message.

    Parameters
    ----------
    tensors, raw
        The message's descriptions, and its raw contents.
    specs
        The tensors that may occur, by name.

    Returns
    -------
    dict
        Read-only arrays by tensor name, exactly of the spec's type and shape; some of ``specs`` may lack.

    Raises
    ------
    BadRequest
        If a tensor is unknown, given twice, of another type, rank or shape, or its contents do not fit.
    """
    if raw and any(tensor.HasField("contents") for tensor in tensors):
        typed = [tensor.name for tensor in tensors if tensor.HasField("contents")]
        raise BadRequest(f"tensors {typed} have typed contents beside raw ones; send one kind")
    if raw and len(raw) != len(tensors):
        raise BadRequest(f"{len(raw)} raw buffers for {len(tensors)} tensors; send one for each")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(tensors):
        # Each access of a message's field makes a new object.
        name = tensor.name
        spec = specs.get(name)
        if spec is None:
            raise BadRequest(f"tensor {name[:200]!r} is unknown; expected are {sorted(specs)}")
        if name in arrays:
            raise BadRequest(f"tensor {name!r} is given twice")
        if tensor.datatype != spec.dtype:
            raise BadRequest(f"tensor {name!r} has datatype {tensor.datatype[:40]!r}; {spec.dtype!r} is expected")
        if tuple(tensor.shape) != spec.shape:
            raise BadRequest(f"tensor {name!r} has shape {list(tensor.shape[:16])}; {list(spec.shape)} is expected")
        arrays[spec.name] = of_raw(raw[index], spec) if raw else _of_typed(tensor, spec)
    return arrays


def require_all(arrays: Mapping[str, Array], specs: Iterable[TensorSpec]) -> None:
    """Check that every tensor of ``specs`` is there.

    Raises
    ------
    BadRequest
        If one is not.
    """
    if missing := [spec.name for spec in specs if spec.name not in arrays]:
        raise BadRequest(f"tensors {missing} are missing; given are {sorted(arrays)}")


def size_bytes(arrays: Iterable[Array]) -> int:
    """Bytes of the tensors' contents."""
    return sum(_bytes_size(a) if a.dtype.kind == "O" else a.nbytes for a in arrays)


def zeros(spec: TensorSpec) -> Array:
    """Make the synthetic tensor that warms a segment up: zeros, or empty strings."""
    dtype = DATATYPES[spec.dtype]
    return np.full(spec.shape, b"", dtype) if dtype.kind == "O" else np.zeros(spec.shape, dtype)


def raw_of(array: Array) -> bytes:
    """Give an array's raw contents as the protocol has them."""
    if array.dtype.kind != "O":
        return array.tobytes()
    items = (item if isinstance(item, bytes) else str(item).encode() for item in array.flat)
    return b"".join(_LENGTH.pack(len(item)) + item for item in items)


def _buffer_of(array: Array) -> Buffer:
    if array.dtype.kind == "O" or array.nbytes < _SMALL_BYTES:
        return raw_of(array)
    # As bytes of one dimension, which arrays of no elements have too.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def of_raw(buffer: Buffer, spec: TensorSpec) -> Array:
    """Read raw contents, as a read-only array over them.

    Raises
    ------
    BadRequest
        If they are not of the spec's size.
    """
    if spec.dtype == "BYTES":
        return _of_strings(_split(buffer, spec), spec)
    if len(buffer) != spec.bytes:
        raise BadRequest(
            f"tensor {spec.name!r} has {len(buffer)} raw bytes; {spec.dtype}{list(spec.shape)} takes {spec.bytes}"
        )
    return np.frombuffer(buffer, DATATYPES[spec.dtype]).reshape(spec.shape)


def aligned(array: Array) -> Array:
    """Give an array that an executor may read in place: itself, or a copy at an aligned address.

    A foreign client's tensor lies where its message's other fields let it; small ones were copied out of it.
    """
    return array.copy() if array.nbytes > _SMALL_BYTES and array.ctypes.data % _ALIGNMENT_BYTES else array


def _split(buffer: Buffer, spec: TensorSpec) -> list[bytes]:
    """Cut a BYTES buffer into its elements, each led by its length in four bytes, little-endian."""
    items: list[bytes] = []
    at = 0
    while at < len(buffer):
        if len(items) == spec.elements or len(buffer) - at < _LENGTH.size:
            raise BadRequest(
                f"tensor {spec.name!r} has bytes left over after {len(items)} elements; {spec.elements} are expected"
            )
        (length,) = _LENGTH.unpack_from(buffer, at)
        at += _LENGTH.size
        if length > len(buffer) - at:
            raise BadRequest(
                f"tensor {spec.name!r}: element {len(items)} is said to have {length} bytes, "
                f"{len(buffer) - at} are left"
            )
        items.append(bytes(buffer[at : at + length]))
        at += length
    return items


def _of_typed(tensor: Any, spec: TensorSpec) -> Array:
    field = _TYPED_FIELD.get(spec.dtype)
    if field is None:
        raise BadRequest(f"tensor {spec.name!r} is {spec.dtype}, which has no typed contents; send it raw")
    others = [f.name for f, _ in tensor.contents.ListFields() if f.name != field]
    if others:
        raise BadRequest(f"tensor {spec.name!r} is {spec.dtype} but has {others}; {field} is expected")
    values = getattr(tensor.contents, field)
    if len(values) != spec.elements:
        raise BadRequest(
            f"tensor {spec.name!r} has {len(values)} values in {field}; {list(spec.shape)} takes {spec.elements}"
        )
    if spec.dtype == "BYTES":
        return _of_strings(list(values), spec)
    dtype = DATATYPES[spec.dtype]
    wide = np.array(values, dtype=np.int64) if dtype.kind in "iu" and dtype.itemsize < 8 else None
    if wide is not None and wide.size:
        limits = np.iinfo(dtype)
        if wide.min() < limits.min or wide.max() > limits.max:
            raise BadRequest(f"tensor {spec.name!r} has values outside {spec.dtype}: {wide.min()} to {wide.max()}")
    return np.array(values, dtype=dtype).reshape(spec.shape)


def _of_strings(items: list[bytes], spec: TensorSpec) -> Array:
    if len(items) != math.prod(spec.shape):
        raise BadRequest(f"tensor {spec.name!r} has {len(items)} elements; {list(spec.shape)} takes {spec.elements}")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(spec.shape)


def _bytes_size(array: Array) -> int:
    return sum(_LENGTH.size + len(item) for item in array.flat)
