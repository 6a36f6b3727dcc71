"""Which devices a part of the search cannot tell apart, so that a split need try one of them only.

Devices that are alike in the problem (`placer.solver.alike`) stay so in a part that treats them equally: the same
ops may run there, both or neither are paid for, as much memory is reserved, and nothing is decided about their links.
To every choice in the part that uses one there is an equal one, in the part too, that uses the other instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.solver.alike import alike

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.part import Part


class Orbits:
    """The devices and places of one flow that parts cannot tell apart."""

    def __init__(self, numbers: FlowNumbers) -> None:
        index = numbers.index
        self._class = {d: devices for devices in alike(index) for d in devices}
        # Places are sorted by device and mode, and devices that are alike have the same modes.
        self._columns = {d: np.flatnonzero(numbers.device_of == d) for d in range(len(index.devices))}
        self._device_of = numbers.device_of
        self._links = {
            d: [k for k, link in enumerate(index.links) if index.devices[d].name in (link.source, link.target)]
            for d in self._class
        }

    def devices(self, part: Part, device: int) -> list[int]:
        """Return a device and those that the part cannot tell from it."""
        return [d for d in self._class.get(device, (device,)) if d == device or self._same(part, device, d)]

    def _same(self, part: Part, a: int, b: int) -> bool:
        if (a in part.paid_devices) != (b in part.paid_devices):
            return False
        reserved = dict(part.workspaces)
        if reserved.get(a) != reserved.get(b):
            return False
        links = self._links[a] + self._links[b]
        if not part.room.links[links].all() or not part.paid_links.isdisjoint(links):
            return False
        available = part.room.available
        return bool((available[:, self._columns[a]] == available[:, self._columns[b]]).all())

    def first(self, part: Part) -> list[int]:
        """Return devices so that each device is one of them or cannot be told from one of them."""
        found: list[int] = []
        for d in self._columns:
            if not any(d in self.devices(part, other) for other in found):
                found.append(d)
        return found

    def places(self, part: Part, place: int) -> npt.NDArray[np.int64]:
        """Return a place and those of the same mode that the part cannot tell from it."""
        device = int(self._device_of[place])
        mode = place - self._columns[device][0]
        return np.array([self._columns[d][mode] for d in self.devices(part, device)], dtype=np.int64)

    def first_places(self, part: Part, places: Iterable[int]) -> list[int]:
        """Drop the places that cannot be told from one before them."""
        found: list[int] = []
        seen: set[int] = set()
        for place in places:
            if int(place) not in seen:
                found.append(int(place))
                seen.update(int(p) for p in self.places(part, int(place)))
        return found
