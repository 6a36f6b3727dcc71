from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer.solver.exact.branch_choices import BranchChoice, TooMany
from placer.solver.exact.side_by_side import products, side_by_side
from placer.solver.exact.undominated import undominated

NUMBERS = st.integers(0, 6).map(float)


def _choice(price: float, head_s: float, path_s: float, load_s: float, turns: bool) -> BranchChoice:
    return BranchChoice(price, head_s, path_s, np.array([load_s, 0.0]), np.zeros(1), (), turns)


CHOICES = st.builds(_choice, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans())
LISTS = st.lists(
    st.lists(CHOICES, min_size=1, max_size=4).map(lambda c: sorted(c, key=lambda x: x.price)), min_size=1, max_size=3
)


@given(LISTS, NUMBERS, st.sampled_from([0.0, 1.0, 2.0]), st.booleans())
def test_combinations_are_all_that_fit(
    lists: list[list[BranchChoice]], limit: float, second: float, serial: bool
) -> None:
    found = side_by_side(lists, limit, second, serial, lambda work: None)
    expected = []
    for combination in itertools.product(*lists):
        head = sum(c.head_s for c in combination)
        path = [c.path_s for c in combination]
        load = sum(float(c.load_s[0]) for c in combination)
        latency = head + sum(path) if serial else max(head + max(path), load)
        price = sum(c.price for c in combination) + second * (latency - head)
        if price <= limit and any(c.turns for c in combination):
            expected.append((price, latency))
    assert sorted((p, s) for p, s, _ in found) == sorted(expected)


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=4).map(sorted), min_size=1, max_size=3), NUMBERS)
def test_products_are_all_that_fit(prices: list[list[float]], limit: float) -> None:
    lists = [[(p, (i,)) for i, p in enumerate(row)] for row in prices]
    expected = [c for c in itertools.product(*prices) if sum(c) <= limit]
    found = products(lists, limit, 1000)
    assert sorted(sum(prices[b][at[0]] for b, at in enumerate(c)) for c in found) == sorted(map(sum, expected))


def test_too_many_products_are_refused() -> None:
    lists = [[(0.0, (i,)) for i in range(10)]] * 3
    with pytest.raises(TooMany):
        products(lists, 1.0, 100)


@given(st.integers(1, 3).flatmap(lambda k: st.lists(st.tuples(*[NUMBERS] * k), min_size=1, max_size=12)))
def test_undominated_rows_cover_all_and_do_not_cover_each_other(rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows)
    kept = table[undominated(table)]
    for row in table:
        assert (kept <= row).all(axis=1).any()
    for i, j in itertools.permutations(range(len(kept)), 2):
        assert not (kept[i] <= kept[j]).all()
