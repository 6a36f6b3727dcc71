"""The threads that answer calls: two at work at a time, since only one can run Python, and more while those wait.

Every further thread at work makes the others dearer: they wake each other up for the interpreter's lock, time and again
within one call. With eight clients that is a fifth of a server's processor time and more (measured, docs/runtime.md).
What waits holds up nobody: a thread says so (`step_aside`), or is taken to wait when it has not ended after some
milliseconds, as one does whose client sends its message slowly. Who fell idle last goes first: its memory is warm.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_present = threading.local()


class _Task:
    """A call to be made; compared by identity."""

    __slots__ = ("_call", "crew", "future")

    def __init__(self, crew: Crew, call: Callable[[], Any]) -> None:
        self.crew = crew
        self._call: Callable[[], Any] | None = call
        self.future: Future[Any] = Future()

    def run(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        _present.task = self
        result, failure = None, None
        try:
            result = call()
        except Exception as error:
            failure = error
        _present.task = None
        # Its messages are let go of here and now, and not when this thread takes its next task.
        del call
        if failure is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(failure)


class _Idle:
    """A thread that waits for a task; None ends it. It keeps none that is done: calls hold messages of any size."""

    __slots__ = ("_held", "_task")

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._held.acquire()
        self._task: _Task | None = None

    def wait(self) -> _Task | None:
        self._held.acquire()
        task, self._task = self._task, None
        return task

    def wake(self, task: _Task | None) -> None:
        self._task = task
        self._held.release()


class Crew:
    """Threads for calls that are short, or wait; there are as many as calls that wait, so who submits bounds those.

    Parameters
    ----------
    at_work
        How many are at work at a time.
    patience_s
        Time after which a call that has not ended is taken to wait.
    """

    def __init__(self, at_work: int, patience_s: float) -> None:
        self._most = at_work
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._queue: deque[_Task] = deque()
        # When each began; the first is the oldest.
        self._at_work: dict[_Task, float] = {}
        self._idle: list[_Idle] = []
        self._stopped = False
        self._full = threading.Event()
        threading.Thread(target=self._watch, name="crew", daemon=True).start()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a call made as soon as there is a place; the form is that of ``concurrent.futures``."""
        task = _Task(self, functools.partial(call, *arguments, **named))
        with self._lock:
            self._queue.append(task)
            self._fill()
        return task.future

    def stop(self) -> None:
        """End the threads: those that are idle now, the others when they are."""
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.wake(None)
        self._full.set()

    def leave(self, task: _Task) -> None:
        """Give a task's place to the next one, if it still has one."""
        with self._lock:
            if self._at_work.pop(task, None) is not None:
                self._fill()

    def _fill(self) -> None:
        """Wake up threads for what is queued, as far as there are places; the lock is held."""
        while (task := self._next()) is not None:
            if self._idle:
                self._idle.pop().wake(task)
            elif not self._start(task):
                # Whoever falls idle takes it, and the watch tries again.
                del self._at_work[task]
                self._queue.appendleft(task)
                self._full.set()
                return

    def _start(self, task: _Task) -> bool:
        """Begin a thread with a task; False where the system gives no more: an error would end gRPC's only listener."""
        idle = _Idle()
        idle.wake(task)
        try:
            threading.Thread(target=self._work, args=(idle,), name="server", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _next(self) -> _Task | None:
        """Take the next task, if there are one and a place for it; the lock is held."""
        if not self._queue:
            return None
        if len(self._at_work) >= self._most:
            if not self._full.is_set():
                self._full.set()
            return None
        task = self._queue.popleft()
        self._at_work[task] = time.monotonic()
        return task

    def _work(self, idle: _Idle) -> None:
        while (task := idle.wait()) is not None:
            while task is not None:
                task.run()
                with self._lock:
                    self._at_work.pop(task, None)
                    # Without a change of threads where one is queued.
                    task = self._next()
                    if task is None and self._stopped:
                        return
                    if task is None:
                        self._idle.append(idle)

    def _watch(self) -> None:
        """Take those to wait that have not ended, as long as others are queued behind them."""
        while True:
            self._full.wait()
            with self._lock:
                if self._stopped:
                    return
                latest = time.monotonic() - self._patience_s
                for task in [task for task, began in self._at_work.items() if began <= latest]:
                    del self._at_work[task]
                self._fill()
                if not self._queue:
                    self._full.clear()
                    continue
                # None is at work where the system gives no thread.
                pause_s = next(iter(self._at_work.values()), latest + self._patience_s) - latest
            time.sleep(pause_s)


def step_aside() -> None:
    """Say that this thread is going to wait; says nothing to anybody where it is of no crew."""
    task: _Task | None = getattr(_present, "task", None)
    if task is not None:
        task.crew.leave(task)
