"""Carbon: the standard's equation, its units, and what it refuses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import Catalog, CatalogError, ProfileError
from profiles.carbon import embodied_g, intensity, operational_g, sci_g
from profiles.catalog import Region

GRID = Catalog.load().grid
AMOUNT = st.floats(0, 1e9)
KWH_J = 3.6e6
YEAR_S = 365.25 * 86400


def test_every_region_lies_between_water_and_coal() -> None:
    assert len(GRID.regions) >= 40
    for region in GRID.regions:
        assert intensity(GRID, region.id) is region.g_per_j
        assert 1 < region.g_per_j.value * KWH_J < 1200


def test_a_kilowatt_hour_in_iowa() -> None:
    assert operational_g(KWH_J, intensity(GRID, "gcp_us-central1").value) == pytest.approx(454, rel=1e-4)


def test_an_unknown_region_is_refused_with_a_near_one() -> None:
    with pytest.raises(CatalogError, match=r"'gcp_montreaI' is no region.*gcp_montreal"):
        intensity(GRID, "gcp_montreaI")


def test_the_hours_of_a_region_are_about_its_mean() -> None:
    hourly = [region for region in GRID.regions if region.hourly_g_per_j]
    assert [region.id for region in hourly] == ["DE_2020", "FR_2020", "GB_2020"]
    for region in hourly:
        hours = [intensity(GRID, region.id, hour).value for hour in range(24)]
        assert sum(hours) / 24 == pytest.approx(region.g_per_j.value, rel=1e-3)
    # Sun at noon, gas in the evening.
    assert intensity(GRID, "DE_2020", 11).value < 0.8 * intensity(GRID, "DE_2020", 18).value


def test_an_hour_that_nobody_has_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"'POL_2019' has no figures by hour.*DE_2020, FR_2020, GB_2020"):
        intensity(GRID, "POL_2019", 12)
    with pytest.raises(ProfileError, match="hour is 24"):
        intensity(GRID, "DE_2020", 24)
    with pytest.raises(ProfileError, match="has 1 figures: give one for each hour"):
        Region(id="r", name="R", g_per_j=GRID.regions[0].g_per_j, hourly_g_per_j=(GRID.regions[0].g_per_j,))


def test_embodied_carbon_is_shared_by_time_and_part() -> None:
    # A quarter of a device of 300 kg for one of its four years.
    assert embodied_g(300e3, YEAR_S, 4 * YEAR_S, 0.25) == pytest.approx(300e3 / 16)


def test_sci_adds_both_and_divides() -> None:
    assert sci_g(2 * KWH_J, 500 / KWH_J, 250.0, 1000) == pytest.approx((2 * 500 + 250) / 1000)


@given(AMOUNT, st.floats(0, 1e-3), AMOUNT, st.floats(1e-3, 1e9))
def test_sci_is_the_sum_of_its_parts(joules: float, g_per_j: float, embodied: float, units: float) -> None:
    parts = sci_g(joules, g_per_j, 0.0, units) + sci_g(0.0, g_per_j, embodied, units)
    assert sci_g(joules, g_per_j, embodied, units) == pytest.approx(parts)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: operational_g(-1.0, 1.0), "joules"),
        (lambda: operational_g(1.0, math.nan), "g_per_j"),
        (lambda: embodied_g(1.0, 2.0, 1.0), "longer than lifetime_s"),
        (lambda: embodied_g(1.0, 1.0, 0.0), "lifetime_s"),
        (lambda: embodied_g(1.0, 1.0, 2.0, 1.1), "share"),
        (lambda: sci_g(1.0, 1.0, -1.0, 1.0), "hardware_g"),
        (lambda: sci_g(1.0, 1.0, 0.0, 0.0), "units"),
    ],
)
def test_a_number_out_of_range_is_refused(call: object, what: str) -> None:
    with pytest.raises(ProfileError, match=what):
        call()  # type: ignore[operator]
