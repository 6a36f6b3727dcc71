"""Branches where rows cannot say everything: one-time charges, colocation, shared and largest memory, shares.

Each part of the search is solved by `placer.solver.exact.node`, and what it finds is judged by the referee. Where
the referee's value is above the part's bound, or a rule is broken, the part is split by the first of these that
applies: an undecided item that the choice uses (pay it at once, or do without it); a memory that only the largest
workspace exceeds (reserve that much, or do without ops that work with as much); a colocated group (one part per
device); an op's place (keep it, or forbid it). Every split covers the part, so the least bound is the flow's; of parts
that differ by the names of devices alone one stands for all (`placer.solver.exact.orbits`). Where the cheapest way of
a part's bound switches on a device that costs much of what is left to prove, the part is split by it at once, before
any way is listed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from placer.evaluate import evaluate
from placer.solver.exact.bound import Bounder
from placer.solver.exact.measure import BlockMeter
from placer.solver.exact.node import NodeSolver
from placer.solver.exact.numbers import with_rows
from placer.solver.exact.orbits import Orbits
from placer.solver.exact.part import Part
from placer.solver.exact.prices import Room
from placer.solver.exact.rows import SLACK
from placer.solver.exact.structure import NOWHERE, Block

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.evaluate import Evaluation
    from placer.index import Choice
    from placer.solver.exact.node import NodeResult
    from placer.solver.exact.numbers import Flags, FlowNumbers
    from placer.solver.exact.rows import Array


_ENOUGH = 0.25
"""Share of the gap by which a part's bound may stay below the best choice."""
_NODE_GAP = 0.2
"""Share of it by which the bound may stay below the part's own best way: less, so that such a part is done."""


