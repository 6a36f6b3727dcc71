"""The other agents: one connection to each, messages without waiting, and whether they are alive."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from runtimes.connection import Connection
from runtimes.errors import AgentError, Unreachable, error_of_status
from runtimes.protos import agent_pb2
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, Stub
from runtimes.wire import write_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runtimes.tls import Credentials
    from runtimes.trace import TraceContext
    from runtimes.wire import Packed

# A peer is asked at most this often, by whoever waits for it, and then twice before it counts as frozen.
HEARTBEAT_S = 0.5
_HEARTBEAT_TIMEOUT_S = 1.0
_FROZEN_AFTER = 2
# For how long a word that an agent does not reach another is believed where that agent itself cannot be asked.
_TOLD_S = 5.0
# Threads that wait for one peer's acknowledgements: its own, so that a frozen one delays no other. A thread
# that waits costs less than grpc's futures, which start one for every message that is alone on its way.
_SENDERS = 8


class Peer(NamedTuple):
    """Another agent: the device that it must prove to be, and its ``host:port``."""

    device: str
    address: str


class View(NamedTuple):
    """What is known of another agent.

    Parameters
    ----------
    lost
        It does not answer, not even the second question.
    heard
        It has answered before.
    misses
        The devices that do not answer it.
    """

    lost: bool
    heard: bool
    misses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    inference: Stub
    agent: Stub


@dataclass(slots=True, eq=False)
class _Line:
    connection: Connection[_Calls]
    senders: ThreadPoolExecutor
    asked_at: float = float("-inf")
    pending: bool = False
    misses: int = 0
    heard: bool = False
    under_way: int = 0
    lost: frozenset[str] = frozenset()
    told: dict[str, float] = field(default_factory=dict)


class Peers:
    """Connections to other agents.

    Parameters
    ----------
    max_message_bytes
        The largest message of any plan here.
    credentials
        The own certificates. With them nothing is sent to an agent whose certificate names another device.
    patient_threads
        How many threads that call ``send`` may wait for an acknowledgement at a time.
    """

    def __init__(self, max_message_bytes: int, credentials: Credentials | None, *, patient_threads: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._credentials = credentials
        self._lock = threading.Lock()
        self._lines: dict[Peer, _Line] = {}
        self._settled = threading.Condition(self._lock)
        self._patience = threading.BoundedSemaphore(patient_threads)

    def send(
        self, peer: Peer, message: Packed, timeout_s: float, acknowledged: Callable[[AgentError | None, float], None],
        span: TraceContext | None = None, *, patient: bool = False,
    ) -> None:  # fmt: skip
        """Send a message, and return at once unless this thread is patient.

        Parameters
        ----------
        peer
            The receiver.
        message
            A ModelInfer request.
        timeout_s
            By when it must be acknowledged.
        acknowledged
            Called from this or another thread, with None or the error, and the seconds that it took.
        span
            The span that the receiver's work belongs to; None where nobody traces it.
        patient
            Whether this thread may wait for the acknowledgement itself, which it does unless too many do.

        Raises
        ------
        Unreachable
            If the connection was closed meanwhile, because no plan names that agent any more.
        BadCredentials
            If the device's name cannot stand in a certificate, and that is needed.
        """
        deadline = time.monotonic() + timeout_s
        line = self._line(peer)
        closed = f"the connection to {peer.address} is closed: no plan names it any more"

        def deliver() -> None:
            error: AgentError | None = None
            started = time.monotonic()
            try:
                line.connection.calls().inference.ModelInfer(
                    message, timeout=max(0.001, deadline - started), metadata=None if span is None else span.metadata()
                )
                # As good as a heartbeat: what is waited for next must not end by what was before.
                line.heard, line.misses = True, 0
            except grpc.RpcError as failure:
                error = _error_of(failure, line.connection)
                # The agent's own words of that kind come with a connection that works: its heartbeat takes this back.
                if isinstance(error, Unreachable):
                    line.misses = _FROZEN_AFTER
            except ValueError:
                # So grpc says that the channel was closed meanwhile.
                error = Unreachable(closed)
            try:
                acknowledged(error, time.monotonic() - started)
            finally:
                self._count(line, -1)

        self._count(line, +1)
        if patient and self._patience.acquire(blocking=False):
            try:
                deliver()
            finally:
                self._patience.release()
            return
        try:
            line.senders.submit(deliver)
        except RuntimeError as error:
            self._count(line, -1)
            raise Unreachable(closed) from error

    def settle(self, timeout_s: float) -> bool:
        """Wait until every message to an agent that answers is acknowledged; returns whether that is so."""
        with self._settled:
            return self._settled.wait_for(
                lambda: all(not line.under_way or line.misses for line in self._lines.values()), timeout_s
            )

    def silent(self, peers: Iterable[Peer]) -> list[Peer]:
        """Give those that do not answer, and ask them all again for the next call.

        One that refuses the connection is silent at once, one that lets a question run out after the second.
        One that has never answered is not called silent: a site need not link every device to every other.
        """
        return [peer for peer in peers if self._beat(peer)]

    def unheard(self, peers: Iterable[Peer]) -> list[Peer]:
        """Give those that have not answered the last question, of whatever age."""
        return [peer for peer in peers if (line := self._line(peer)).pending or line.misses]

    def lost(self, peers: Iterable[Peer]) -> list[str]:
        """Give the devices that do not answer, of these."""
        return sorted({peer.device for peer in peers if self._line(peer).misses >= _FROZEN_AFTER})

    def view(self, peer: Peer) -> View:
        """Say what is known of a peer, without asking it."""
        line = self._line(peer)
        now = time.monotonic()
        with self._lock:
            told = {device for device, until in line.told.items() if until > now}
            return View(line.misses >= _FROZEN_AFTER, line.heard, line.lost | told)

    def told(self, peer: Peer, lost: str) -> None:
        """Take an agent's word that a device does not answer it; its next heartbeat says more."""
        line = self._line(peer)
        with self._lock:
            line.told[lost] = time.monotonic() + _TOLD_S

    def beat(self, peers: Iterable[Peer]) -> None:
        """Ask peers for a sign of life, and do not wait for it."""
        for peer in peers:
            self._beat(peer)

    def keep(self, peers: Iterable[Peer]) -> None:
        """Be connected to these and to no others, so that the first request finds the way warm."""
        kept = set(peers)
        with self._lock:
            dropped = [self._lines.pop(peer) for peer in self._lines.keys() - kept]
        for line in dropped:
            line.connection.close()
            line.senders.shutdown(wait=False)
        self.beat(kept)

    def _count(self, line: _Line, change: int) -> None:
        with self._settled:
            line.under_way += change
            if line.under_way == 0:
                self._settled.notify_all()

    def _line(self, peer: Peer) -> _Line:
        with self._lock:
            line = self._lines.get(peer)
            if line is None:
                connection = Connection(
                    peer.address,
                    _bind,
                    max_message_bytes=self._max_message_bytes,
                    credentials=self._credentials,
                    device=peer.device,
                )
                line = self._lines[peer] = _Line(connection, ThreadPoolExecutor(_SENDERS, thread_name_prefix="sender"))
            return line

    def _beat(self, peer: Peer) -> bool:
        line = self._line(peer)
        now = time.monotonic()
        with self._lock:
            due = not line.pending and now - line.asked_at >= HEARTBEAT_S
            if due:
                line.pending, line.asked_at = True, now
            silent = line.heard and line.misses >= _FROZEN_AFTER
        if due:
            call = line.connection.calls().agent.Beat.future(agent_pb2.BeatRequest(), timeout=_HEARTBEAT_TIMEOUT_S)
            call.add_done_callback(lambda done: self._heard(line, done))
        return silent

    def _heard(self, line: _Line, call: Any) -> None:
        code = call.code()
        with self._lock:
            line.pending = False
            if code is grpc.StatusCode.OK:
                line.misses = 0
                line.heard = True
                line.lost = frozenset(call.result().lost)
                line.told.clear()
            elif code is grpc.StatusCode.UNAVAILABLE:
                line.misses = _FROZEN_AFTER
            else:
                line.misses += 1


def _bind(channel: grpc.Channel) -> _Calls:
    inference = Stub(channel, INFERENCE_SERVICE, {"ModelInfer": write_request})
    return _Calls(inference=inference, agent=Stub(channel, AGENT_SERVICE))


def _error_of(failure: Any, connection: Connection[_Calls]) -> AgentError:
    code = failure.code()
    kind = error_of_status(code.name)
    details = failure.details() or code.name
    return kind(connection.why(details) if kind is Unreachable else details)
