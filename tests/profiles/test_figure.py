import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import Figure, ProfileError


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_a_figure_survives_json(value: float) -> None:
    figure = Figure(value=value, source="A, B", origin="fitted", relative_uncertainty=0.1, note="n")
    assert msgspec.json.decode(msgspec.json.encode(figure), type=Figure) == figure


@pytest.mark.parametrize("value", [-1.0, math.inf, -math.inf, math.nan])
def test_a_value_that_is_negative_or_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ProfileError, match="no figure"):
        Figure(value=value, source="A", origin="spec")


def test_a_figure_needs_a_source() -> None:
    with pytest.raises(ProfileError, match="source"):
        Figure(value=1, source=" ", origin="spec")


@pytest.mark.parametrize("uncertainty", [-0.1, math.inf, math.nan])
def test_an_uncertainty_is_finite_and_not_negative(uncertainty: float) -> None:
    with pytest.raises(ProfileError, match="relative_uncertainty"):
        Figure(value=1, source="A", origin="spec", relative_uncertainty=uncertainty)


def test_figures_are_frozen() -> None:
    figure = Figure(value=1, source="A", origin="spec")
    with pytest.raises(AttributeError):
        figure.value = 2.0  # type: ignore[misc]
