"""Choices that run a flow's first ops at home and the rest on one other device, for caps that need filling.

Prices bring the choices that are best for some price. Where a cap on a queue is shared by a few flows, what is left
of it at the end often suits a choice that is best at no price: one cut a little later, with a little less to send.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from placer.baselines import all_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from placer.index import Choice, FlowIndex


def prefixes(flow: FlowIndex, devices: Iterable[int]) -> Iterator[Choice]:
    """Cut a flow wherever less crosses than at every earlier place.

    Parameters
    ----------
    flow
        The flow; where it has several sources, home is that of the first.
    devices
        Where the rest may run.

    Yields
    ------
    Choice
        Not checked against any rule.
    """
    home = all_on(flow, flow.source_devices[0]) if flow.source_devices else None
    if home is None:
        return
    cuts = list(_cuts(flow))
    for d in devices:
        away = all_on(flow, d)
        if away is None:
            continue
        for k in cuts:
            front = set(flow.topological[:k])
            yield tuple(h if v in front else a for v, (h, a) in enumerate(zip(home, away, strict=True)))


def _cuts(flow: FlowIndex) -> Iterator[int]:
    """Positions of the topological order before which fewer bytes cross than before any earlier one."""
    position = {v: i for i, v in enumerate(flow.topological)}
    crossing = [0.0] * (flow.size + 1)
    for tensor in flow.tensors:
        if tensor.consumers:
            for k in range(position[tensor.producer] + 1, max(position[c] for c in tensor.consumers) + 1):
                crossing[k] += tensor.bytes
    least = math.inf
    for k in range(1, flow.size):
        if crossing[k] < least:
            least = crossing[k]
            yield k
