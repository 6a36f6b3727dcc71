"""From a site's entries of links to links, one for each way: the profile's figures, then the site's own over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from profiles.energy import missing_figures
from profiles.link import Link, LinkProfile
from profiles.profile_file import own_file, read_profile
from profiles.resolve_figures import carbon_of, factor_of, figure_of, multiplied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiles.catalog import Catalog
    from profiles.link import Direction
    from profiles.place import Place
    from profiles.site_entries import LinkEntry

_LINK_FIGURES = tuple(
    name
    for name in LinkProfile.__struct_fields__
    if name not in {"id", "name", "ends", "rate", "network", "duty_cycle", "note"}
)


def resolve_links(
    entry: LinkEntry, catalog: Catalog, devices: Sequence[str], place: Place, hour: int | None = None
) -> tuple[Link, ...]:
    """Make one link of a site's entry, or two where it goes both ways.

    Parameters
    ----------
    entry
        The entry as written.
    catalog
        Where its profile and its network accounting are looked up.
    devices
        Names of the site's devices.
    place
        Where the entry stands.
    hour
        The hour of the day for which carbon is counted; None for the mean of the year.

    Raises
    ------
    SiteError
        Naming the field, the value and what is allowed.
    """
    place.at("from").known("device", entry.source, devices)
    place.at("to").known("device", entry.target, devices)
    profile = _link_profile(entry, catalog, place)
    links = [_directed(entry, profile, entry.source, entry.target, entry.direction, place)]
    if entry.both_ways:
        back: Direction = "down" if entry.direction == "up" else "up"
        links.append(_directed(entry, profile, entry.target, entry.source, back, place))
    carbon_g_per_j = carbon_of(entry.carbon_g_per_j, entry.grid, catalog, hour, place)
    cost_per_j = figure_of(entry.cost_per_j, place.at("cost_per_j"))
    return tuple(msgspec.structs.replace(link, carbon_g_per_j=carbon_g_per_j, cost_per_j=cost_per_j) for link in links)


def _link_profile(entry: LinkEntry, catalog: Catalog, place: Place) -> LinkProfile:
    if entry.profile is not None:
        with place.at("profile").refusing():
            file = own_file(entry.profile, place)
            base = catalog.link(entry.profile) if file is None else read_profile(file, LinkProfile)
    elif entry.ends is None:
        raise place.error(
            "give a `profile` of the catalog, or `ends` (both, client or none) and the link's own figures"
        )
    else:
        name = f"{entry.source} to {entry.target}"
        base = LinkProfile(id=name, name=name, ends=entry.ends)

    changes: dict[str, object] = {}
    for name in _LINK_FIGURES:
        figure = figure_of(getattr(entry, name), place.at(name))
        if figure is not None:
            changes[name] = figure
    bandwidth = figure_of(entry.bandwidth_bps, place.at("bandwidth_bps"))
    if bandwidth is not None:
        for name in ("bandwidth_up_bps", "bandwidth_down_bps"):
            if name in changes:
                raise place.at(name).error("bandwidth_bps already says it for both directions: give one")
            changes[name] = bandwidth
    if entry.ends is not None:
        changes["ends"] = entry.ends
    if entry.rate is not None:
        changes["rate"] = entry.rate
    for end in ("tx", "rx"):
        # Joules per byte take the place of the profile's powers, and the other way round.
        own = {f"{end}_w", f"{end}_w_per_bps"} & changes.keys()
        if f"{end}_j_per_byte" in changes and not own:
            changes |= {f"{end}_w": None, f"{end}_w_per_bps": None}
        elif own and f"{end}_j_per_byte" not in changes:
            changes[f"{end}_j_per_byte"] = None
    if entry.network is not None:
        if "network_j_per_byte" not in changes:
            with place.at("network").refusing():
                changes["network_j_per_byte"] = catalog.network(entry.network).j_per_byte
        changes["network"] = entry.network
    elif "network_j_per_byte" in changes:
        changes["network"] = "declared"
    factor = factor_of(entry.time_factor, place)
    with place.refusing():
        profile = msgspec.structs.replace(base, **changes)
        exponents = {"bandwidth_up_bps": -1, "bandwidth_down_bps": -1, "latency_s": 1, "wake_s": 1}
        known = {name: figure for name in exponents if (figure := getattr(profile, name)) is not None}
        return msgspec.structs.replace(
            profile, **{name: multiplied(figure, factor, exponents[name]) for name, figure in known.items()}
        )


def _directed(
    entry: LinkEntry, profile: LinkProfile, source: str, target: str, direction: Direction, place: Place
) -> Link:
    bandwidth = profile.bandwidth_bps(direction)
    if bandwidth is None:
        raise place.at(f"bandwidth_{direction}_bps").error(
            f"the bandwidth from {source!r} to {target!r} is missing and the profile has no sourced figure: "
            f"give `bandwidth_{direction}_bps: BITS_PER_S` or `bandwidth_bps: BITS_PER_S`"
        )
    if profile.latency_s is None:
        raise place.at("latency_s").error(
            "the one-way latency is missing and the profile has no sourced figure: give `latency_s: SECONDS`"
        )
    missing = missing_figures(profile, direction)
    if missing:
        raise place.at(missing[0]).error(
            f"an energy figure of the link from {source!r} to {target!r} is missing: give {missing[1]}"
        )
    cycle = 1.0 if profile.duty_cycle is None else profile.duty_cycle.value
    with place.refusing():
        return Link(
            source=source,
            target=target,
            profile=profile,
            direction=direction,
            bandwidth_bps=bandwidth.value,
            latency_s=profile.latency_s.value,
            medium=entry.medium,
            max_utilization=cycle if entry.max_utilization is None else entry.max_utilization,
        )
