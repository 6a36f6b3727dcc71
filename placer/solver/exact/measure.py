"""What a whole choice for one block adds to every row, by the referee's own segments and schedule.

A block is measured as a small flow of its own, from the start of its entry's segment to the end of its exit's
segment, at rest before and after (see `placer.solver.exact.structure` for why that is exact), less what belongs
to the joints themselves: their own rows and seconds, and the start of the entry's segment.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from placer.connections import hold
from placer.index import FlowIndex
from placer.problem import Flow
from placer.schedule import run_schedule, serial_latency_s
from placer.segments import lay_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.segments import Layout
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
            readers = tuple(c for c in tensor.consumers if c in names)
            tensors.append(msgspec.structs.replace(tensor, consumers=readers))
        rate_hz = whole.flow.rate_hz
        flow = Flow(name=whole.name, rate_hz=rate_hz, ops=tuple(whole.flow.ops[v] for v in ops), tensors=tuple(tensors))
        super().__init__(flow, numbers.index.device_position, numbers.index.modes)
        self._endpoints = tuple(whole.is_endpoint[v] for v in ops)

    @cached_property
    def is_endpoint(self) -> tuple[bool, ...]:
        """For each op, whether it is a source or sink of the whole flow."""
        return self._endpoints


class BlockMeter:
    """Measures whole choices of one block and remembers them."""

    def __init__(self, numbers: FlowNumbers, block: Block) -> None:
        self._numbers = numbers
        self._block = block
        self._ops = tuple(sorted(v for v in (block.entry, *block.inner, block.exit) if v >= 0))
        self._known: dict[tuple[int, ...], Array | None] = {}

    @cached_property
    def _flow(self) -> _BlockFlow:
        return _BlockFlow(self._numbers, self._ops)

    def rows(self, entry: int, inner: Sequence[int], exit_: int) -> Array | None:
        """Measure what a choice adds to every row.

        Parameters
        ----------
        entry, exit_
            Places of the joints (ignored where there is none).
        inner
            Places of the inner ops, in the block's order.

        Returns
        -------
        Array or None
            (R,), or None if a tensor would go where it cannot or must not.
        """
        key = (entry, *inner, exit_)
        if key not in self._known:
            self._known[key] = self._measure(key)
        return self._known[key]

    def _measure(self, key: tuple[int, ...]) -> Array | None:
        n, block = self._numbers, self._block
        place = dict(zip((block.entry, *block.inner, block.exit), key, strict=True))
        choice = [int(n.option_at[v, place[v]]) for v in self._ops]
        layout = lay_out(n.index, self._flow, choice)
        if layout.forbidden:
            return None
        own = -1
        total = np.zeros(n.rows.count)
        joint_s = 0.0
        for v in (block.entry, block.exit):
            if v >= 0:
                joint_s += float(n.seconds[v, place[v]])
        if block.entry >= 0:
            own = layout.segment_of[self._ops.index(block.entry)]
            if own >= 0:
                joint_s += float(n.segment_s[place[block.entry]])
        for v in block.inner:
            total += n.op_rows[v, place[v]]
        for i, segment in enumerate(layout.segments):
            if i != own:
                p = n.places.index((segment.device, segment.mode))
                total += segment.share * n.segment_share_rows[p] + n.segment_busy_rows[p]
        for x in layout.transfers:
            p = place[self._ops[self._flow.tensors[x.tensor].producer]]
            q = int(np.flatnonzero(n.device_of == x.target)[0])
            total += x.share * (n.transfer_rows[p, q] + x.bytes * n.transfer_byte_rows[p, q])
        for c in layout.conversions:
            total += c.share * c.joules * n.rows.energy[:, c.device]
        latency_s = self._latency_s(layout)
        measured: Array = total + n.rows.latency * (latency_s - joint_s)
        if n.rows.paused.any():
            held = hold(n.index, self._flow, layout, "paused")
            if any(x.held_s for x in held.transfers):
                measured += n.rows.paused * (self._latency_s(held) - latency_s)
        return measured

    def _latency_s(self, layout: Layout) -> float:
        n = self._numbers
        return serial_latency_s(n.index, layout) if n.serial else run_schedule(n.index, self._flow, layout).latency_s
