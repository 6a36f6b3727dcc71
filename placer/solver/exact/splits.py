"""Ways to split a part of the search; what they give covers the part.

The first that applies is taken: an undecided item that the choice uses (pay it at once, or do without it); a memory
that only the largest workspace exceeds (reserve that much, or do without ops that work with as much); a colocated group
(one part per device); an op's place (keep it, or forbid it). Of parts that differ by the names of devices alone one
stands for all (`placer.solver.exact.orbits`). Where the cheapest way of a part's bound switches on a device that costs
much of what is left to prove, the part is split by it at once, before any way is listed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from placer.solver.exact.orbits import Orbits
from placer.solver.exact.prices import Room
from placer.solver.exact.rows import SLACK

if TYPE_CHECKING:
    from placer.evaluate import Evaluation
    from placer.solver.exact.numbers import Flags, FlowNumbers
    from placer.solver.exact.part import Part
    from placer.solver.exact.rows import Array


class Found(NamedTuple):
    """The choice that a part's bound stands for: each op's place, and what the referee says of it."""

    places: tuple[int, ...]
    judged: Evaluation


class Splits:
    """The splits of one flow's parts.

    Parameters
    ----------
    numbers
        The flow.
    """

    def __init__(self, numbers: FlowNumbers) -> None:
        self._numbers = numbers

    @cached_property
    def _orbits(self) -> Orbits:
        # Made when something is split, which is rare.
        return Orbits(self._numbers)

    def device(self, part: Part, device: int) -> tuple[Part, ...]:
        """Pay for a device, or do without it."""
        n = self._numbers
        # Who uses a device that is alike might as well use this one.
        same = self._orbits.devices(part, device)
        available = part.room.available & ~(np.isin(n.device_of, same)[None, :] & (n.seconds > 0))
        return replace(part, paid_devices=part.paid_devices | {device}), _within(part, available)

    def item(self, part: Part, found: Found) -> tuple[Part, ...] | None:
        """Decide the dearest undecided item that the choice uses."""
        n = self._numbers
        devices, links = used_items(found.judged)
        charges = [
            (float(n.rows.idle_rows[d, 0]), 0, d) for d in devices - part.paid_devices if n.rows.idle_rows[d].any()
        ]
        charges += [(float(n.rows.tail_rows[k, 0]), 1, k) for k in links - part.paid_links if n.rows.tail_rows[k].any()]
        if not charges:
            return None
        _, kind, item = max(charges)
        if kind == 0:
            return self.device(part, item)
        allowed = part.room.links.copy()
        allowed[item] = False
        return (
            replace(part, paid_links=part.paid_links | {item}),
            replace(part, room=Room(part.room.available, allowed)),
        )

    def memory(self, part: Part, found: Found) -> tuple[Part, ...] | None:
        """Reserve memory for the largest workspace on a device, or do without the ops that work with as much.

        The row of a memory holds weights alone. If some op that works with at least w bytes is there, w bytes less
        are left for them; the choice found does not fit in there, and the other part has none of these ops.
        """
        n = self._numbers
        at = np.array(found.places)
        reserved = dict(part.workspaces)
        for d, size in enumerate(workspaces(n, found.places)):
            room = n.index.devices[d].memory_bytes
            if room is None or found.judged.memory_bytes[d] <= room or size <= reserved.get(d, 0.0):
                continue
            held = float(n.rows.weights_bytes[n.device_of[at] == d].sum())
            if held + size <= room * (1 + 2 * SLACK):
                # Weights counted in part make it more than that: no reserve excludes this choice.
                continue
            spared = np.array([op.workspace_bytes >= size for op in n.flow.flow.ops])
            available = part.room.available & ~(spared[:, None] & (n.device_of == d)[None, :])
            return replace(part, workspaces=tuple((reserved | {d: size}).items())), _within(part, available)
        return None

    def group(self, part: Part, found: Found) -> tuple[Part, ...] | None:
        """Put a torn colocated group onto each device in turn."""
        n, flow = self._numbers, self._numbers.flow
        for group in flow.flow.colocate:
            ops = [flow.position[name] for name in group]
            if len({int(n.device_of[found.places[v]]) for v in ops}) > 1:
                parts = []
                for d in self._orbits.first(part):
                    available = part.room.available.copy()
                    available[ops] &= n.device_of == d
                    if available[ops].any(axis=1).all():
                        parts.append(_within(part, available))
                return tuple(parts)
        return None

    def op(self, part: Part, split: int | None, found: Found | None) -> tuple[Part, ...] | None:
        """Decide an op's place: each in turn where prices leave it open, or one and all others; None if all are.

        Parameters
        ----------
        part
            The part.
        split
            An op whose place prices leave open, if there is one.
        found
            The choice; None where none is known.
        """
        n = self._numbers
        freedom = part.room.available.sum(axis=1)
        if (freedom <= 1).all():
            return None
        here = np.arange(len(n.places))
        if split is not None and (found is None or found.judged.feasible):
            places = self._orbits.first_places(part, np.flatnonzero(part.room.available[split]))
            return tuple(_with(part, split, here == place) for place in places)
        if found is None:
            v = int(np.argmax(freedom))
            p = int(np.flatnonzero(part.room.available[v])[0])
        else:
            v = self._suspect(freedom, found)
            p = found.places[v]
        return _with(part, v, here == p), _with(part, v, ~np.isin(here, self._orbits.places(part, p)))

    def _suspect(self, freedom: Array, found: Found) -> int:
        """Pick the op whose place to decide: the largest on a device whose memory is exceeded, or the freest."""
        n = self._numbers
        for d, device in enumerate(n.index.devices):
            room = device.memory_bytes
            if room is not None and found.judged.memory_bytes[d] > room:
                here = [v for v in range(n.flow.size) if freedom[v] > 1 and n.device_of[found.places[v]] == d]
                if here:
                    ops = n.flow.flow.ops
                    return max(here, key=lambda v: ops[v].weights_bytes + ops[v].workspace_bytes)
        return int(np.argmax(freedom))


def used_items(judged: Evaluation) -> tuple[set[int], set[int]]:
    """Give the devices that a choice switches on, and the links that it uses."""
    devices = {d for d, watts in enumerate(judged.idle_w) if watts > 0}
    return devices, {x.link for x in judged.flows[0].layout.transfers}


def workspaces(n: FlowNumbers, places: tuple[int, ...]) -> list[float]:
    """Give the bytes of the largest workspace of a choice on each device."""
    largest = [0.0] * len(n.index.devices)
    for op, p in zip(n.flow.flow.ops, places, strict=True):
        d = int(n.device_of[p])
        largest[d] = max(largest[d], op.workspace_bytes)
    return largest


def _with(part: Part, v: int, allowed: Flags) -> Part:
    """Leave only the allowed places to op v."""
    available = part.room.available.copy()
    available[v] &= allowed
    return _within(part, available)


def _within(part: Part, available: Flags) -> Part:
    """Leave less to choose from."""
    return replace(part, room=Room(available, part.room.links))
