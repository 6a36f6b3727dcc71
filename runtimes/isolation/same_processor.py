"""Keeps a segment's process on the processor of the thread that waits for it, while a short execution lasts.

Left to itself, Linux wakes up each of the two on a processor that is idle: that one has to come out of its sleep, and
the tensors go from one processor's cache to the other's and back. Only one of them has work at a time anyway.
"""

from __future__ import annotations

import ctypes
import os


class SameProcessor:
    """For a ``with`` statement in the thread that asks and waits; what cannot be had is done without.

    Parameters
    ----------
    process_id
        The process. Its main thread is meant: what an executor starts beside it goes where it likes.
    """

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._processor = ctypes.CDLL(None).sched_getcpu
        self._allowed: set[int] = set()

    def __enter__(self) -> None:
        """Bind both to the processor on which this runs."""
        self._allowed = os.sched_getaffinity(0)
        self._bind((self._processor(),))

    def __exit__(self, *raised: object) -> None:
        """Let both run where this thread was allowed to before."""
        self._bind(self._allowed)

    def _bind(self, processors: set[int] | tuple[int]) -> None:
        for thread_id in (self._process_id, 0):
            try:
                os.sched_setaffinity(thread_id, processors)
            except OSError:
                # The process has ended, or somebody forbids it.
                continue
