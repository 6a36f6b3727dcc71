"""Measures the link to an agent by echoes over a connection of its own: first call, round trips, both directions, loss.

Limits of bytes and seconds keep a probe from becoming a weapon; `runtimes.prober` has those of whom an agent probes.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import msgspec

from runtimes.connection import Connection
from runtimes.errors import AgentError, BadRequest, DeadlineExceeded, Unreachable, error_of_status
from runtimes.protos import agent_pb2
from runtimes.rpc import AGENT_SERVICE, Stub
from runtimes.tcp_account import account_of, connections_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtimes.tls import Credentials

LARGEST_REPLY_BYTES = 1 << 20
"""The most that an echo sends back without having been sent it: a small request is no lever."""
LONGEST_S = 60.0
"""What a probe may take, whatever its caller allows."""

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})")
_SMALLEST_BYTES = 4 << 10
_GROWTH = 4
# Long enough that the bandwidth is seen above the noise of processes, short enough for many runs.
_TRANSFER_S = 0.2
_WARM_UP_RUNS = 3
_SMALL_RUNS = 25
_LARGE_RUNS = 7
_STREAM_RUNS = 15
# After a loss in its slow start TCP takes seconds to find the bandwidth again (CUBIC, RFC 9438, section 4.2).
_SETTLING_RUNS, _SETTLING_S = 40, 3.0


class LinkProbe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a probe measured, run by run; all times in seconds at the end that probes.

    Parameters
    ----------
    device
        The agent at the far end, as it calls itself.
    first_s
        The first call: connecting, the handshake, and an empty echo.
    small_s
        Empty echoes one after the other, on the warm connection.
    large_bytes
        Payload of the large ones.
    up_s, down_s
        Large payload there and an empty reply; an empty request and as large a reply.
    stream_small_s, stream_up_s
        The same empty and large messages, on a stream that is open.
    least_round_trip_s
        The least round trip that the kernel saw on the connection; None where it does not tell.
    segments, retransmitted
        TCP segments with data that this end sent, and how often it sent one again; None where the kernel does not tell.
    """

    device: str
    first_s: float
    small_s: tuple[float, ...]
    large_bytes: int
    up_s: tuple[float, ...]
    down_s: tuple[float, ...]
    stream_small_s: tuple[float, ...]
    stream_up_s: tuple[float, ...]
    least_round_trip_s: float | None
    segments: int | None
    retransmitted: int | None


def probe_link(
    address: str, *, timeout_s: float = LONGEST_S, credentials: Credentials | None = None, device: str | None = None
) -> LinkProbe:
    """Measure the link from this process to an agent.

    Parameters
    ----------
    address
        The agent's ``host:port``.
    timeout_s
        By when to be done, at most `LONGEST_S`.
    credentials
        The own certificates, for agents that listen with theirs.
    device
        With certificates: the device that the agent must prove to be. If not given, its certificate names the address.

    Raises
    ------
    AgentError
        If it does not answer, is another device, or is not done in time.
    """
    deadline = time.monotonic() + min(timeout_s, LONGEST_S)
    port = _port_of(address)
    before = {line.number for line in connections_to(port)}
    connection = Connection(
        address, lambda channel: Stub(channel, AGENT_SERVICE), max_message_bytes=LARGEST_REPLY_BYTES,
        credentials=credentials, device=device, alone=True,
    )  # fmt: skip
    echoes = _Echoes(connection.calls(), deadline)
    try:
        first_s = echoes.once(0, 0)
        named = echoes.device()
        if device is not None and named != device:
            raise BadRequest(f"the agent at {address} is {named!r}, not {device!r}; look at the addresses")
        # Ours is the one that came with the first call, if no other to the same port came with it.
        ours = [line for line in connections_to(port) if line.number not in before]
        echoes.many(_WARM_UP_RUNS, 0, 0)
        small_s = echoes.many(_SMALL_RUNS, 0, 0)
        large_bytes = _large_bytes(echoes)
        # Each way has a window of its own to open.
        echoes.settle(large_bytes, 0)
        up_s = echoes.many(_LARGE_RUNS, large_bytes, 0)
        echoes.settle(0, large_bytes)
        down_s = echoes.many(_LARGE_RUNS, 0, large_bytes)
        stream_small_s = echoes.stream([0] * _STREAM_RUNS)
        stream_up_s = echoes.stream([large_bytes] * _LARGE_RUNS)
        account = account_of(ours[0]) if len(ours) == 1 else None
    except grpc.RpcError as error:
        raise _translated(error, connection) from error
    finally:
        connection.close()
    return LinkProbe(
        device=named,
        first_s=first_s,
        small_s=small_s,
        large_bytes=large_bytes,
        up_s=up_s,
        down_s=down_s,
        stream_small_s=stream_small_s,
        stream_up_s=stream_up_s,
        least_round_trip_s=None if account is None else account.least_round_trip_s,
        segments=None if account is None else account.segments,
        retransmitted=None if account is None else account.retransmitted,
    )


