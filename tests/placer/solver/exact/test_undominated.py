from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from placer.solver.exact.undominated import undominated


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=200)
    )
)
def test_every_row_is_beaten_or_equalled_by_one_kept_and_none_of_these_by_another(drawn: list[list[int]]) -> None:
    rows = np.array(drawn, dtype=np.float64)
    kept = rows[undominated(rows)]
    assert all((kept <= row).all(axis=1).any() for row in rows)
    assert all((kept <= row).all(axis=1).sum() == 1 for row in kept)
