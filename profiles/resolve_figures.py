"""From numbers as a site's entries write them to figures: declared, sourced, looked up, or multiplied by a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.carbon import intensity
from profiles.figure import Figure, require_positive

if TYPE_CHECKING:
    from profiles.catalog import Catalog
    from profiles.place import Place
    from profiles.site_entries import Number


def figure_of(number: Number | None, place: Place) -> Figure | None:
    """Make a figure of a number: a bare one is declared by the site's file, of the others all is written.

    Raises
    ------
    SiteError
        The number is none that a figure can have.
    """
    if number is None:
        return None
    with place.refusing():
        if isinstance(number, (int, float)):
            return Figure(value=number, source=place.file, origin="declared")
        return Figure(
            value=number.value,
            source=number.source,
            origin=number.origin,
            relative_uncertainty=number.relative_uncertainty,
            year=number.year,
            note=number.note,
        )


def carbon_of(
    given: Number | None, grid: str | None, catalog: Catalog, hour: int | None, place: Place
) -> Figure | None:
    """Give the carbon of a joule: as given, else of the grid, in grams of CO2e; None where neither is named.

    Raises
    ------
    SiteError
        The catalog does not know the grid, or not by the hour.
    """
    figure = figure_of(given, place.at("carbon_g_per_j"))
    if figure is not None or grid is None:
        return figure
    with place.at("grid").refusing():
        return intensity(catalog.grid, grid, hour)


def factor_of(number: Number | None, place: Place) -> Figure | None:
    """Read how many times their figures' seconds a mode or link was found to take.

    Raises
    ------
    SiteError
        The factor is not above zero.
    """
    factor = figure_of(number, place.at("time_factor"))
    if factor is not None:
        with place.at("time_factor").refusing():
            require_positive("time_factor", factor.value)
    return factor


def multiplied(figure: Figure, factor: Figure | None, exponent: int = 1) -> Figure:
    """Multiply a figure by a power of what was found; it keeps in mind what it was."""
    if factor is None:
        return figure
    return Figure(
        value=figure.value * factor.value**exponent,
        source=f"{figure.source}, {factor.source}",
        origin=factor.origin,
        relative_uncertainty=factor.relative_uncertainty,
        year=factor.year,
        note=f"{figure.value:.6g} ({figure.origin}) {'times' if exponent == 1 else 'over'} {factor.value:.6g}; "
        f"{factor.note}; {figure.note}",
    )


def needed_figure(number: Number | None, base: Figure | None, place: Place) -> Figure:
    """Make a figure of a number, else take the profile's.

    Raises
    ------
    SiteError
        There is neither.
    """
    figure = figure_of(number, place) or base
    if figure is None:
        name = place.path.rpartition(".")[2]
        raise place.error(f"the figure is missing: give `{name}: NUMBER` or `{name}: {{value, source}}`")
    return figure
