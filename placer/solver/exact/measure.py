"""What a whole choice for one block adds to every row, by the referee's own segments and schedule.

A block is measured as a small flow of its own, from the start of its entry's segment to the end of its exit's
segment, at rest before and after (see `placer.solver.exact.structure` for why that is exact), less what belongs
to the joints themselves: their own rows and seconds, and the start of the entry's segment.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from placer.index import FlowIndex
from placer.problem import Flow
from placer.schedule import run_schedule, serial_latency_s
from placer.segments import lay_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block


class _BlockFlow(FlowIndex):
    """A block as a flow; its ends are endpoints only where they are so in the whole flow."""

    def __init__(self, numbers: FlowNumbers, ops: Sequence[int]) -> None:
        whole = numbers.flow
        names = {whole.flow.ops[v].name for v in ops}
        tensors = []
        for t in sorted({t for v in ops for t in whole.outputs[v]}):
            tensor = whole.flow.tensors[t]
            kept = tuple(c for c in tensor.consumers if c in names)
            tensors.append(_replaced(tensor, kept))
        flow = Flow(
            name=whole.name,
            ops=tuple(whole.flow.ops[v] for v in ops),
            tensors=tuple(t for t in tensors if t.consumers),
            rate_hz=whole.flow.rate_hz,
        )
        made = {t.name for t in flow.tensors}
        flow = _without_unread_sizes(flow, made)
        super().__init__(flow, numbers.index.device_position, numbers.index.modes)
        self._endpoints = tuple(whole.is_endpoint[v] for v in ops)

    @cached_property
    def is_endpoint(self) -> tuple[bool, ...]:
        return self._endpoints
