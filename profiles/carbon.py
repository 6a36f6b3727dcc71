"""The carbon of joules: software carbon intensity, SCI = (E * I + M) / R, as pure functions of figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from profiles.errors import CatalogError, ProfileError, not_in_catalog
from profiles.figure import require_not_negative, require_positive

if TYPE_CHECKING:
    from profiles.catalog import Grid
    from profiles.figure import Figure


def intensity(grid: Grid, region: str, hour: int | None = None) -> Figure:
    """Return the average carbon intensity of a region's grid, I, in grams of CO2e per joule.

    It is location-based and an average over all electricity of the region: not the marginal power plant, and not a
    contract. ISO/IEC 21031 asks for a location-based figure.

    Parameters
    ----------
    grid
        The catalog's grids, `Catalog.grid`.
    region
        Id of a region.
    hour
        Hour of the day, 0 to 23, over the days of a year; the mean of the year if not given. In the one source that
        has hours they follow UTC, as far as solar noon in Germany can tell; it does not say so itself.

    Raises
    ------
    CatalogError
        If there is no such region, or no figure for its hours.
    ProfileError
        If the hour is not between 0 and 23.
    """
    for known in grid.regions:
        if known.id == region:
            break
    else:
        ids = [known.id for known in grid.regions]
        raise not_in_catalog("region", region, ids)
    if hour is None:
        return known.g_per_j
    if not 0 <= hour <= 23:
        raise ProfileError(f"hour is {hour!r}: give an hour of the day, 0 to 23")
    if not known.hourly_g_per_j:
        hourly = ", ".join(k.id for k in grid.regions if k.hourly_g_per_j)
        raise CatalogError(
            f"{region!r} has no figures by hour of the day; leave the hour out, or take one of: {hourly}"
        )
    return known.hourly_g_per_j[hour]


def operational_g(joules: float, g_per_j: float) -> float:
    """Return the grams of CO2e of using some joules: ``O = E * I`` (ISO/IEC 21031:2024).

    Parameters
    ----------
    joules
        E, at the meter that the grid's intensity stands for: at the plug, PUE included.
    g_per_j
        I, grams of CO2e per joule; one of g/kWh is 1 / 3.6e6 of it.

    Raises
    ------
    ProfileError
        If a number is negative or not finite.
    """
    require_not_negative("joules", joules)
    require_not_negative("g_per_j", g_per_j)
    return joules * g_per_j


def embodied_g(total_g: float, used_s: float, lifetime_s: float, share: float = 1.0) -> float:
    """Return the part of a device's making that some use of it owes: ``M = TE * TS * RS`` (ISO/IEC 21031:2024).

    Parameters
    ----------
    total_g
        TE, grams of CO2e of making, shipping and disposing of the device.
    used_s
        Seconds for which the device is reserved; TS is their part of the lifetime.
    lifetime_s
        Expected seconds of service.
    share
        RS, the part of the device that is reserved, in [0, 1].

    Raises
    ------
    ProfileError
        If a number is out of its range, or the use is longer than the lifetime.
    """
    require_not_negative("total_g", total_g)
    require_not_negative("used_s", used_s)
    require_positive("lifetime_s", lifetime_s)
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise ProfileError(f"share is {share!r}: give the reserved part of the device, 0 to 1")
    if used_s > lifetime_s:
        raise ProfileError(f"used_s is {used_s!r}, longer than lifetime_s {lifetime_s!r}: give a part of the lifetime")
    return total_g * (used_s / lifetime_s) * share


def sci_g(joules: float, g_per_j: float, hardware_g: float, units: float) -> float:
    """Return grams of CO2e per functional unit: ``SCI = (E * I + M) / R`` (ISO/IEC 21031:2024).

    Offsets and contracts are no part of it, by the standard.

    Parameters
    ----------
    joules, g_per_j
        E and I, as in `operational_g`.
    hardware_g
        M in grams, as `embodied_g` returns; 0 states that hardware is left out, and has to be said with the result.
    units
        R, how many functional units these joules served, such as inferences.

    Raises
    ------
    ProfileError
        If a number is out of its range.
    """
    require_not_negative("hardware_g", hardware_g)
    require_positive("units", units)
    return (operational_g(joules, g_per_j) + hardware_g) / units
