"""The threads that answer calls: few at work at a time, since only one can run Python, and more while those wait.

Every further thread at work makes the others dearer: they wake each other up for the interpreter's lock, time and again
within one call. With eight clients that is a fifth of a server's processor time and more (measured, docs/runtime.md).
What waits holds up nobody: a thread says so (`step_aside`), or is taken to wait when it has not ended after some
milliseconds, as one does whose client sends its message slowly.
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
    from concurrent.futures import Executor

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
        # Its messages are let go of now, whatever this thread does next.
        del call
        if failure is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(failure)


class Crew:
    """What has a few threads at work at a time, for calls that are short, or wait.

    Parameters
    ----------
    threads
        Where they come from: enough for all calls that wait at a time.
    at_work
        How many are at work at a time.
    patience_s
        Time after which a call that has not ended is taken to wait.
    """

    def __init__(self, threads: Executor, at_work: int, patience_s: float) -> None:
        self._threads = threads
        self._most = at_work
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._queue: deque[_Task] = deque()
        # When each began; the first is the oldest.
        self._at_work: dict[_Task, float] = {}
        self._stopped = False
        # Threads that the system did not give yet, for calls that the pool keeps.
        self._lacking = 0
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
        """Take no more calls, and let the threads end when they are idle."""
        with self._lock:
            self._stopped = True
        self._full.set()
        self._threads.shutdown(wait=False)

    def leave(self, task: _Task) -> None:
        """Give a task's place to the next one, if it still has one."""
        with self._lock:
            if self._at_work.pop(task, None) is not None:
                self._fill()

    def _fill(self) -> None:
        """Begin what is queued, as far as there are places; the lock is held."""
        while not self._stopped and (task := self._next()) is not None:
            self._start(self._work, task)

    def _start(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the pool make a call: where the system gives no thread, it keeps it, and its error must reach nobody.

        It would end gRPC's only listener.
        """
        try:
            self._threads.submit(call, *arguments)
        except RuntimeError:
            self._lacking += 1
            self._full.set()

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

    def _work(self, task: _Task) -> None:
        following: _Task | None = task
        while following is not None:
            following.run()
            with self._lock:
                self._at_work.pop(following, None)
                # Without a change of threads where one is queued.
                following = self._next()

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
                lacking, self._lacking = self._lacking, 0
                for _ in range(lacking):
                    # Whatever it is asked, the pool begins the thread that was lacking.
                    self._start(int)
                if not self._queue and not self._lacking:
                    self._full.clear()
                    continue
                pause_s = next(iter(self._at_work.values()), latest + self._patience_s) - latest
            time.sleep(pause_s)


def step_aside() -> None:
    """Say that this thread is going to wait; says nothing to anybody where it is of no crew."""
    task: _Task | None = getattr(_present, "task", None)
    if task is not None:
        task.crew.leave(task)
