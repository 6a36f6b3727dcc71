"""What a joule counts in a site's carbon and cost: by device, of the zone it stands in, and of the networks between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.errors import ProblemError
from placer.objective import FIGURES, TOTALS, spends_in_network

if TYPE_CHECKING:
    from collections.abc import Collection

    import profiles
    from placer.problem import Link, Objective
    from profiles import Site

_GIVE = {
    "carbon_g": "`grid: ID` of the catalog (`placer catalog list grid`) or `carbon_g_per_j: GRAMS_PER_JOULE`",
    "cost": "`cost_per_j: PRICE_PER_JOULE` (a price per kWh over 3.6e6)",
}


def counted(site: Site, also: Collection[Objective] = ()) -> tuple[Objective, ...]:
    """Name the totals that need a figure of their own for each joule: those that a site asks for, and others.

    Parameters
    ----------
    site
        Its objective and its caps ask.
    also
        Objectives that are asked of it beside, such as those of a Pareto front.
    """
    capped = (objective for field, objective in TOTALS.items() if getattr(site.limits, field) is not None)
    return tuple(o for o in dict.fromkeys([site.objective, *capped, *also]) if o in FIGURES)


def device_figures(site: Site, device: profiles.Device, totals: Collection[Objective]) -> dict[str, float]:
    """Give what a joule of a device counts, by field of the problem's device.

    Raises
    ------
    ProblemError
        Its zone has no such figure.
    """
    zone = site.zone(device.zone)
    found = {}
    for total in totals:
        field = FIGURES[total]
        figure = getattr(zone, field)
        if figure is None:
            raise ProblemError(
                f"{site.file}: zones[{site.zones.index(zone)}].{field}: missing; {total} counts the joules of "
                f"{device.name!r}, which stands in zone {zone.name!r}; give the zone {_GIVE[total]}"
            )
        found[field] = figure.value
    return found


def link_figures(site: Site, link: profiles.Link, made: Link, totals: Collection[Objective]) -> dict[str, float]:
    """Give what a joule of the network between a link's ends counts, by field; their zones have such figures.

    A link that does not say it has the figure of its ends' zones, where they agree.

    Parameters
    ----------
    site, link
        The site and one of its links.
    made
        The problem's link, which says whether the network spends any joules.
    totals
        Which figures are needed.

    Raises
    ------
    ProblemError
        The network spends joules, and neither the link nor its ends together say what one counts.
    """
    if not spends_in_network(made):
        return {}
    ends = [site.zone(site.device(name).zone) for name in (link.source, link.target)]
    found = {}
    for total in totals:
        field = FIGURES[total]
        figure = getattr(link, field)
        known = [getattr(zone, field).value for zone in ends]
        if figure is None and known[0] != known[1]:
            raise ProblemError(
                f"{site.file}: links, from {link.source!r} to {link.target!r}: {field} is missing; {total} counts the "
                f"joules of the network between, and the zones at its ends differ ({known[0]:g} and {known[1]:g} per "
                f"joule); give the link {_GIVE[total]}"
            )
        found[field] = known[0] if figure is None else figure.value
    return found
