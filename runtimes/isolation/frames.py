"""What an agent and a segment's process say to each other: short frames on a socket, beside the shared memory."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from runtimes.isolation.limits import Limits  # noqa: TC001
from runtimes.specs import SegmentSpec  # noqa: TC001  msgspec reads the annotations

if TYPE_CHECKING:
    import socket

_AT_ONCE_BYTES = 1 << 16
_HEADER = struct.Struct("<BBQQ")
STOP = struct.Struct("<Q")
"""On a pipe of its own, since the process listens to nothing else while it runs: the execution that is to end."""
SECONDS = struct.Struct("<d")
"""What ``READY`` carries: how long the execution took that warmed the segment up."""


class Kind(IntEnum):
    """What a frame says."""

    SETUP = 1
    MODEL = 2
    READY = 3
    RUN = 4
    DONE = 5
    ERROR = 6


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is told before it loads its model.

    Parameters
    ----------
    agent_pid
        Whose end is to be its own.
    spec
        Its segment.
    threads
        Threads of one execution.
    limits
        What it may take.
    warm_up_s
        The longest that warming up may take.
    """

    agent_pid: int
    spec: SegmentSpec
    threads: int
    limits: Limits
    warm_up_s: float


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ERROR`` carries: a gRPC status and a message."""

    status: str
    message: str


class Frame(NamedTuple):
    """One frame: what it says, to which place an execution's outputs go, of which execution, and what it carries."""

    kind: int
    place: int
    number: int
    payload: bytes


def send(connection: socket.socket, kind: Kind, number: int, payload: bytes = b"", place: int = 0) -> None:
    """Send a frame.

    Raises
    ------
    OSError
        If the other side is gone, or does not listen within the socket's timeout.
    """
    header = _HEADER.pack(kind, place, number, len(payload))
    if len(payload) <= _AT_ONCE_BYTES:
        connection.sendall(header + payload)
        return
    connection.sendall(header)
    connection.sendall(payload)


def receive(connection: socket.socket, limit_bytes: int) -> Frame:
    """Receive a frame.

    Raises
    ------
    OSError
        If none comes within the socket's timeout (``TimeoutError``) or the connection breaks.
    EOFError
        If the other side is gone.
    ValueError
        If it carries more than ``limit_bytes``.
    """
    kind, place, number, size = _HEADER.unpack(_exactly(connection, _HEADER.size))
    if size > limit_bytes:
        raise ValueError(f"a frame of {size} bytes, where {limit_bytes} are the most")
    return Frame(kind, place, number, _exactly(connection, size) if size else b"")


def _exactly(connection: socket.socket, size: int) -> bytes:
    # Nearly always whole at once: only strings and models are longer.
    data = connection.recv(min(size, _AT_ONCE_BYTES))
    if len(data) == size:
        return data
    buffer = bytearray(size)
    view, at, received = memoryview(buffer), len(data), len(data)
    view[:at] = data
    while at < size and received:
        received = connection.recv_into(view[at:])
        at += received
    if at < size:
        raise EOFError("the other side is gone")
    return bytes(buffer)
