"""Replies that are on their way to clients: gRPC keeps what nobody reads, so there is an end to how much that is."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

from runtimes.errors import Exhausted

if TYPE_CHECKING:
    import grpc

# As little costs no more than its call does, and counting it would.
_SMALL_BYTES = 1 << 12


class Unread:
    """The bytes of replies whose calls have not ended.

    Parameters
    ----------
    capacity_bytes
        How many there may be; a single reply may have more.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._bytes = 0

    def add(self, size_bytes: int, context: grpc.ServicerContext) -> None:
        """Count a reply until its call ends, which it does when its caller has read it or is gone.

        Raises
        ------
        Exhausted
            If too much waits to be read already; the reply must not be sent then.
        """
        if size_bytes < _SMALL_BYTES:
            return
        with self._lock:
            if self._bytes and self._bytes + size_bytes > self._capacity_bytes:
                raise Exhausted(f"{self._bytes} bytes of replies wait here for their clients to read them; try later")
            self._bytes += size_bytes
        remove = functools.partial(self._remove, size_bytes)
        if not context.add_callback(remove):
            remove()

    def _remove(self, size_bytes: int) -> None:
        with self._lock:
            self._bytes -= size_bytes
