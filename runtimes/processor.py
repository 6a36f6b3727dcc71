"""One segment at a time: the queue of a device's executions.

The thread that brings an execution runs it when the device is free, so that a lone request changes threads
nowhere. Else it waits its turn: in the thread that brought it, where that needs nothing but its outcome, or until a
worker takes it. The device falls free the moment a run ends: what is done with its outputs goes on beside the next run.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from runtimes.errors import AgentError, DeadlineExceeded, Exhausted, Failed
from runtimes.once import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor as Pool

    from runtimes.cache import Cache
    from runtimes.convert import Array
    from runtimes.session import Session

# How soon an execution that did not stop at its deadline is told again.
_AGAIN_S = 0.05


class Timing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one execution went, in seconds: waiting for the device, running, running with its padding.

    Where results are kept, looking for one is part of running, and ``hit`` says whether it was there: then nothing more
    was run, and nothing padded. It is None where nobody looked.
    """

    queue_s: float
    run_s: float
    padded_s: float
    hit: bool | None = None


class Execution(msgspec.Struct, kw_only=True, eq=False):
    """One run of a segment that is ready.

    Parameters
    ----------
    order
        Lower ones run first.
    session
        What runs.
    tensors
        Its inputs, by name.
    deadline
        Reading of ``time.monotonic`` at which it is worth nothing any more.
    cache
        Where its result is looked up first, and kept; None where it is always run.
    wanted
        Says, when its turn has come and later, whether anybody still wants it: work for nobody costs joules too. Not
        given where somebody does.
    finish
        Called once, with the outputs or the error, the timing (None where it did not run), and whether the thread
        that calls is patient: a worker, for which nobody waits. Not given where the thread that brought it waits for
        its turn.
    turn
        What that thread waits for; None as long as it does not have to.
    begun
        When it was begun, and what waits for its end; None where that is still to do.
    """

    order: tuple[int, int]
    session: Session
    tensors: Mapping[str, Array]
    deadline: float
    cache: Cache | None = None
    wanted: Callable[[], bool] | None = None
    finish: Callable[[dict[str, Array] | AgentError, Timing | None, bool], None] | None = None
    turn: Once | None = None
    begun: tuple[float, Callable[[], dict[str, Array]]] | None = None
    ready_at: float = msgspec.field(default_factory=time.monotonic)

    def __lt__(self, other: Execution) -> bool:
        return self.order < other.order


