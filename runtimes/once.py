"""An event for one waiter: it is made and passed once per request, where ``threading.Event`` costs eight times that."""

from __future__ import annotations

import threading


class Once:
    """Set once, from any thread; waited for by one."""

    __slots__ = ("_held", "_set")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._held.acquire()
        self._set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it; callers see to it that only one does."""
        self._set = True
        self._held.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, for at most ``timeout_s``; says whether it is."""
        return self._set or self._held.acquire(timeout=max(0.0, timeout_s)) or self._set
