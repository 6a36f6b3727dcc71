"""What the kernel knows of this process's TCP connections: least round trip, segments, and how many were sent again."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from typing import NamedTuple

# The kernel's account of one TCP connection, linux/tcp.h: bytes before the fields that are read.
_TOTAL_RETRANS, _MIN_RTT, _DATA_SEGS_OUT, _TCP_INFO_BYTES = 100, 148, 156, 160


class Line(NamedTuple):
    """A TCP connection of this process: its own port, and the socket's descriptor."""

    number: int
    descriptor: int


class Account(NamedTuple):
    """What a connection has seen so far: seconds, and counts of segments with data."""

    least_round_trip_s: float
    segments: int
    retransmitted: int


def connections_to(port: int) -> list[Line]:
    """List this process's connections to a port; empty where the system does not show them."""
    if not sys.platform.startswith("linux"):
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), _duplicate(int(name)) as line:
            if line.family in (socket.AF_INET, socket.AF_INET6) and line.getpeername()[1] == port:
                found.append(Line(line.getsockname()[1], int(name)))
    return found


def account_of(line: Line) -> Account | None:
    """Read what the kernel knows of a connection; None where it does not tell."""
    with contextlib.suppress(OSError), _duplicate(line.descriptor) as found:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) == _TCP_INFO_BYTES:
            least_us, segments, again = (
                struct.unpack_from("=I", info, at)[0] for at in (_MIN_RTT, _DATA_SEGS_OUT, _TOTAL_RETRANS)
            )
            return Account(least_us * 1e-6, segments, again)
    return None


def _duplicate(descriptor: int) -> socket.socket:
    """Open a descriptor of this process a second time, so that closing it takes nothing from its owner.

    Raises
    ------
    OSError
        It is no socket, or closed by now.
    """
    own = os.dup(descriptor)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
