"""Prices parts and lists their fronts, here or in a second process; the results do not depend on which."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from placer.solver.many.answers import Request, front_here, price_here
from placer.solver.many.worker import Worker
from placer.solver.outcome import OPTIMALITY_GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from placer.index import Choice
    from placer.solver.exact.front import Front
    from placer.solver.many.answers import Answer, FrontRequest
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part
    from placer.solver.many.prices import Prices

T = TypeVar("T")

_LONGEST_S = 2.0
"""A flow that takes longer is answered with the bound reached by then, so that no round waits for one of many."""
_WORTH_A_PROCESS = 25
"""Fewer parts than this are priced before a second process has started."""


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
