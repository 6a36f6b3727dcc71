"""A segment that runs in a process of its own, which is started again when it ends."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from typing import TYPE_CHECKING

from runtimes.errors import AgentError, Failed, Unreachable
from runtimes.isolation.process import SegmentProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runtimes.convert import Array
    from runtimes.isolation.limits import Limits
    from runtimes.specs import SegmentSpec

_LOG = logging.getLogger(__name__)
# The first new start waits so long, each further one twice that, up to the most. Whoever serves longer than the most
# begins anew.
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 30.0
# A later start has no caller that waits for it.
_RESTART_TIMEOUT_S = 300.0


class IsolatedSession:
    """One segment, loaded and warm in another process; when nobody has it any more, that process is ended.

    Parameters
    ----------
    spec
        The segment.
    read_model
        Gives the bytes of its model file, whenever a process is started.
    threads_limit
        The most threads that this device gives to one execution.
    limits
        What the process may take.
    timeout_s
        How long the first start may take, with its warming up.
    changed
        Called from another thread after every change of ``ready``.

    Raises
    ------
    AgentError
        If the segment cannot be loaded or run there.
    """

    def __init__(
        self, spec: SegmentSpec, *, read_model: Callable[[], bytes], threads_limit: int, limits: Limits,
        timeout_s: float, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.spec = spec
        self._keeper = _Keeper(spec, read_model, min(spec.threads, threads_limit), limits, changed)
        # The keeper knows nothing of us: who is not needed any more is collected, and its process ended.
        self._finalizer = weakref.finalize(self, self._keeper.end)
        self._keeper.start(timeout_s)

    @property
    def ready(self) -> bool:
        """Whether its process is up; while it is not, executions are refused at once."""
        return self._keeper.process is not None

    @property
    def process_id(self) -> int | None:
        """The process's id, for those who want to watch or disturb it; None while there is none."""
        process = self._keeper.process
        return None if process is None else process.id

    def run(self, tensors: Mapping[str, Array], deadline: float = math.inf) -> dict[str, Array]:
        """Execute once; inputs and outputs by tensor name.

        Raises
        ------
        Unreachable
            If its process is not up, or ended while it ran.
        DeadlineExceeded
            If it has not ended by the deadline, or within the device's limit.
        Exhausted
            If it needs more memory than its process may have.
        Failed
            If the model fails on these values.
        """
        process = self._keeper.process
        if process is None:
            raise Unreachable(f"its process {self._keeper.why}; it is started again")
        return process.run(tensors, deadline)

    def begin(self, tensors: Mapping[str, Array], deadline: float) -> Callable[[], dict[str, Array]] | None:
        """Begin an execution, and return at once.

        Returns
        -------
        Callable or None
            To be called once, from any thread: waits for the end, and returns and raises as ``run`` does. None where
            nothing can begin now.
        """
        process = self._keeper.process
        return None if process is None else process.begin(tensors, deadline)

    def stop(self) -> None:
        """Ask the execution under way to end; whoever waits for it is answered by its deadline in any case."""
        process = self._keeper.process
        if process is not None:
            process.stop()


class _Keeper:
    """Starts a segment's process, and starts it again when it ends, later each time that it ends early.

    It does so in a thread of its own, which sleeps in the kernel until the process ends; that thread must live as
    long as the process does.
    """

    def __init__(
        self, spec: SegmentSpec, read_model: Callable[[], bytes], threads: int, limits: Limits,
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self.process: SegmentProcess | None = None
        self.why = "is not started"
        self._spec = spec
        self._read_model = read_model
        self._threads = threads
        self._limits = limits
        self._changed = changed
        self._ending = threading.Event()
        self._started = threading.Event()
        self._refusal: AgentError | None = None
        self._lock = threading.Lock()
        self._alive: SegmentProcess | None = None

    def start(self, timeout_s: float) -> None:
        """Start the process for the first time.

        Raises
        ------
        AgentError
            Why it cannot run the segment; it is not tried again then.
        """
        threading.Thread(target=self._keep, args=(timeout_s,), name=f"keeper {self._spec.name}", daemon=True).start()
        self._started.wait()
        if self._refusal is not None:
            raise self._refusal

    def end(self) -> None:
        """End the process, and start it no more."""
        self._ending.set()
        with self._lock:
            if self._alive is not None:
                self._alive.kill("the segment is needed no more")

    def _keep(self, timeout_s: float) -> None:
        early_ends = 0
        while not self._ending.is_set():
            ready_at = self._live(timeout_s)
            if not self._started.is_set():
                self._started.set()
                return
            if self._ending.is_set():
                return
            timeout_s = _RESTART_TIMEOUT_S
            lived_s = 0.0 if ready_at is None else time.monotonic() - ready_at
            early_ends = 0 if lived_s > _LONGEST_WAIT_S else early_ends
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**early_ends)
            early_ends += 1
            _LOG.warning("segment %r: its process %s; a new one in %.3g s", self._spec.name, self.why, wait_s)
            self._ending.wait(wait_s)

    def _live(self, timeout_s: float) -> float | None:
        """See one process from its start to its end; returns when it was ready, if it ever was."""
        try:
            process = SegmentProcess(self._spec, self._threads, self._limits)
        except AgentError as error:
            self._refuse(error)
            return None
        with self._lock:
            self._alive = process
        try:
            if self._ending.is_set():
                process.kill("the segment is needed no more")
            process.load(self._read_model(), timeout_s)
        # Of whatever kind: somebody waits for the first start, and later ones are tried again.
        except Exception as error:
            process.kill("it cannot run the segment")
            process.wait()
            self._refuse(error if isinstance(error, AgentError) else Failed(f"{type(error).__name__}: {error}"))
            return None
        else:
            ready_at = time.monotonic()
            self._show(process, "")
            self._started.set()
            self._show(None, process.wait())
            return ready_at
        finally:
            with self._lock:
                self._alive = None
            process.close()

    def _refuse(self, error: AgentError) -> None:
        self._refusal = self._refusal or error
        self.why = f"does not start: {error}"

    def _show(self, process: SegmentProcess | None, why: str) -> None:
        self.why = why
        self.process = process
        self._changed()
