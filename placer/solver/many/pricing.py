"""Solves priced one-flow problems, here or in a second process; the results do not depend on which."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from placer.solver.exact.solve import solve_flow
from placer.solver.many.prices import priced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import Choice, ProblemIndex
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part
    from placer.solver.many.prices import Prices

_GAP = 1e-6
_LONGEST_S = 0.6
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
    """Whether more time would not raise the bound."""


def solve_alone(index: ProblemIndex, time_limit_s: float) -> Answer:
    """Solve a problem with one flow: the one place that names the solver.

    Parameters
    ----------
    index
        The problem, priced or not.
    time_limit_s
        Seconds after which the best choice and bound so far are returned.
    """
    found = solve_flow(index, time_limit_s=time_limit_s, gap=_GAP)
    if found.status == "infeasible":
        return Answer(None, math.inf, proven=True)
    # No cost and no price is negative.
    bound = max(0.0, found.bound) if math.isfinite(found.bound) else 0.0
    return Answer(found.choice, bound, proven=found.status == "optimal")


class Pricing:
    """Prices parts of one site, with a second process where there is a second core and enough to do."""

    def __init__(self, parts: Sequence[Part], coupling: Coupling, processes: int | None = None) -> None:
        self._parts, self._coupling = parts, coupling
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = cores if processes is None else processes
        self._workers: list[subprocess.Popen[bytes]] = []
        if len(parts) >= _WORTH_A_PROCESS or processes is not None:
            self._workers = [_start((tuple(parts), coupling)) for _ in range(wanted - 1)]

    def __enter__(self) -> Pricing:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()

    @property
    def processes(self) -> int:
        """How many problems are solved at a time."""
        return len(self._workers) + 1

    def price(
        self, wanted: Sequence[int], prices: Prices, until_s: float, longest_s: float = _LONGEST_S
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
        longest_s
            Seconds after which any one problem is left with the bound it has.

        Returns
        -------
        list of Answer
            In the order of `wanted`.
        """
        shares = [list(wanted[i :: len(self._workers) + 1]) for i in range(len(self._workers) + 1)]
        for worker, share in zip(self._workers, shares[1:], strict=True):
            _send(_pipe(worker.stdin), (share, prices, until_s - time.monotonic(), longest_s))
        here = price_here(self._parts, self._coupling, shares[0], prices, until_s, longest_s)
        answers = dict(zip(shares[0], here, strict=True))
        for worker, share in zip(self._workers, shares[1:], strict=True):
            answers |= zip(share, pickle.load(_pipe(worker.stdout)), strict=True)
        return [answers[g] for g in wanted]


def price_here(
    parts: Sequence[Part],
    coupling: Coupling,
    wanted: Sequence[int],
    prices: Prices,
    until_s: float,
    longest_s: float,
) -> list[Answer]:
    """Solve the priced problems of some parts in this process; see `Pricing.price`."""
    answers = []
    for g in wanted:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            answers.append(Answer(None, 0.0, proven=False))
            continue
        answers.append(solve_alone(priced(parts[g], coupling.parts[g], g, prices), min(left_s, longest_s)))
    return answers


def _start(site: object) -> subprocess.Popen[bytes]:
    """Start a worker: no fork, which threads of solvers do not survive, and nothing that asks for a main guard."""
    code = "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    code += "from placer.solver.many.pricing import work; work()"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _send(_pipe(worker.stdin), sys.path)
    _send(_pipe(worker.stdin), site)
    return worker


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _send(stream: IO[bytes], message: object) -> None:
    pickle.dump(message, stream)
    stream.flush()


def work() -> None:
    """Answer requests on standard input until it closes: the main loop of a second process."""
    # Ctrl-C is the parent's to answer; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parts, coupling = pickle.load(sys.stdin.buffer)
    while True:
        try:
            wanted, prices, left_s, longest_s = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(out, price_here(parts, coupling, wanted, prices, time.monotonic() + left_s, longest_s))
