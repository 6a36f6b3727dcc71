"""The Lagrangian bound of a whole flow: blocks priced, then a shortest path along the chain of joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.chain_bound import ChainTables, price_chains
from placer.solver.exact.chain_layout import ChainLayout
from placer.solver.exact.general_bound import GeneralBlock
from placer.solver.exact.pauses import Pauses
from placer.solver.exact.prices import Prices, Room, price
from placer.solver.exact.structure import NOWHERE, split

if TYPE_CHECKING:
    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.rows import Array


@dataclass(frozen=True, slots=True)
class Bound:
    """The bound at one vector of multipliers, and where it comes from.

    Joint places have one more position than P at the end: that of `NOWHERE`.
    """

    multipliers: Array
    prices: Prices
    chains: ChainTables
    joint: Array
    """(joints, P + 1) price of each joint's own op."""
    blocks: Array
    """(blocks, P + 1, P + 1) lower bound of each block's price."""
    ahead: Array
    """(joints, P + 1) cheapest way from a joint's place to the end, its own op left out."""
    behind: Array
    """(joints, P + 1) cheapest way from the start up to a joint's place, its own op included."""
    value: float
    """Lower bound of the objective; infinite if the room admits nothing."""
    offset: float
    """The limits' price, to be added to every sum of prices to bound the objective."""

    def through(self, block: int) -> Array:
        """(P + 1, P + 1) lower bound of the objective with given places of a block's joints."""
        there = self.ahead[block + 1] + self.joint[block + 1]
        total: Array = self.offset + self.behind[block][:, None] + self.blocks[block] + there[None, :]
        return total

    def path(self) -> list[int]:
        """Places of the joints on a cheapest way."""
        place = int(np.argmin(self.joint[0] + self.ahead[0]))
        places = [place]
        for i, block in enumerate(self.blocks):
            place = int(np.argmin(block[place] + self.joint[i + 1] + self.ahead[i + 1]))
            places.append(place)
        return places


class Bounder:
    """Bounds one flow from below for any room and multipliers."""

    def __init__(self, numbers: FlowNumbers) -> None:
        self.numbers = numbers
        self.joints, self.blocks = split(numbers)
        self.pauses = Pauses(numbers)
        self.layout = ChainLayout(numbers, self.blocks, self.pauses)
        general = [(i, b) for i, b in enumerate(self.blocks) if b.kind == "general"]
        self.general = {i: GeneralBlock(numbers, b, self.pauses) for i, b in general}
        self._edges()

    def _edges(self) -> None:
        """Lay out the blocks without inner ops; all their tensors go at once."""
        n, flow = self.numbers, self.numbers.flow
        self._plain = [i for i, b in enumerate(self.blocks) if b.kind == "edge"]
        self.plain_row = {i: r for r, i in enumerate(self._plain)}
        blocks = [self.blocks[i] for i in self._plain]
        count = len(n.places)
        self._plain_bytes = np.array([n.tensor_bytes[list(b.tensors)].sum(axis=0) for b in blocks]).reshape(-1, count)
        largest = np.array([n.tensor_bytes[list(b.tensors)].max(axis=0) for b in blocks]).reshape(-1, count)
        self._plain_tensors = np.array([len(b.tensors) for b in blocks], dtype=np.float64)
        self._plain_share = np.array([flow.share[b.exit] for b in blocks])
        self._plain_end = np.array([flow.is_endpoint[b.exit] for b in blocks], dtype=bool)
        self._plain_loose = np.array(
            [flow.is_endpoint[b.entry] or flow.is_endpoint[b.exit] for b in blocks], dtype=bool
        )
        hops = self._plain_tensors if n.serial else np.ones(len(blocks))
        other = n.device_of[:, None] != n.device_of[None, :]
        longest = self._plain_bytes if n.serial else largest
        # On a link tensors follow each other; conversions on one device overlap.
        self.plain_s = np.where(
            other,
            hops[:, None, None] * n.transfer_s + self._plain_bytes[:, :, None] * n.byte_s,
            longest[:, :, None] * n.byte_s,
        )
        held = [self.pauses.of_message(*own) for own in zip(self._plain_bytes, self._plain_share, strict=True)]
        self.plain_held_s = np.array(held).reshape(-1, count, count)

    def at(self, room: Room, multipliers: Array, spent: Array) -> Bound:
        """Bound the objective from below.

        Parameters
        ----------
        room
            What may be chosen from.
        multipliers
            (R,), not negative; the objective's is first (1, or 0 to bound a limit alone).
        spent
            (R,) what is added to every row whatever the choice.
        """
        n = self.numbers
        count = len(n.places)
        prices = price(n, room, multipliers)
        chains = price_chains(self.layout, prices)
        blocks = np.full((len(self.blocks), count + 1, count + 1), np.inf)
        if self.layout.blocks:
            blocks[list(self.layout.blocks), :count, :count] = chains.block
        if self._plain:
            blocks[self._plain, :count, :count] = self._price_edges(prices)
        for i, general in self.general.items():
            blocks[i] = general.price(prices)
        joint = np.full((len(self.joints), count + 1), np.inf)
        for i, v in enumerate(self.joints):
            if v == NOWHERE:
                joint[i, count] = 0.0
            else:
                joint[i, :count] = prices.op_full[v]
                if i == 0 and not n.flow.is_endpoint[v]:
                    joint[i, :count] += prices.segment(n.flow.share[v]) + prices.second * n.segment_s
        finite = np.isfinite(n.rows.limit)
        offset = float(multipliers @ spent - multipliers[finite] @ n.rows.limit[finite])
        ahead, behind = sweep(joint, blocks)
        value = float((behind[-1]).min()) + offset
        return Bound(multipliers, prices, chains, joint, blocks, ahead, behind, value, offset)

    def _price_edges(self, prices: Prices) -> Array:
        n = self.numbers
        count = len(n.places)
        moving = self._plain_share[:, None, None] * (
            self._plain_tensors[:, None, None] * prices.transfer + self._plain_bytes[:, :, None] * prices.transfer_byte
        )
        start = prices.segment(self._plain_share) + prices.second * n.segment_s
        start[self._plain_end] = 0.0
        changed = moving + prices.blocked + prices.second * self.plain_s + start[:, None, :]
        if prices.held:
            changed += prices.held * self.plain_held_s
        here = np.eye(count, dtype=bool)
        kept = np.where(self._plain_loose[:, None, None], start[:, None, :], 0.0)
        priced: Array = np.where(here, kept, changed)
        return priced


def sweep(joint: Array, blocks: Array) -> tuple[Array, Array]:
    """Run shortest paths along the joints, backward and forward: `Bound.ahead` and `Bound.behind`."""
    last = len(joint) - 1
    ahead, behind = np.zeros_like(joint), np.zeros_like(joint)
    behind[0] = joint[0]
    for i in range(last):
        behind[i + 1] = (behind[i][:, None] + blocks[i]).min(axis=0) + joint[i + 1]
    for i in range(last - 1, -1, -1):
        ahead[i] = (blocks[i] + (ahead[i + 1] + joint[i + 1])).min(axis=1)
    return ahead, behind
