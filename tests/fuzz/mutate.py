"""Damage to bytes, as a stranger or a bad disk does it: a few changed, cut off, doubled, or moved."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Give a damaged copy."""
    made = bytearray(content)
    if not made:
        return rng.randbytes(rng.randrange(20))
    kind = rng.randrange(10)
    if kind == 0:
        return bytes(made[: rng.randrange(len(made))])
    if kind == 1:
        start = rng.randrange(len(made))
        return bytes(made[:start] + made[max(0, start - rng.randrange(64)) :])
    if kind == 2:
        start = rng.randrange(len(made))
        return bytes(made[:start] + rng.randbytes(rng.randrange(1, 12)) + made[start:])
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(made))
        if rng.random() < 0.7:
            made[place] = rng.choice((0, 1, 127, 128, 255, made[place] ^ 1 << rng.randrange(8)))
        else:
            extreme = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(-len(made), len(made))))
            made[place : place + 4] = struct.pack("<i", extreme)
    return bytes(made)
