"""Improves a choice of one flow by moving a few ops at a time, each judged by `evaluate`; it proves nothing.

Where many plans are nearly alike, on equal devices with little memory, exact searches are slow to find a good one. A
plan is mostly changed for the better at its edges: ops next to a change of place join their neighbour's place, alone or
with some of their segment. Where that overfills the memory there, others move back in exchange.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from placer import rules
from placer.evaluate import evaluate
from placer.solver.fill import groups
from placer.solver.outcome import Outcome

if TYPE_CHECKING:
    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex

_STALLED = 400
"""Moves without a gain, and as many for each tenth op, after which a search ends before its time."""

_RUNS = (1, 2, 3, 5, 8, 13)
"""How many ops of a segment move at once."""

_BACK = (1, 2, 4, 8, 16, 64)
"""How many groups move back in exchange."""

Place = tuple[int, int]
"""Device and mode."""


def improve(index: ProblemIndex, choices: tuple[Choice, ...], *, time_limit_s: float, seed: int) -> Outcome:
    """Search around a choice for a better one.

    Parameters
    ----------
    index
        A problem with one flow.
    choices
        An allowed choice to begin with.
    time_limit_s
        Wall-clock seconds after which the best so far is returned. Ctrl-C does the same.
    seed
        Of the moves that are tried.

    Returns
    -------
    Outcome
        "feasible", with a bound of 0.
    """
    begin_s = time.monotonic()
    moves = _Moves(index, random.Random(seed))
    (choice,) = choices
    best = evaluate(index, choices)
    full = {rules.memory(d.name) for d in index.devices}
    stalled, rounds, interrupted = 0, 0, False
    most = _STALLED * (1 + moves.flow.size // 10)
    try:
        while stalled < most and time.monotonic() - begin_s < time_limit_s:
            rounds += 1
            stalled += 1
            moved = moves.draw(choice, best)
            if moved is None:
                continue
            found = evaluate(index, (moved,))
            if found.violations and all(v.rule in full for v in found.violations):
                moved = moves.exchange(choice, moved)
                found = evaluate(index, (moved,))
            if found.feasible and found.objective <= best.objective:
                # Equal is taken too: it leads across plains, but is no gain.
                if found.objective < best.objective * (1 - 1e-9):
                    stalled = 0
                choice, best = moved, found
    except KeyboardInterrupt:
        interrupted = True
    return Outcome("feasible", (choice,), best, 0.0, time.monotonic() - begin_s, rounds, interrupted)


class _Moves:
    """Draws changes of a choice."""

    def __init__(self, index: ProblemIndex, rng: random.Random) -> None:
        self.flow = flow = index.flows[0]
        self.rng = rng
        self.group = groups(flow)
        self.rank = {v: i for i, v in enumerate(flow.topological)}
        self.option: list[dict[Place, int]] = [
            {(option.device, option.mode): o for o, option in enumerate(options)} for options in flow.options
        ]
        self.free = [v for v in range(flow.size) if len(flow.options[v]) > 1]

    def _place(self, choice: Choice, v: int) -> Place:
        option = self.flow.options[v][choice[v]]
        return option.device, option.mode

    def draw(self, choice: Choice, evaluation: Evaluation) -> Choice | None:
        """Move some ops to another place; None where the move drawn is no move."""
        rng = self.rng
        if not self.free:
            return None
        mover = rng.choice(self.free)
        kind = rng.random()
        ops = [mover]
        if kind < 0.75:
            here = self._place(choice, mover)
            across = [
                (w, forward)
                for neighbours, forward in ((self.flow.predecessors, True), (self.flow.successors, False))
                for w in neighbours[mover]
                if self._place(choice, w) != here
            ]
            if not across:
                return None
            other, forward = rng.choice(across)
            target = self._place(choice, other)
            if rng.random() < 0.6:
                ops = self._run(mover, evaluation, forward)
        else:
            target = rng.choice(list(self.option[mover]))
            if rng.random() < 0.5:
                ops = self._segment(mover, evaluation)
        return self._moved(choice, ops, target)

    def _segment(self, v: int, evaluation: Evaluation) -> list[int]:
        layout = evaluation.flows[0].layout
        s = layout.segment_of[v]
        return [v] if s < 0 else sorted(layout.segments[s].ops, key=self.rank.__getitem__)

    def _run(self, v: int, evaluation: Evaluation, forward: bool) -> list[int]:
        """Take an op and those of its segment right before it in the order of the data, or right behind it."""
        count = self.rng.choice(_RUNS)
        ops = self._segment(v, evaluation)
        i = ops.index(v)
        return ops[max(0, i + 1 - count) : i + 1] if forward else ops[i : i + count]

    def _moved(self, choice: Choice, ops: list[int], target: Place) -> Choice | None:
        """Move ops and what must go with them; None if one has no option there or nothing changes."""
        changed = list(choice)
        for v in ops:
            for w in self.group[v]:
                if w != v and self._place(choice, w)[0] == target[0]:
                    continue
                if target not in self.option[w]:
                    return None
                changed[w] = self.option[w][target]
        moved = tuple(changed)
        return None if moved == choice else moved

    def exchange(self, before: Choice, after: Choice) -> Choice:
        """Move some of what was at the new place before back to the old one, from one end or the other."""
        mover = next(v for v in range(self.flow.size) if before[v] != after[v])
        origin, target = self._place(before, mover), self._place(after, mover)
        there = [v for v in self.free if self._place(before, v) == target]
        there.sort(key=self.rank.__getitem__, reverse=self.rng.random() < 0.5)
        moved = self._moved(after, there[: self.rng.choice(_BACK)], origin)
        return after if moved is None else moved
