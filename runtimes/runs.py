"""The open passages of requests through this device, and when they are given up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from runtimes.errors import Exhausted, Unreachable
from runtimes.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtimes.loaded import LoadedPlan
    from runtimes.specs import FlowSpec
    from runtimes.trace import TraceContext

    # Epoch, plan, flow, and the key that the source gave the passage.
    _Key = tuple[int, str, str, str]


class RunTable:
    """The open runs of a device.

    Parameters
    ----------
    capacity
        How many may be open.
    stop_overdue
        Ends an execution that nobody wants any more or that is past its deadline at the given reading of
        ``time.monotonic``; returns the reading at which to call it again.
    ended
        Called with every run when it is over here, for whatever reason.
    """

    def __init__(
        self, capacity: int, stop_overdue: Callable[[float], float], ended: Callable[[Run], None]
    ) -> None:  # fmt: skip
        self._capacity = capacity
        self._stop_overdue = stop_overdue
        self._ended = ended
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # By all that a message is checked against: who may say something of one flow has no word in another's requests.
        self._runs: dict[_Key, Run] = {}
        # Only the keys, of the last ones, in their order: what is still on its way to them opens nothing.
        self._given_up: dict[_Key, None] = {}
        self._opened = 0
        self._draining = False
        self._wake_at = float("inf")
        self._stopped = False
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        self._sweeper.start()

    def __len__(self) -> int:
        return len(self._runs)

    def open(
        self, loaded: LoadedPlan, flow: FlowSpec, *, key: str, request: str, deadline: float,
        trace: TraceContext | None = None, asked: str = "", turn: int = 0,
    ) -> Run:  # fmt: skip
        """Find a run, or open it; one that was given up is given back closed.

        Raises
        ------
        Exhausted
            If too many are open.
        Unreachable
            If it is a new one and this device is about to end.
        """
        place = _key(loaded, flow.name, key)
        with self._lock:
            found = self._runs.get(place)
            if found is not None:
                return found
            if place in self._given_up:
                run = Run(loaded, flow, key=key, request=request, deadline=deadline, order=0)
                run.close()
                return run
            self.require_open()
            if len(self._runs) >= self._capacity:
                raise Exhausted(f"{self._capacity} requests are open on device {loaded.device!r}; try later")
            self._opened += 1
            run = Run(
                loaded, flow, key=key, request=request, deadline=deadline, order=self._opened, trace=trace, asked=asked,
                turn=turn,
            )  # fmt: skip
            self._runs[place] = run
            self._watch(deadline)
            return run

    def require_open(self) -> None:
        """Refuse what is new while this device drains.

        Raises
        ------
        Unreachable
            If it does.
        """
        if self._draining:
            raise Unreachable("the device is draining: it ends what it has begun and takes nothing new")

    def drain(self, timeout_s: float) -> bool:
        """Open no new runs, and wait for the end of those that are open; returns whether they have ended."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: not self._runs, timeout_s)

    def watch(self, deadline: float) -> None:
        """See to it that what is overdue or wanted no more at ``deadline`` is stopped then."""
        with self._lock:
            self._watch(deadline)

    def get(self, loaded: LoadedPlan, flow: str, key: str) -> Run | None:
        """Find an open run of a plan's flow."""
        return self._runs.get(_key(loaded, flow, key))

    def close(self, run: Run) -> None:
        """End a run, for whatever reason."""
        if run.closed:
            return
        under_way = run.close()
        with self._lock:
            if under_way:
                self._watch(time.monotonic())
            self._runs.pop(_key(run.loaded, run.flow.name, run.key), None)
            if self._draining:
                self._changed.notify_all()
        self._ended(run)

    def give_up(self, loaded: LoadedPlan, flow: str, key: str) -> None:
        """End a run whose request has failed elsewhere, and open it no more."""
        place = _key(loaded, flow, key)
        with self._changed:
            self._given_up[place] = None
            if len(self._given_up) > self._capacity:
                del self._given_up[next(iter(self._given_up))]
            run = self._runs.get(place)
        if run is not None:
            self.close(run)

    def stop(self) -> None:
        """End the thread that watches deadlines."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._sweeper.join()

    def _watch(self, deadline: float) -> None:
        # Woken only for an earlier deadline: a steady stream of requests costs one wake-up per deadline.
        if deadline < self._wake_at:
            self._wake_at = deadline
            self._changed.notify_all()

    def _sweep(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (left_s := self._wake_at - time.monotonic()) > 0:
                    self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
                if self._stopped:
                    return
                now = time.monotonic()
                overdue = [run for run in self._runs.values() if run.deadline <= now]
                for run in overdue:
                    del self._runs[_key(run.loaded, run.flow.name, run.key)]
                if self._draining:
                    self._changed.notify_all()
                self._wake_at = min((run.deadline for run in self._runs.values()), default=float("inf"))
            for run in overdue:
                run.close()
                self._ended(run)
            self.watch(self._stop_overdue(now))


def _key(loaded: LoadedPlan, flow: str, key: str) -> _Key:
    return loaded.epoch, loaded.assignment.plan, flow, key
