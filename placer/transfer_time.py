"""How long gRPC takes to carry a message over a TCP link: framing, slow start and the window after a pause.

The model and its form were found by measuring unary calls of grpcio 1.85 on Linux 6.18 (CUBIC) over links of
2-500 Mbit/s and 10-100 ms round trip with 4 kB-1.2 MB: 1.3 % mean error of warm calls over 62 cells, where round
trip + bits / bandwidth errs by 6 % warm and 57 % cold. docs/emulation.md measures it again, on whole flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Connections = Literal["busy", "paused", "new", "closed"]
"""What messages find: TCP's windows at work; what pauses left of them; never used; or a connection yet to be made."""

MTU_BYTES = 1500
SEGMENT_BYTES = 1448
"""Payload of a full TCP segment: 1500 less 20 of IPv4, 20 of TCP and 12 of its time stamps."""
FRAME_BYTES = 16384
"""Payload of an HTTP/2 DATA frame, which 9 bytes of header precede (RFC 9113, sections 4.1 and 4.2)."""
CALL_HEADER_BYTES = 120
"""HTTP/2 and gRPC headers of one call."""
INITIAL_WINDOW_BYTES = 10 * MTU_BYTES
"""Ten segments (RFC 6928), as they go on the wire."""
CALL_S = 0.0015
"""What a warm call takes in the processes at both ends."""
CONNECT_S = 0.009
"""What the first call on a connection takes in them beyond a warm one."""
_LEAST_RETRANSMISSION_S = 0.2
"""Linux adds at least this to the smoothed round trip for its retransmission timeout (TCP_RTO_MIN)."""
_ROUNDING = 1e-9
"""Bytes that differ by no larger part are as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What a connection runs over.

    Parameters
    ----------
    round_trip_s
        Seconds of an empty packet there and back.
    bytes_per_s
        The narrowest rate on the way, of bytes as IP counts them.
    """

    round_trip_s: float
    bytes_per_s: float

    @property
    def retransmission_s(self) -> float:
        """The pause after which Linux begins to take back what it learned of the path (RFC 2861)."""
        return self.round_trip_s + _LEAST_RETRANSMISSION_S


def wire_bytes(message_bytes: float) -> float:
    """Give the bytes on the wire of a gRPC message: X = (S + 120) * (1500 / 1448) * (1 + 9 / 16384)."""
    return (message_bytes + CALL_HEADER_BYTES) * (MTU_BYTES / SEGMENT_BYTES) * (1 + 9 / FRAME_BYTES)


def stall_s(sent_bytes: float, path: Path, window_bytes: float) -> float:
    """Give the seconds a sender waits for acknowledgements because its window is smaller than the path holds.

    Slow start: a window W is sent in W / B, its acknowledgements come after a round trip R, and then twice as
    much may go: while sent + W < X and W / B < R, the stall grows by R - W / B.

    Parameters
    ----------
    sent_bytes
        X, from `wire_bytes`.
    path
        R and B.
    window_bytes
        The window at the start; infinite for a warm connection.
    """
    stall, sent, window = 0.0, 0.0, window_bytes
    # A settled window's doublings add up to the message itself: rounding must not make one more of them.
    awaited_bytes = sent_bytes * (1 - _ROUNDING)
    while sent + window < awaited_bytes and window < path.round_trip_s * path.bytes_per_s:
        stall += path.round_trip_s - window / path.bytes_per_s
        sent += window
        window *= 2
    return stall


def settled_window_bytes(sent_bytes: float, path: Path, gap_s: float) -> float:
    """Give the window that a message finds when equal messages follow each other at equal pauses.

    Slow start adds every acknowledged byte until the window holds what the path does; then HyStart ends it. Linux
    halves the window once for each retransmission timeout that a pause lasts, down to the initial window
    (tcp_cwnd_restart): W' = max(W0, min(W + X, R * B) / 2^k), whose fixed point this is.

    Parameters
    ----------
    sent_bytes
        X, from `wire_bytes`.
    path
        Gives the timeout, and what the path holds.
    gap_s
        From the end of one message to the start of the next.

    Returns
    -------
    float
        Infinite where the pauses are too short to cost anything.
    """
    # Beyond 60 halvings any window is the initial one.
    halvings = int(min(gap_s / path.retransmission_s, 60.0))
    if halvings <= 0:
        return inf
    shrunk = 2.0**halvings
    grown_bytes = min(sent_bytes * shrunk / (shrunk - 1), path.round_trip_s * path.bytes_per_s)
    return max(INITIAL_WINDOW_BYTES, grown_bytes / shrunk)


def held_s(sent_bytes: float, path: Path, connections: Connections, period_s: float = inf) -> float:
    """Give the seconds by which a connection's state holds a message back: 0 where it is busy.

    Parameters
    ----------
    sent_bytes
        X, from `wire_bytes`.
    path
        R and B.
    connections
        Paused: the stalls of the window that pauses leave. New: those of the initial window. Closed: two round trips
        and 9 ms more, for it has to be opened first.
    period_s
        Equal messages follow each other so far apart, where they are paused.
    """
    if connections == "busy":
        return 0.0
    if connections == "paused":
        gap_s = max(0.0, period_s - sent_bytes / path.bytes_per_s)
        return stall_s(sent_bytes, path, settled_window_bytes(sent_bytes, path, gap_s))
    stalls = stall_s(sent_bytes, path, INITIAL_WINDOW_BYTES)
    return stalls + (2 * path.round_trip_s + CONNECT_S if connections == "closed" else 0.0)


def least_paused_s(least_bytes: float, most_bytes: float, path: Path, period_s: float) -> float:
    """Bound `held_s` on paused connections from below, for every X between two.

    It is no monotone function of X: a larger message leaves a larger window. But no message finds more than what the
    path holds after the fewest halvings, and with one window a larger message never stalls for less time.
    """
    gap_s = period_s - most_bytes / path.bytes_per_s
    return stall_s(least_bytes, path, settled_window_bytes(inf, path, gap_s))


def call_s(message_bytes: float, path: Path, connections: Connections = "busy", period_s: float = inf) -> float:
    """Give the seconds of a call with an empty reply: R + X / B + 1.5 ms, and what its connection adds.

    Parameters
    ----------
    message_bytes
        S.
    path, connections, period_s
        As `held_s`.
    """
    sent = wire_bytes(message_bytes)
    return path.round_trip_s + sent / path.bytes_per_s + CALL_S + held_s(sent, path, connections, period_s)
