"""Reads and writes ModelInfer messages with their raw tensors left where they are.

protobuf copies a tensor's bytes into its message, out of it and into the wire's buffer: three times what one hop at
8 MB has to move. A message is its fields one after the other, so the large ones can be cut out of the received
buffer, or joined with the rest, without it. And what a client's requests and their replies have in common, all but
ids and contents, is read and written once for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from runtimes.errors import BadRequest
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.varint import read_varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtimes.specs import TensorSpec

    Buffer = bytes | memoryview

# Below this size a copy costs less than what it saves.
_SMALL_BYTES = 1 << 16
# A message with more fields than a request has is a stranger's: protobuf reads it, which is quick.
_MOST_FIELDS = 4096
_REQUEST_ID = oip.ModelInferRequest.DESCRIPTOR.fields_by_name["id"].number
_REQUEST_RAW = oip.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_REPLY_RAW = oip.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
# Executors read tensors in place, at addresses that are multiples of this.
_ALIGNMENT_BYTES = 16
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5


class Packed(NamedTuple):
    """A request to be written: the message without its raw contents, and those, one buffer for each tensor."""

    rest: Any
    raw: Sequence[Buffer] = ()


class Received(NamedTuple):
    """A request as it came, unread but for what differs from one request to the next.

    Parameters
    ----------
    head
        The message without its id and its raw contents; ``read_head`` reads it.
    id
        The request's id.
    raw
        Its raw contents, one buffer for each tensor.
    """

    head: bytes
    id: str
    raw: Sequence[Buffer]


class ReplyForm:
    """The reply to one kind of request, written but for the id and the raw contents.

    Parameters
    ----------
    model, version
        What answers, as the reply names it.
    outputs
        The tensors that are asked for.
    """

    def __init__(self, model: str, version: str, outputs: Iterable[TensorSpec]) -> None:
        self.outputs = tuple(outputs)
        described = oip.ModelInferResponse()
        for spec in self.outputs:
            described.outputs.add(name=spec.name, datatype=spec.dtype, shape=spec.shape)
        self._names = oip.ModelInferResponse(model_name=model, model_version=version).SerializeToString() + _ID_TAG
        self._described = described.SerializeToString()

    def write(self, request: str, raw: Iterable[Buffer]) -> bytes:
        """Write a reply under the request's id with the raw contents of every output."""
        name = request.encode()
        parts: list[Buffer] = [self._names, _varint(len(name)), name, self._described]
        for buffer in raw:
            parts += (_RAW_TAG, _varint(len(buffer)), buffer)
        return b"".join(parts)


def write_request(packed: Packed) -> bytes:
    """Write a request for another agent, each tensor at an aligned place."""
    return _write(packed, _REQUEST_RAW, aligned=True)


def write_reply(packed: Packed) -> bytes:
    """Write a reply."""
    return _write(packed, _REPLY_RAW, aligned=False)


def read_request(data: bytes) -> Received:
    """Read a request; its head is left for ``read_head``.

    Raises
    ------
    google.protobuf.message.DecodeError
        If these bytes are none.
    """
    return _cut(data) or _taken_apart(oip.ModelInferRequest.FromString(data))


def read_head(received: Received) -> Any:
    """Read a request without its id and its raw contents.

    Raises
    ------
    BadRequest
        If these bytes are none.
    """
    try:
        return oip.ModelInferRequest.FromString(received.head)
    except DecodeError as error:
        raise BadRequest("these bytes are no request for inference") from error


def _taken_apart(message: Any) -> Received:
    name, raw = message.id, list(message.raw_input_contents)
    message.ClearField("id")
    message.ClearField("raw_input_contents")
    return Received(message.SerializeToString(), name, raw)


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


def _cut(data: bytes) -> Received | None:
    """Cut a request's id and raw contents out of it; None if it is not plain enough for that."""
    head: list[bytes] = []
    raw: list[Buffer] = []
    name = ""
    end = len(data)
    at = kept = 0
    try:
        for _ in range(_MOST_FIELDS):
            if at == end:
                head.append(data[kept:])
                return Received(b"".join(head), name, raw)
            begin = at
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = read_varint(data, begin)
            form = tag & 7
            if form == _SIZED:
                size = data[at]
                at += 1
                if size > 0x7F:
                    size, at = read_varint(data, at - 1)
            elif form == _VARINT:
                _, at = read_varint(data, at)
                continue
            elif form == _FIXED64:
                size = 8
            elif form == _FIXED32:
                size = 4
            else:
                return None
            after = at + size
            if after > end:
                return None
            if form == _SIZED and (field := tag >> 3) in _CUT_OUT:
                head.append(data[kept:begin])
                kept = after
                if field == _REQUEST_ID:
                    name = data[at:after].decode()
                else:
                    # A copy of a small tensor is aligned; of a large one a view is taken.
                    raw.append(data[at:after] if size < _SMALL_BYTES else memoryview(data)[at:after])
            at = after
    except (IndexError, UnicodeDecodeError):
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


_CUT_OUT = frozenset((_REQUEST_ID, _REQUEST_RAW))
_ID_TAG = _varint(oip.ModelInferResponse.DESCRIPTOR.fields_by_name["id"].number << 3 | _SIZED)
_RAW_TAG = _varint(_REPLY_RAW << 3 | _SIZED)
# Numbers from 19000 to 19999 are protobuf's own, so no message has this field and every reader skips it.
_FILLER_TAG = _varint(19000 << 3 | _SIZED)