@dataclass(slots=True)
class Search:
    """The state of one search: what was found and what is left."""

    numbers: FlowNumbers
    gap: float
    stop: Callable[[], bool]
    progress: Callable[[float, float], None] | None = None
    choice: tuple[int, ...] | None = None
    objective: float = np.inf
    rows: frozenset[int] = frozenset()
    """Rows to begin with beside the objective and the deadline; those that choices broke are added."""
    parts: int = 0
    labels: int = 0
    _closed: float = np.inf
    _queue: list[tuple[float, int, Part, Array]] = field(default_factory=list)
    _pushed: int = 0
    _meter: BlockMeter = field(init=False)
    _known_orbits: Orbits | None = None

    def __post_init__(self) -> None:
        # The whole flow as one block: what a choice adds to every row.
        whole = Block(NOWHERE, NOWHERE, tuple(self.numbers.flow.topological), "general", (), (), False)
        self._meter = BlockMeter(self.numbers, whole)

    @property
    def _orbits(self) -> Orbits:
        """Made when something is split, which is rare."""
        if self._known_orbits is None:
            self._known_orbits = Orbits(self.numbers)
        return self._known_orbits

    @property
    def bound(self) -> float:
        """Lower bound of the objective over everything not refuted; infinite where nothing is feasible."""
        return min([self._closed, self.objective, *(value for value, *_ in self._queue[:1])])

    def offer(self, choice: Choice) -> Evaluation:
        """Judge a choice and keep it if it is allowed and better than what was found."""
        judged = evaluate(self.numbers.index, (choice,))
        if judged.feasible and judged.objective < self.objective:
            self.choice, self.objective = choice, judged.objective
        return judged

    def run(self) -> None:
        """Search until the bound meets what was found, or until told to stop."""
        n = self.numbers
        if not n.available.any(axis=1).all():
            # Some op can run nowhere: there is nothing to search.
            return
        active = np.zeros(n.rows.count, dtype=bool)
        active[0] = True
        if n.flow.flow.deadline_s is not None:
            active[1] = True
        active[[r for r in self.rows if r < n.rows.count]] = True
        while True:
            grown = self._with_active(active)
            if grown is None:
                return
            active |= grown
            self.rows |= {int(r) for r in np.flatnonzero(grown)}

    def _with_active(self, active: Flags) -> Flags | None:
        """Search with some rows; return the rows that must be added because a choice broke them, or nothing."""
        n = with_rows(self.numbers, active)
        solver = NodeSolver(Bounder(n), self.stop)
        start = np.zeros(n.rows.count)
        start[0] = 1.0
        room = Room(self.numbers.available, np.ones(len(n.index.links), dtype=bool))
        self._queue = []
        self._closed = np.inf
        self._push(-np.inf, Part(room), start)
        while self._queue:
            value, _, part, multipliers = self._queue[0]
            if self.stop():
                return None
            if value >= self._enough():
                break
            spent = self._spent(n, part)
            charges = n.rows.idle_rows[n.device_of, 0].copy()
            charges[np.isin(n.device_of, list(part.paid_devices))] = 0.0
            result = solver.solve(part.room, spent, multipliers, self._enough(), _NODE_GAP * self.gap, charges)
            self.parts += 1
            self.labels += result.labels
            heapq.heappop(self._queue)
            grown = self._settle(result, value, part, active)
            if grown is not None:
                return grown
            if self.progress is not None:
                self.progress(self.objective, self.bound)
        return None

    def _enough(self) -> float:
        """Parts whose bound is at least this cannot hold anything that matters."""
        return self.objective - _ENOUGH * self.gap * abs(self.objective) if np.isfinite(self.objective) else np.inf

    def _push(self, value: float, part: Part, multipliers: Array) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (value, self._pushed, part, multipliers))

    def _close(self, value: float) -> None:
        self._closed = min(self._closed, value)

    def _spent(self, n: FlowNumbers, part: Part) -> Array:
        spent = np.zeros(n.rows.count)
        for d in part.paid_devices:
            spent += n.rows.idle_rows[d]
        for k in part.paid_links:
            spent += n.rows.tail_rows[k]
        for d, size in part.workspaces:
            spent += n.rows.weights[:, d] * size
        return spent

    def _settle(self, result: NodeResult, value: float, part: Part, active: Flags) -> Flags | None:
        """Judge what a part gave: close it, or split it; or return rows that must become active."""
        bound = max(value, result.bound)
        if result.places is None:
            if bound >= self._enough():
                self._close(bound)
            elif result.device is not None:
                self._split_device(part, bound, result, result.device)
            else:
                self._split_op(part, bound, result, None)
            return None
        choice = self.numbers.choice_of(np.array(result.places))
        judged = self.offer(choice)
        if bound >= self._enough():
            self._close(bound)
            return None
        if not judged.feasible:
            broken = self._broken_rows(result.places, judged) & ~active
            if broken.any():
                self._close(bound)
                return broken
        for split in (self._split_item, self._split_memory, self._split_group):
            if split(part, bound, result, judged):
                return None
        self._split_op(part, bound, result, (result.places, judged))
        return None

    def _broken_rows(self, places: tuple[int, ...], judged: Evaluation) -> Flags:
        """Rows that a choice exceeds, by its exact sums."""
        n = self.numbers
        rows = self._meter.rows(NOWHERE, [places[v] for v in n.flow.topological], NOWHERE)
        if rows is None:
            return np.zeros(n.rows.count, dtype=bool)
        devices, links = _used(n, judged)
        rows = rows + sum((n.rows.idle_rows[d] for d in devices), np.zeros(n.rows.count))
        rows = rows + sum((n.rows.tail_rows[k] for k in links), np.zeros(n.rows.count))
        for d, size in enumerate(self._workspaces(places)):
            rows = rows + n.rows.weights[:, d] * size
        broken: Flags = rows > n.rows.limit
        return broken

    def _split_item(self, part: Part, bound: float, result: NodeResult, judged: Evaluation) -> bool:
        """Decide the dearest undecided item that the choice uses."""
        n = self.numbers
        devices, links = _used(n, judged)
        charges = [
            (float(n.rows.idle_rows[d, 0]), 0, d) for d in devices - part.paid_devices if n.rows.idle_rows[d].any()
        ]
        charges += [(float(n.rows.tail_rows[k, 0]), 1, k) for k in links - part.paid_links if n.rows.tail_rows[k].any()]
        if not charges:
            return False
        _, kind, item = max(charges)
        if kind == 0:
            self._split_device(part, bound, result, item)
            return True
        allowed = part.room.links.copy()
        allowed[item] = False
        self._push(bound, replace(part, paid_links=part.paid_links | {item}), result.multipliers)
        self._push(bound, replace(part, room=Room(part.room.available, allowed)), result.multipliers)
        return True

    def _split_device(self, part: Part, bound: float, result: NodeResult, device: int) -> None:
        """Pay for a device, or do without it."""
        n = self.numbers
        # Who uses a device that is alike might as well use this one.
        same = self._orbits.devices(part, device)
        available = part.room.available & ~(np.isin(n.device_of, same)[None, :] & (n.seconds > 0))
        self._push(bound, replace(part, paid_devices=part.paid_devices | {device}), result.multipliers)
        self._push_within(part, bound, result, available)

    def _split_memory(self, part: Part, bound: float, result: NodeResult, judged: Evaluation) -> bool:
        """Reserve memory for the largest workspace on a device, or do without the ops that work with as much.

        The row of a memory holds weights alone. If some op that works with at least w bytes is there, w bytes less
        are left for them; the choice found does not fit in there, and the other part has none of these ops.
        """
        n = self.numbers
        assert result.places is not None
        at = np.array(result.places)
        reserved = dict(part.workspaces)
        for d, size in enumerate(self._workspaces(result.places)):
            room = n.index.devices[d].memory_bytes
            if room is None or judged.memory_bytes[d] <= room or size <= reserved.get(d, 0.0):
                continue
            held = float(n.rows.weights_bytes[n.device_of[at] == d].sum())
            if held + size <= room * (1 + 2 * SLACK):
                # Weights counted in part make it more than that: no reserve excludes this choice.
                continue
            spared = np.array([op.workspace_bytes >= size for op in n.flow.flow.ops])
            available = part.room.available & ~(spared[:, None] & (n.device_of == d)[None, :])
            kept = replace(part, workspaces=tuple((reserved | {d: size}).items()))
            self._push(bound, kept, result.multipliers)
            self._push_within(part, bound, result, available)
            return True
        return False

    def _workspaces(self, places: tuple[int, ...]) -> list[float]:
        """Bytes of the largest workspace of a choice on each device."""
        largest = [0.0] * len(self.numbers.index.devices)
        for op, p in zip(self.numbers.flow.flow.ops, places, strict=True):
            d = int(self.numbers.device_of[p])
            largest[d] = max(largest[d], op.workspace_bytes)
        return largest

    def _split_group(self, part: Part, bound: float, result: NodeResult, judged: Evaluation) -> bool:
        """Put a torn colocated group onto each device in turn."""
        n, flow = self.numbers, self.numbers.flow
        assert result.places is not None
        for group in flow.flow.colocate:
            ops = [flow.position[name] for name in group]
            if len({int(n.device_of[result.places[v]]) for v in ops}) > 1:
                for d in self._orbits.first(part):
                    available = part.room.available.copy()
                    available[ops] &= n.device_of == d
                    if available[ops].any(axis=1).all():
                        self._push_within(part, bound, result, available)
                return True
        return False

    def _split_op(
        self, part: Part, bound: float, result: NodeResult, found: tuple[tuple[int, ...], Evaluation] | None
    ) -> None:
        """Decide an op's place: each in turn where prices leave it open, or one and all others; or close the part."""
        n = self.numbers
        freedom = part.room.available.sum(axis=1)
        if (freedom <= 1).all():
            self._judge_last(part)
            return
        here = np.arange(len(n.places))
        if result.split is not None and (found is None or found[1].feasible):
            for place in self._orbits.first_places(part, np.flatnonzero(part.room.available[result.split])):
                self._push_with(part, bound, result, result.split, here == place)
            return
        if found is None:
            v = int(np.argmax(freedom))
            p = int(np.flatnonzero(part.room.available[v])[0])
        else:
            v = self._suspect(freedom, *found)
            p = found[0][v]
        self._push_with(part, bound, result, v, here == p)
        self._push_with(part, bound, result, v, ~np.isin(here, self._orbits.places(part, p)))

    def _push_with(self, part: Part, bound: float, result: NodeResult, v: int, allowed: Flags) -> None:
        """Push the part in which op v has only the allowed places."""
        available = part.room.available.copy()
        available[v] &= allowed
        self._push_within(part, bound, result, available)

    def _push_within(self, part: Part, bound: float, result: NodeResult, available: Flags) -> None:
        """Push a part with less to choose from."""
        self._push(bound, replace(part, room=Room(available, part.room.links)), result.multipliers)

    def _judge_last(self, part: Part) -> None:
        """Ask the referee about the only choice that a part has left."""
        if not part.room.available.any(axis=1).all():
            return
        choice = self.numbers.choice_of(np.argmax(part.room.available, axis=1))
        judged = self.offer(choice)
        if judged.feasible:
            self._close(judged.objective)

    def _suspect(self, freedom: Array, places: tuple[int, ...], judged: Evaluation) -> int:
        """Pick the op whose place to decide: the largest on a device whose memory is exceeded, or the freest."""
        n = self.numbers
        for d, device in enumerate(n.index.devices):
            room = device.memory_bytes
            if room is not None and judged.memory_bytes[d] > room:
                here = [v for v in range(n.flow.size) if freedom[v] > 1 and n.device_of[places[v]] == d]
                if here:
                    ops = n.flow.flow.ops
                    return max(here, key=lambda v: ops[v].weights_bytes + ops[v].workspace_bytes)
        return int(np.argmax(freedom))


def _used(n: FlowNumbers, judged: Evaluation) -> tuple[set[int], set[int]]:
    """Devices that a choice switches on and links that it uses."""
    devices = {d for d, watts in enumerate(judged.idle_w) if watts > 0}
    return devices, {x.link for x in judged.flows[0].layout.transfers}
