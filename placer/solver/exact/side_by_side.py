"""Combinations of one choice per branch, pruned by what they cost together at least."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.branch_choices import TooMany

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.solver.exact.branch_choices import BranchChoice
    from placer.solver.exact.rows import Array


def products(
    lists: Sequence[Sequence[tuple[float, tuple[int, ...]]]], limit: float, most: int
) -> list[tuple[tuple[int, ...], ...]]:
    """List one item of each list (each cheapest first), of total price up to `limit`, at most `most` of them."""
    if any(not items for items in lists):
        return []
    rest = [0.0] * (len(lists) + 1)
    for i in range(len(lists) - 1, -1, -1):
        rest[i] = rest[i + 1] + lists[i][0][0]
    found: list[tuple[tuple[int, ...], ...]] = []

    def extend(i: int, price: float, items: tuple[tuple[int, ...], ...]) -> None:
        if i == len(lists):
            found.append(items)
            if len(found) > most:
                raise TooMany
            return
        for own, places in lists[i]:
            if price + own + rest[i + 1] > limit:
                break
            extend(i + 1, price + own, (*items, places))

    extend(0, 0.0, ())
    return found


def side_by_side(
    lists: Sequence[Sequence[BranchChoice]], limit: float, second: float, serial: bool, spend: Callable[[int], None]
) -> list[tuple[float, float, tuple[BranchChoice, ...]]]:
    """List the combinations of branch choices, at least one of which changes place more than once.

    Parameters
    ----------
    lists
        For each branch its choices, cheapest first.
    limit
        Highest price of a combination.
    second
        Price of a second of latency.
    serial
        Whether seconds add up over branches instead of running side by side.
    spend
        Called with the work done; may raise `TooMany`.

    Returns
    -------
    list
        (price, seconds of latency, choices), lower bounds, cheapest first.
    """
    if any(not choices for choices in lists):
        return []
    rest = [0.0] * (len(lists) + 1)
    for i in range(len(lists) - 1, -1, -1):
        rest[i] = rest[i + 1] + lists[i][0].price
    can_turn = [any(c.turns for choices in lists[i:] for c in choices) for i in range(len(lists))] + [False]
    found: list[tuple[float, float, tuple[BranchChoice, ...]]] = []

    def extend(
        i: int,
        price: float,
        head_s: float,
        path_s: float,
        load_s: Array,
        turned: bool,
        chosen: tuple[BranchChoice, ...],
    ) -> None:
        spend(1)
        if i == len(lists):
            latency_s = head_s + path_s if serial else max(head_s + path_s, float(load_s.max()))
            found.append((price + second * (latency_s - head_s), latency_s, chosen))
            return
        for choice in lists[i]:
            # The price holds the first runs' seconds already.
            if price + choice.price + rest[i + 1] + second * path_s > limit:
                break
            if not (turned or choice.turns or can_turn[i + 1]):
                continue
            path = path_s + choice.path_s if serial else max(path_s, choice.path_s)
            load = load_s + choice.load_s
            head = head_s + choice.head_s
            latency_s = head + path if serial else max(head + path, float(load.max()))
            if price + choice.price + rest[i + 1] + second * (latency_s - head) <= limit:
                extend(i + 1, price + choice.price, head, path, load, turned or choice.turns, (*chosen, choice))

    extend(0, 0.0, 0.0, 0.0, np.zeros(len(lists[0][0].load_s)), False, ())
    return sorted(found, key=lambda item: item[:2])
