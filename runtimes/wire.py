"""Reads and writes ModelInfer messages with their raw tensors left where they are.

protobuf copies a tensor's bytes into its message, out of it and into the wire's buffer: three times what one hop at
8 MB has to move. A message is its fields one after the other, so the large ones can be cut out of the received
buffer, or joined with the rest, without it. Small messages are read by protobuf alone, which is quicker there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.varint import read_varint

if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffer = bytes | memoryview

# Below this size copying costs less than looking at each field in Python.
_SMALL_BYTES = 1 << 16
# A message with more fields than a request has is a stranger's: protobuf reads it, which is quick.
_MOST_FIELDS = 4096
_REQUEST_RAW = oip.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_REPLY_RAW = oip.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
# Executors read tensors in place, at addresses that are multiples of this.
_ALIGNMENT_BYTES = 16
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5


class Packed:
    """A message and its raw tensors beside it.

    Parameters
    ----------
    rest
        The message without its raw contents.
    raw
        Those contents, one buffer for each tensor.
    """

    __slots__ = ("raw", "rest")

    def __init__(self, rest: Any, raw: Sequence[Buffer] = ()) -> None:
        self.rest = rest
        self.raw = raw

    def whole(self) -> Any:
        """Give the message with its contents inside."""
        field = "raw_input_contents" if isinstance(self.rest, oip.ModelInferRequest) else "raw_output_contents"
        getattr(self.rest, field).extend(map(bytes, self.raw))
        return self.rest


def write_request(packed: Packed) -> bytes:
    """Write a request for another agent, each tensor at an aligned place."""
    return _write(packed, _REQUEST_RAW, aligned=True)


def write_reply(packed: Packed) -> bytes:
    """Write a reply."""
    return _write(packed, _REPLY_RAW, aligned=False)


def read_request(data: bytes) -> Packed:
    """Read a request.

    Raises
    ------
    google.protobuf.message.DecodeError
        If these bytes are none.
    """
    if len(data) < _SMALL_BYTES or (parts := _cut(data, _REQUEST_RAW)) is None:
        message = oip.ModelInferRequest.FromString(data)
        return Packed(message, message.raw_input_contents)
    rest, raw = parts
    return Packed(oip.ModelInferRequest.FromString(rest), raw)


def _write(packed: Packed, number: int, *, aligned: bool) -> bytes:
    parts: list[Buffer] = [packed.rest.SerializeToString()]
    at = len(parts[0])
    tag = _varint(number << 3 | _SIZED)
    for buffer in packed.raw:
        head = tag + _varint(len(buffer))
        if aligned and len(buffer) >= _SMALL_BYTES:
            # One byte says how long the filler is, which is short.
            missing = -(at + len(_FILLER_TAG) + 1 + len(head)) % _ALIGNMENT_BYTES
            head = _FILLER_TAG + _varint(missing) + bytes(missing) + head
        parts += [head, buffer]
        at += len(head) + len(buffer)
    return b"".join(parts)


def _cut(data: bytes, number: int) -> tuple[bytes, list[memoryview]] | None:
    """Cut the raw contents out of a message; None if it is not plain enough for that."""
    view = memoryview(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    at = kept = 0
    try:
        for _ in range(_MOST_FIELDS):
            if at == len(data):
                rest.append(view[kept:])
                return b"".join(rest), raw
            begin = at
            tag, at = read_varint(data, at)
            form = tag & 7
            if form == _VARINT:
                _, at = read_varint(data, at)
                continue
            size = {_FIXED64: 8, _FIXED32: 4}.get(form)
            if form == _SIZED:
                size, at = read_varint(data, at)
            if size is None or at + size > len(data):
                return None
            if form == _SIZED and tag >> 3 == number:
                rest.append(view[kept:begin])
                raw.append(view[at : at + size])
                kept = at + size
            at += size
    except IndexError:
        pass
    return None


def _varint(value: int) -> bytes:
    if value <= 0x7F:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# Numbers from 19000 to 19999 are protobuf's own, so no message has this field and every reader skips it.
_FILLER_TAG = _varint(19000 << 3 | _SIZED)