class _Echoes:
    """Echoes of one connection, timed, until a deadline."""

    def __init__(self, stub: Stub, deadline: float) -> None:
        self._stub = stub
        self._deadline = deadline

    def device(self) -> str:
        """Ask who answers; the reply to an echo says it."""
        return str(self._stub.Echo(agent_pb2.EchoRequest(), timeout=self._left_s()).device)

    def once(self, up_bytes: int, down_bytes: int) -> float:
        request = agent_pb2.EchoRequest(payload=bytes(up_bytes), reply_bytes=down_bytes)
        started = time.perf_counter()
        self._stub.Echo(request, timeout=self._left_s())
        return time.perf_counter() - started

    def many(self, runs: int, up_bytes: int, down_bytes: int) -> tuple[float, ...]:
        return tuple(self.once(up_bytes, down_bytes) for _ in range(runs))

    def settle(self, up_bytes: int, down_bytes: int) -> None:
        """Send for a while, so that TCP's window is what the link bears."""
        until = time.monotonic() + _SETTLING_S
        for _ in range(_SETTLING_RUNS):
            self.once(up_bytes, down_bytes)
            if time.monotonic() > until:
                return

    def stream(self, sizes: list[int]) -> tuple[float, ...]:
        """Send messages over one stream, each when the one before is answered; the first is not counted."""
        answered = threading.Semaphore(1)
        sent: list[float] = []

        def requests() -> Iterator[Any]:
            for size in [sizes[0], *sizes]:
                request = agent_pb2.EchoRequest(payload=bytes(size), reply_bytes=0)
                if not answered.acquire(timeout=max(0.0, self._deadline - time.monotonic())):
                    return
                sent.append(time.perf_counter())
                yield request

        taken = []
        try:
            for _ in self._stub.EchoStream(requests(), timeout=self._left_s()):
                taken.append(time.perf_counter() - sent[-1])
                answered.release()
        finally:
            # Whoever still waits to send is let go.
            answered.release()
        return tuple(taken[1:])

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the probe was not done in time; the link is slow: give it more")
        return left_s


def _large_bytes(echoes: _Echoes) -> int:
    """Find a payload that takes long enough to tell the bandwidth, and open the window on the way there."""
    size = _SMALLEST_BYTES
    while True:
        echoes.once(size, 0)
        if echoes.once(size, 0) >= _TRANSFER_S or size * _GROWTH > LARGEST_REPLY_BYTES:
            return size
        size *= _GROWTH


def _port_of(address: str) -> int:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        # Nor any other kind of target that gRPC would take, such as a file of this machine.
        raise BadRequest(f"{address[:200]!r} is no address of an agent; give HOST:PORT, such as 10.0.0.7:9001")
    return int(found["port"])


def _translated(error: Any, connection: Connection[Stub]) -> AgentError:
    kind, details = error_of_status(error.code().name), error.details() or error.code().name
    return kind(f"agent at {connection.address}: {connection.why(details) if kind is Unreachable else details}")