class Processor:
    """What runs a device's segments, one at a time.

    Parameters
    ----------
    pool
        The workers that run what the bringing threads do not.
    capacity
        How many executions may wait.
    """

    def __init__(self, pool: Pool, capacity: int) -> None:
        self._pool = pool
        self._capacity = capacity
        self._lock = threading.Lock()
        self._waiting: list[Execution] = []
        self._running: Execution | None = None

    def submit(self, executions: Sequence[Execution], *, inline: bool) -> None:
        """Queue executions that became ready together.

        Parameters
        ----------
        executions
            What to run; each one's ``finish`` is called from this or another thread.
        inline
            Whether this thread may run one of them, if the device is free and nothing stands before it.

        Raises
        ------
        Exhausted
            If too many are waiting; none of these was queued then.
        """
        with self._lock:
            self._require_room(len(executions))
            for execution in executions:
                heapq.heappush(self._waiting, execution)
            if self._running is not None or not self._waiting:
                return
            taken = heapq.heappop(self._waiting)
            self._running = taken
        if inline and taken in executions:
            self._run(taken, patient=False)
        else:
            # While a segment's own process wakes up, so does the worker that waits for it.
            _begin(taken)
            self._pool.submit(self._run, taken, patient=True)

    def run(self, execution: Execution) -> tuple[dict[str, Array] | AgentError, Timing | None]:
        """Run an execution in this thread when its turn has come.

        Returns
        -------
        tuple
            The outputs or the error, and the timing (None where it did not run).

        Raises
        ------
        Exhausted
            If too many are waiting.
        """
        with self._lock:
            self._require_room(1)
            if self._running is None:
                self._running = execution
            else:
                execution.turn = Once()
                heapq.heappush(self._waiting, execution)
        turn = execution.turn
        if turn is not None and not turn.wait(execution.deadline - time.monotonic()) and self._withdraw(execution):
            return DeadlineExceeded("its turn did not come before the deadline"), None
        ended = _run_once(execution)
        self._pass_on()
        return ended

    def waiting(self) -> int:
        """How many executions wait for their turn."""
        return len(self._waiting)

    def stop_overdue(self, now: float) -> float:
        """End the run under way if its deadline has passed, or nobody wants it any more.

        Parameters
        ----------
        now
            Reading of ``time.monotonic``.

        Returns
        -------
        float
            The reading at which to look again; infinite if nothing runs or waits.
        """
        with self._lock:
            if self._running is None:
                return math.inf
            if self._running.deadline <= now or not _is_wanted(self._running):
                # Under the lock: the run cannot end and make room for the next one meanwhile. It may not
                # have entered its executor yet, which then hears nothing: hence again.
                self._running.session.stop()
                return now + _AGAIN_S
            # Those that wait and are overdue already are turned away when their turn comes.
            return min(e.deadline for e in (self._running, *self._waiting) if e.deadline > now)

    def _run(self, execution: Execution, *, patient: bool) -> None:
        outcome, timing = _run_once(execution)
        self._pass_on()
        if execution.finish is not None:
            execution.finish(outcome, timing, patient)

    def _pass_on(self) -> None:
        """Give the device to the execution whose turn it is."""
        with self._lock:
            following = self._running = heapq.heappop(self._waiting) if self._waiting else None
        if following is None:
            return
        if following.turn is not None:
            following.turn.set()
        else:
            self._pool.submit(self._run, following, patient=True)

    def _withdraw(self, execution: Execution) -> bool:
        """Take an execution out of the queue; says whether it was there still."""
        with self._lock:
            if self._running is execution:
                return False
            self._waiting.remove(execution)
            heapq.heapify(self._waiting)
            return True

    def _require_room(self, count: int) -> None:
        if len(self._waiting) + count > self._capacity:
            raise Exhausted(f"{len(self._waiting)} executions are waiting on this device; try later")


def _is_wanted(execution: Execution) -> bool:
    return execution.wanted is None or execution.wanted()


def _begin(execution: Execution) -> None:
    now = time.monotonic()
    # What may be in a cache is begun only when it was not found there.
    if now < execution.deadline and execution.cache is None:
        end = execution.session.begin(execution.tensors, execution.deadline)
        execution.begun = None if end is None else (now, end)


def _run_once(execution: Execution) -> tuple[dict[str, Array] | AgentError, Timing | None]:
    started, end = execution.begun or (time.monotonic(), None)
    if end is None and started >= execution.deadline:
        return DeadlineExceeded("its turn came after the deadline"), None
    if end is None and not _is_wanted(execution):
        return Failed("its request was given up before its turn"), None
    cache, key, found = execution.cache, b"", None
    try:
        if cache is not None:
            key = cache.key(execution.tensors)
            found = cache.get(key)
        if found is not None:
            outputs = found
        else:
            outputs = execution.session.run(execution.tensors, execution.deadline) if end is None else end()
            if cache is not None:
                cache.put(key, outputs)
    except AgentError as error:
        return error, None
    # A fault in an executor must not take the device's only turn with it.
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}"), None
    run_s = time.monotonic() - started
    pad_s = 0.0 if found is not None else (execution.session.spec.pad_to_s or 0.0) - run_s
    if pad_s > 0:
        # The device counts as busy: that is what a slower one would be.
        time.sleep(pad_s)
    padded_s = time.monotonic() - started if pad_s > 0 else run_s
    return outputs, Timing(
        queue_s=started - execution.ready_at,
        run_s=run_s,
        padded_s=padded_s,
        hit=None if cache is None else found is not None,
    )
