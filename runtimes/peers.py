"""The other agents: one channel to each, messages without waiting, and whether they are alive."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from runtimes.channel import open_channel
from runtimes.errors import AgentError, Unreachable, error_of_status
from runtimes.rpc import INFERENCE_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A peer is asked at most this often, by whoever waits for it, and then twice before it counts as frozen.
HEARTBEAT_S = 0.5
_HEARTBEAT_TIMEOUT_S = 1.0
_FROZEN_AFTER = 2
# Threads that wait for one peer's acknowledgements: its own, so that a frozen one delays no other. A thread
# that waits costs less than grpc's futures, which start one for every message that is alone on its way.
_SENDERS = 8


@dataclass(slots=True, eq=False)
class _Peer:
    channel: grpc.Channel
    inference: Stub
    check: Any
    senders: ThreadPoolExecutor
    asked_at: float = float("-inf")
    pending: bool = False
    misses: int = 0
    heard: bool = False


class Peers:
    """Connections to other agents, by address.

    Parameters
    ----------
    max_message_bytes
        The largest message of any plan here.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}

    def send(
        self, address: str, message: Any, timeout_s: float, acknowledged: Callable[[AgentError | None, float], None]
    ) -> None:
        """Send a message and return at once.

        Parameters
        ----------
        address
            The receiver's ``host:port``.
        message
            A ModelInfer request.
        timeout_s
            By when it must be acknowledged.
        acknowledged
            Called from another thread, with None or the error, and the seconds that it took.

        Raises
        ------
        Unreachable
            If the connection was closed meanwhile, because no plan names that address any more.
        """
        deadline = time.monotonic() + timeout_s
        peer = self._peer(address)

        def deliver() -> None:
            error: AgentError | None = None
            started = time.monotonic()
            try:
                peer.inference.ModelInfer(message, timeout=max(0.001, deadline - started))
                peer.heard = True
            except grpc.RpcError as failure:
                error = _error_of(failure)
            acknowledged(error, time.monotonic() - started)

        try:
            peer.senders.submit(deliver)
        except RuntimeError as error:
            raise Unreachable(f"the connection to {address} is closed: no plan names it any more") from error

    def silent(self, addresses: Iterable[str]) -> list[str]:
        """Give those addresses that do not answer, and ask them all again for the next call.

        One that refuses the connection is silent at once, one that lets a question run out after the second.
        One that has never answered is not called silent: a site need not link every device to every other.
        """
        return [address for address in addresses if self._beat(address)]

    def unheard(self, addresses: Iterable[str]) -> list[str]:
        """Give those addresses that have not answered the last question, of whatever age."""
        return [address for address in addresses if (peer := self._peer(address)).pending or peer.misses]

    def keep(self, addresses: Iterable[str]) -> None:
        """Be connected to these addresses and to no others, so that the first request finds the way warm."""
        kept = set(addresses)
        with self._lock:
            dropped = [self._peers.pop(address) for address in self._peers.keys() - kept]
        for peer in dropped:
            peer.channel.close()
            peer.senders.shutdown(wait=False)
        for address in kept:
            self._beat(address)

    def _peer(self, address: str) -> _Peer:
        with self._lock:
            peer = self._peers.get(address)
            if peer is None:
                channel = open_channel(address, self._max_message_bytes)
                check = channel.unary_unary(
                    "/grpc.health.v1.Health/Check",
                    request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                    response_deserializer=health_pb2.HealthCheckResponse.FromString,
                )
                senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="sender")
                peer = self._peers[address] = _Peer(channel, Stub(channel, INFERENCE_SERVICE), check, senders)
            return peer

    def _beat(self, address: str) -> bool:
        peer = self._peer(address)
        now = time.monotonic()
        with self._lock:
            due = not peer.pending and now - peer.asked_at >= HEARTBEAT_S
            if due:
                peer.pending, peer.asked_at = True, now
            silent = peer.heard and peer.misses >= _FROZEN_AFTER
        if due:
            call = peer.check.future(health_pb2.HealthCheckRequest(), timeout=_HEARTBEAT_TIMEOUT_S)
            call.add_done_callback(lambda done: self._heard(peer, done))
        return silent

    def _heard(self, peer: _Peer, call: Any) -> None:
        code = call.code()
        with self._lock:
            peer.pending = False
            if code is grpc.StatusCode.OK:
                peer.misses = 0
                peer.heard = True
            elif code is grpc.StatusCode.UNAVAILABLE:
                peer.misses = _FROZEN_AFTER
            else:
                peer.misses += 1


def _error_of(failure: Any) -> AgentError:
    code = failure.code()
    return error_of_status(code.name)(failure.details() or code.name)
