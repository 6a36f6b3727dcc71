"""Groups of parts that share a device or a queue, directly or through others: the integer master takes one at a time.

Caps on the site as a whole join no clusters: each cluster takes what the others leave of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part


def clusters(parts: Sequence[Part], coupling: Coupling) -> list[tuple[int, ...]]:
    """Group parts by what they share.

    Returns
    -------
    list of tuple of int
        Positions of parts, each in exactly one cluster; in the order of the first.
    """
    leader = list(range(len(parts)))

    def find(g: int) -> int:
        while leader[g] != g:
            leader[g] = leader[leader[g]]
            g = leader[g]
        return g

    first: dict[Hashable, int] = {}
    for g, part in enumerate(parts):
        shared = [("device", d) for d, private in zip(part.devices, part.private, strict=True) if not private]
        for key in [*shared, *(("row", r) for r in coupling.parts[g].rows if r not in coupling.wide)]:
            a, b = find(first.setdefault(key, g)), find(g)
            leader[max(a, b)] = min(a, b)
    found: dict[int, list[int]] = {}
    for g in range(len(parts)):
        found.setdefault(find(g), []).append(g)
    return [tuple(group) for group in found.values()]
