"""Heartbeats without a request to wait for: only where a plan has fallbacks, which are worth them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runtimes.peers import HEARTBEAT_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runtimes.peers import Peer, Peers


class Watch:
    """Asks other agents for signs of life, for as long as there are any to ask.

    Parameters
    ----------
    peers
        The connections.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._changed = threading.Condition()
        self._watched: frozenset[Peer] = frozenset()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def follow(self, watched: Iterable[Peer]) -> None:
        """Watch these agents from now on, and no others."""
        with self._changed:
            self._watched = frozenset(watched)
            self._changed.notify()

    def stop(self) -> None:
        """End it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                if self._watched:
                    self._peers.beat(self._watched)
                self._changed.wait(HEARTBEAT_S if self._watched else None)
