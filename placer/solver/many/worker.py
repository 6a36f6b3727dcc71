"""A second process that answers requests about the parts of a site."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from placer.solver.many.answers import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part


class Worker:
    """A second process: no fork, which threads of solvers do not survive, and nothing that asks for a main guard."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Thread()

    def start(self, parts: Sequence[Part], coupling: Coupling) -> None:
        """Start the process and tell it the site; nobody waits until it has read all that."""
        code = "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
        code += "from placer.solver.many.worker import work; work()"
        first = pickle.dumps(sys.path) + pickle.dumps((tuple(parts), coupling))
        self._process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._starting = threading.Thread(target=self._write, args=(first,), daemon=True)
        self._starting.start()

    def send(self, message: object) -> None:
        """Hand over one message."""
        self._starting.join()
        self._write(pickle.dumps(message))

    def receive(self) -> list[Any]:
        """Wait for the answers to the oldest message that has none yet."""
        assert self._process is not None
        assert self._process.stdout is not None
        answers: list[Any] = pickle.load(self._process.stdout)
        return answers

    def end(self) -> None:
        """Stop the process, whatever it does."""
        if self._process is None:
            return
        self._process.kill()
        if self._starting.is_alive():
            self._starting.join()
        self._process.communicate()

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # A process that was ended reads no more: who waits for its answer learns of that. Its pipe may be closed by
        # then: a Ctrl-C while a thread starts leaves it running, and counted as not alive.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(data)
            self._process.stdin.flush()


def work() -> None:
    """Answer requests on standard input until it closes: the main loop of a second process."""
    # Ctrl-C is the parent's to answer; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parts, coupling = pickle.load(sys.stdin.buffer)
    while True:
        try:
            task, requests, prices, left_s, *rest = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answers = TASKS[task](parts, coupling, requests, prices, time.monotonic() + left_s, *rest)
        pickle.dump(answers, out)
        out.flush()
