"""Solves priced one-flow problems, here or in a second process; the results do not depend on which."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from placer.solver.exact.front import Front, list_front
from placer.solver.exact.solve import solve_flow
from placer.solver.many.prices import priced
from placer.solver.outcome import OPTIMALITY_GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from placer.index import Choice, ProblemIndex
    from placer.solver.exact.front import Queue
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part
    from placer.solver.many.prices import Prices

T = TypeVar("T")

_LONGEST_S = 2.0
"""A flow that takes longer is answered with the bound reached by then, so that no round waits for one of many."""
_WORTH_A_PROCESS = 40
"""Fewer parts than this are priced before a second process has started."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a priced one-flow problem."""

    choice: Choice | None
    bound: float
    """Lower bound of every choice; infinite if there is none."""
    proven: bool
    """Whether choice and bound are as close as was asked."""
    rows: frozenset[int] = frozenset()
    """What the solver need not find out again (`FlowSolution.rows`)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to solve for one part."""

    part: int
    start: Choice | None
    """A choice known beforehand."""
    rows: frozenset[int]
    """From the part's last answer."""


@dataclass(frozen=True, slots=True)
class FrontRequest:
    """Whose choices to list, by cost and use of a queue that others share."""

    part: int
    row: int
    """The queue's row, which has no price here but its own."""
    queue: Queue
    """In the part's positions."""
    reached: tuple[float, ...]
    """Prices up to which the front is wanted, the highest first: the next one where that takes too much work."""
    rows: frozenset[int] = frozenset()


def solve_alone(
    index: ProblemIndex,
    time_limit_s: float,
    *,
    gap: float = OPTIMALITY_GAP,
    start: Choice | None = None,
    rows: frozenset[int] = frozenset(),
) -> Answer:
    """Solve a problem with one flow: the one place that names the solver.

    Parameters
    ----------
    index
        The problem, priced or not.
    time_limit_s
        Seconds after which the best choice and bound so far are returned.
    gap
        Relative gap at which to stop.
    start, rows
        What is known beforehand.
    """
    found = solve_flow(index, time_limit_s=time_limit_s, gap=gap, start=start, rows=rows)
    if found.interrupted:
        # The solver answers Ctrl-C by ending early; here it ends the whole search.
        raise KeyboardInterrupt
    if found.status == "infeasible":
        return Answer(None, math.inf, proven=True)
    # No cost and no price is negative.
    bound = max(0.0, found.bound) if math.isfinite(found.bound) else 0.0
    return Answer(found.choice, bound, proven=found.gap <= gap, rows=found.rows)


