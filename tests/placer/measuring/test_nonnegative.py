import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from placer.measuring.nonnegative import nonnegative_least_squares

numbers = st.floats(-10, 10, allow_subnormal=False).map(lambda value: round(value, 3))


@given(st.data())
def test_no_unknown_is_negative_and_none_could_move_for_the_better(data):
    rows, columns = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 6))
    matrix = data.draw(arrays.arrays(float, (rows, columns), elements=numbers))
    target = data.draw(arrays.arrays(float, rows, elements=numbers))
    found = nonnegative_least_squares(matrix, target)
    assert (found >= 0).all()
    # Karush, Kuhn and Tucker: no descent by growing, and none in either direction for what is above zero.
    scale = np.linalg.norm(matrix, axis=0)
    slope = matrix.T @ (target - matrix @ found) / np.where(scale > 0, scale, 1)
    assert (slope <= 1e-4).all()
    assert np.abs(slope[found > 1e-6]).max(initial=0) <= 1e-4


def test_without_a_binding_bound_it_is_least_squares():
    matrix = np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]])
    target = matrix @ np.array([2.0, 5.0])
    assert np.allclose(nonnegative_least_squares(matrix, target), [2.0, 5.0])


def test_columns_of_nothing_stay_at_zero():
    assert nonnegative_least_squares(np.array([[1.0, 0.0]]), np.array([3.0])) == pytest.approx([3.0, 0.0])
