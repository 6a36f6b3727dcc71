"""Measures the link to an agent by echoes over a connection of its own: first call, round trips, both directions, loss.

Limits keep a probe from becoming a weapon: one at a time, so many bytes and seconds at most, and `Prober` sends only
to agents that a plan or a deployer names.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import msgspec

from runtimes.connection import Connection
from runtimes.errors import AgentError, BadRequest, DeadlineExceeded, Exhausted, Forbidden, Unreachable, error_of_status
from runtimes.protos import agent_pb2
from runtimes.rpc import AGENT_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtimes.epochs import Epochs
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
# The kernel's account of one TCP connection, linux/tcp.h: bytes before the fields that are read.
_TOTAL_RETRANS, _MIN_RTT, _DATA_SEGS_OUT, _TCP_INFO_BYTES = 100, 148, 156, 160


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


class Prober:
    """Probes links from an agent, on behalf of a deployer.

    Parameters
    ----------
    epochs
        The plans here; they name other agents.
    credentials
        The agent's certificates. Without them nobody knows who asks.
    """

    def __init__(self, epochs: Epochs, credentials: Credentials | None) -> None:
        self._epochs = epochs
        self._credentials = credentials
        self._busy = threading.Lock()

    def probe(self, device: str, address: str, timeout_s: float) -> LinkProbe:
        """Measure the link to another device's agent.

        Parameters
        ----------
        device
            Its name; with certificates it must prove to be that device before anything is sent.
        address
            Its ``host:port``; empty for where a plan here says that it is.
        timeout_s
            By when to be done, at most `LONGEST_S`.

        Raises
        ------
        BadRequest
            If no plan here names the device and no address is given.
        Forbidden
            If this agent has no certificates, and the address is neither a plan's nor on its own machine.
        Exhausted
            If another probe is under way.
        AgentError
            If the other agent does not answer, or not in time.
        """
        planned = {a.peers[device] for a, _ in self._epochs.states() if device in a.peers}
        if not address:
            if not planned:
                raise BadRequest(f"no plan on {self._epochs.device!r} names device {device!r}; give its HOST:PORT")
            address = sorted(planned)[0]
        elif self._credentials is None and address not in planned and not _on_this_machine(address):
            raise Forbidden(
                f"{self._epochs.device!r} has no certificates, so it cannot know who asks: it probes agents that its "
                f"plans name and agents on its own machine, not {address}"
            )
        if not self._busy.acquire(blocking=False):
            raise Exhausted(f"{self._epochs.device!r} is probing a link; ask again when it is done")
        try:
            return probe_link(address, timeout_s=timeout_s, credentials=self._credentials, device=device)
        finally:
            self._busy.release()


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
    before = {line.number for line in _connections(port)}
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
        ours = [line for line in _connections(port) if line.number not in before]
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
        account = _account(ours[0]) if len(ours) == 1 else None
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


class _Line(NamedTuple):
    """A TCP connection of this process: its own port, and the socket's descriptor."""

    number: int
    descriptor: int


class _Account(NamedTuple):
    least_round_trip_s: float
    segments: int
    retransmitted: int


def _connections(port: int) -> list[_Line]:
    """List this process's connections to a port; empty where the system does not show them."""
    if not sys.platform.startswith("linux"):
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), _duplicate(int(name)) as line:
            if line.family in (socket.AF_INET, socket.AF_INET6) and line.getpeername()[1] == port:
                found.append(_Line(line.getsockname()[1], int(name)))
    return found


def _account(line: _Line) -> _Account | None:
    """Read what the kernel knows of a connection; None where it does not tell."""
    with contextlib.suppress(OSError), _duplicate(line.descriptor) as found:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) == _TCP_INFO_BYTES:
            least_us, segments, again = (
                struct.unpack_from("=I", info, at)[0] for at in (_MIN_RTT, _DATA_SEGS_OUT, _TOTAL_RETRANS)
            )
            return _Account(least_us * 1e-6, segments, again)
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


def _port_of(address: str) -> int:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        # Nor any other kind of target that gRPC would take, such as a file of this machine.
        raise BadRequest(f"{address[:200]!r} is no address of an agent; give HOST:PORT, such as 10.0.0.7:9001")
    return int(found["port"])


def _on_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _translated(error: Any, connection: Connection[Stub]) -> AgentError:
    kind, details = error_of_status(error.code().name), error.details() or error.code().name
    return kind(f"agent at {connection.address}: {connection.why(details) if kind is Unreachable else details}")
