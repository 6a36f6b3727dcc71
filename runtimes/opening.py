"""Where a device's segments run: in processes of their own, or in the agent's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runtimes.errors import AgentError
from runtimes.isolation.session import IsolatedSession
from runtimes.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtimes.isolation.limits import Limits
    from runtimes.session import Session
    from runtimes.specs import SegmentSpec
    from runtimes.store import BlobStore


class Opener:
    """Loads and warms up segments.

    Parameters
    ----------
    store
        Their model files.
    threads
        The most threads of one execution.
    limits
        What the process of one segment may take; None where all run in the agent's own.
    changed
        Called from any thread when a segment has become ready, or is so no more.
    """

    def __init__(
        self, *, store: BlobStore, threads: int, limits: Limits | None, changed: Callable[[], None]
    ) -> None:  # fmt: skip
        self._store = store
        self._threads = threads
        self._limits = limits
        self._changed = changed

    def open(self, spec: SegmentSpec, timeout_s: float) -> Session:
        """Load a segment and run it once on zeros, for at most ``timeout_s``.

        Raises
        ------
        AgentError
            If its model file is missing or damaged, or cannot be loaded or run; the message names the segment.
        """
        try:
            return self._open(spec, timeout_s)
        except AgentError as error:
            raise type(error)(f"segment {spec.name!r}: {error}") from error

    def _open(self, spec: SegmentSpec, timeout_s: float) -> Session:
        if self._limits is not None:
            return IsolatedSession(
                spec,
                read_model=lambda: self._store.read(spec.blob),
                threads_limit=self._threads,
                limits=self._limits,
                timeout_s=timeout_s,
                changed=self._changed,
            )
        deadline = time.monotonic() + timeout_s
        session = open_session(spec, self._store.read(spec.blob), self._threads)
        session.warm_up(max(0.001, deadline - time.monotonic()))
        return session