class Pricing:
    """Prices parts of one site, with a second process where there is a second core and enough to do."""

    def __init__(self, parts: Sequence[Part], coupling: Coupling, processes: int | None = None) -> None:
        self._parts, self._coupling = parts, coupling
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = cores if processes is None else processes
        self._rows: dict[int, frozenset[int]] = {}
        enough = len(parts) >= _WORTH_A_PROCESS or processes is not None
        self._workers = tuple(Worker() for _ in range(wanted - 1)) if enough else ()

    def __enter__(self) -> Pricing:
        try:
            for worker in self._workers:
                worker.start(self._parts, self._coupling)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    @property
    def processes(self) -> int:
        """How many problems are solved at a time."""
        return len(self._workers) + 1

    def price(
        self,
        wanted: Sequence[int],
        prices: Prices,
        until_s: float,
        *,
        gap: float = OPTIMALITY_GAP,
        starts: Mapping[int, Choice] | None = None,
        longest_s: float = _LONGEST_S,
    ) -> list[Answer]:
        """Solve the priced problems of some parts.

        Parameters
        ----------
        wanted
            Positions of parts.
        prices
            The same for all.
        until_s
            `time.monotonic()` at which to stop; what is not solved by then has a weak bound.
        gap
            Relative gap at which a problem counts as solved.
        starts
            Choices known beforehand, by part.
        longest_s
            Seconds after which any one problem is left with the bound it has.

        Returns
        -------
        list of Answer
            In the order of `wanted`.
        """
        starts = starts or {}
        requests = [Request(g, starts.get(g), self._rows.get(g, frozenset())) for g in wanted]
        answers = self._shared(price_here, requests, prices, until_s, gap, longest_s)
        self._rows |= {g: answer.rows for g, answer in zip(wanted, answers, strict=True)}
        return answers

    def fronts(self, requests: Sequence[FrontRequest], prices: Prices, until_s: float) -> list[Front]:
        """List choices of some parts by cost and use of a queue each.

        Parameters
        ----------
        requests
            Whose; rows known from earlier answers are added.
        prices
            The same for all.
        until_s
            `time.monotonic()` at which to stop; what is not listed by then has reached nothing.

        Returns
        -------
        list of Front
            In the order of the requests.
        """
        known = [replace(request, rows=self._rows.get(request.part, frozenset())) for request in requests]
        return self._shared(front_here, known, prices, until_s)

    def _shared(
        self, task: Callable[..., list[T]], requests: Sequence[object], prices: Prices, until_s: float, *rest: float
    ) -> list[T]:
        """Do a task for some requests, a share of them in each process; return the answers in their order."""
        count = self.processes
        for i, worker in enumerate(self._workers, start=1):
            worker.send((task.__name__, requests[i::count], prices, until_s - time.monotonic(), *rest))
        here = task(self._parts, self._coupling, requests[::count], prices, until_s, *rest)
        answers = dict(zip(range(0, len(requests), count), here, strict=True))
        for i, worker in enumerate(self._workers, start=1):
            answers |= zip(range(i, len(requests), count), worker.receive(), strict=True)
        return [answers[k] for k in range(len(requests))]


def price_here(
    parts: Sequence[Part],
    coupling: Coupling,
    requests: Sequence[Request],
    prices: Prices,
    until_s: float,
    gap: float,
    longest_s: float,
) -> list[Answer]:
    """Solve the priced problems of some parts in this process; see `Pricing.price`."""
    answers = []
    for request in requests:
        left_s, g = until_s - time.monotonic(), request.part
        if left_s <= 0:
            answers.append(Answer(None, 0.0, proven=False, rows=request.rows))
            continue
        index = priced(parts[g], coupling.parts[g], g, prices)
        limit_s = min(left_s, longest_s)
        answers.append(solve_alone(index, limit_s, gap=gap, start=request.start, rows=request.rows))
    return answers


def front_here(
    parts: Sequence[Part], coupling: Coupling, requests: Sequence[FrontRequest], prices: Prices, until_s: float
) -> list[Front]:
    """List choices of some parts in this process; see `Pricing.fronts`."""
    found = []
    for request in requests:
        g = request.part
        free = prices.rows.copy()
        free[request.row] = 0.0
        index = priced(parts[g], coupling.parts[g], g, replace(prices, rows=free))
        price = float(prices.rows[request.row])
        for reached in request.reached:
            front = list_front(
                index, request.queue, price, reached, rows=request.rows, stop=lambda: time.monotonic() > until_s
            )
            if front.reached > -math.inf:
                break
        found.append(front)
    return found


_TASKS = {task.__name__: task for task in (price_here, front_here)}


class Worker:
    """A second process: no fork, which threads of solvers do not survive, and nothing that asks for a main guard."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Thread()

    def start(self, parts: Sequence[Part], coupling: Coupling) -> None:
        """Start the process and tell it the site; nobody waits until it has read all that."""
        code = "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
        code += "from placer.solver.many.pricing import work; work()"
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
        # A process that was ended reads no more: who waits for its answer learns of that.
        with contextlib.suppress(BrokenPipeError):
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
        answers = _TASKS[task](parts, coupling, requests, prices, time.monotonic() + left_s, *rest)
        pickle.dump(answers, out)
        out.flush()
