"""A flow's own problem beside what the other flows of a plan leave of everything shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.solver.many.prices import no_prices, priced

if TYPE_CHECKING:
    from placer.index import ProblemIndex
    from placer.solver.many.stock import Stock


def beside(stock: Stock, g: int) -> ProblemIndex:
    """Return the problem of one member of part g beside the others, who must be all that is in the stock.

    Devices and queues have what the others leave of them, and devices that others need on cost no idle power.
    Weights that others hold already are counted again and caps on power and totals are left out: the answer is a
    proposal, to be checked by whoever asks.
    """
    part, coupling = stock.parts[g], stock.coupling
    rows = coupling.parts[g]
    index = priced(part, rows, g, no_prices(coupling))
    left = dict(zip(rows.rows, (float(coupling.caps[r] - stock.load[r]) for r in rows.rows), strict=True))
    devices = list(index.devices)
    air: dict[int, float] = {}
    for k, r in enumerate(rows.rows):
        for i in rows.busy[k].nonzero()[0]:
            room = min(devices[i].max_utilization, max(0.0, left[r]))
            devices[i] = msgspec.structs.replace(devices[i], max_utilization=room)
        for m in rows.air[k].nonzero()[0]:
            air[int(m)] = max(0.0, left[r])
    for i, d in enumerate(part.devices):
        if d in coupling.crowded:
            memory_bytes = max(0.0, coupling.crowded[d] - stock.memory_bytes(d))
            devices[i] = msgspec.structs.replace(devices[i], memory_bytes=memory_bytes)
        if d in coupling.on_cost:
            idle_w = 0.0 if stock.users[d] else coupling.on_cost[d]
            devices[i] = msgspec.structs.replace(devices[i], idle_w=idle_w)
    index.devices = tuple(devices)
    index.links = tuple(
        msgspec.structs.replace(link, max_utilization=min(link.max_utilization, air.get(m, link.max_utilization)))
        for link, m in zip(index.links, index.medium_of, strict=True)
    )
    return index
