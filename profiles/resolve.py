"""From a site's entries to devices and links: the profile's figures, then the site's own over them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from profiles.carbon import intensity
from profiles.device import Device, DeviceProfile, Mode
from profiles.energy import missing_figures
from profiles.figure import Figure, require_positive
from profiles.label import Zone
from profiles.link import Link, LinkProfile
from profiles.profile_file import read_profile
from profiles.seconds_like import seconds_like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiles.catalog import Catalog
    from profiles.link import Direction
    from profiles.place import Place
    from profiles.site_entries import DeviceEntry, LinkEntry, ModeEntry, Number, ZoneEntry

_LINK_FIGURES = tuple(
    name
    for name in LinkProfile.__struct_fields__
    if name not in {"id", "name", "ends", "rate", "network", "duty_cycle", "note"}
)


def resolve_zone(entry: ZoneEntry, catalog: Catalog, hour: int | None, place: Place) -> Zone:
    """Make a zone of a site's entry.

    Parameters
    ----------
    entry
        The entry as written.
    catalog
        Where its grid is looked up.
    hour
        The hour of the day for which carbon is counted; None for the mean of the year.
    place
        Where the entry stands.

    Raises
    ------
    SiteError
        Naming the field, the value and what is allowed.
    """
    grid = entry.grid
    if grid is None and any(region.id == entry.region for region in catalog.grid.regions):
        grid = entry.region
    with place.refusing():
        return Zone(
            name=entry.name,
            sees=entry.sees,
            region=entry.region,
            carbon_g_per_j=_carbon(entry.carbon_g_per_j, grid, catalog, hour, place),
            cost_per_j=_figure(entry.cost_per_j, place.at("cost_per_j")),
        )


def resolve_device(entry: DeviceEntry, catalog: Catalog, zones: Sequence[str], place: Place) -> Device:
    """Make a device of a site's entry.

    Parameters
    ----------
    entry
        The entry as written.
    catalog
        Where its profile is looked up.
    zones
        Names of the site's zones.
    place
        Where the entry stands.

    Raises
    ------
    SiteError
        Naming the field, the value and what is allowed.
    """
    if entry.zone is None:
        raise place.at("zone").error(f"{entry.name!r} stands in no zone; known: {', '.join(zones)}")
    place.at("zone").known("zone", entry.zone, zones)
    base = None
    if entry.profile is not None:
        with place.at("profile").refusing():
            file = _own_file(entry.profile, place)
            base = catalog.device(entry.profile) if file is None else read_profile(file, DeviceProfile)

    idle_w = _figure(entry.idle_w, place.at("idle_w")) or (base.idle_w if base else None)
    if idle_w is None:
        of = f"profile {entry.profile!r} has no sourced figure" if base else "a device without a profile needs one"
        raise place.at("idle_w").error(
            f"the idle power of {entry.name!r} is missing: {of}; "
            "give `idle_w: WATTS` or `idle_w: {value: WATTS, source: TEXT}`"
        )
    memory_bytes = _figure(entry.memory_bytes, place.at("memory_bytes")) or (base.memory_bytes if base else None)
    tier = entry.tier or (base.tier if base else None)
    boundary = entry.boundary or (base.boundary if base else None)
    if tier is None or boundary is None:
        raise place.error(
            f"{entry.name!r} names no profile, so it needs its own tier, boundary, idle_w and modes: "
            f"{'tier (sensor, edge or cloud)' if tier is None else 'boundary (chip, board, wall or node)'} "
            "is missing"
        )
    modes = _modes(entry, base, place)
    if entry.seconds_like is not None:
        modes = _like(entry, entry.seconds_like, modes, place.at("seconds_like"))
    wait_w = _figure(entry.wait_w, place.at("wait_w")) or (base.wait_w if base else None)
    with place.refusing():
        profile = base or DeviceProfile(
            id=entry.name,
            name=entry.name,
            tier=tier,
            boundary=boundary,
            idle_w=idle_w,
            wait_w=wait_w,
            memory_bytes=memory_bytes,
            modes=modes,
        )
        return Device(
            name=entry.name,
            profile=profile,
            zone=entry.zone,
            tier=tier,
            boundary=boundary,
            idle_w=idle_w,
            wait_w=wait_w,
            memory_bytes=None if memory_bytes is None else memory_bytes.value,
            always_on=entry.always_on,
            max_utilization=entry.max_utilization,
            pue=entry.pue,
            agent=entry.agent,
            costs=entry.costs,
            modes=modes,
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
    carbon_g_per_j = _carbon(entry.carbon_g_per_j, entry.grid, catalog, hour, place)
    cost_per_j = _figure(entry.cost_per_j, place.at("cost_per_j"))
    return tuple(msgspec.structs.replace(link, carbon_g_per_j=carbon_g_per_j, cost_per_j=cost_per_j) for link in links)


def _modes(entry: DeviceEntry, base: DeviceProfile | None, place: Place) -> tuple[Mode, ...]:
    if entry.modes is None:
        if base is None:
            raise place.at("modes").error(
                "a device without a profile needs at least one mode: {name, numeric, active_w, segment_s, s_per_mac}"
            )
        return base.modes
    known = {mode.name: mode for mode in base.modes} if base else {}
    return tuple(
        _mode(mode, known.get(mode.name), place.at(f"modes[{index}]")) for index, mode in enumerate(entry.modes)
    )


def _like(entry: DeviceEntry, like: str, modes: tuple[Mode, ...], place: Place) -> tuple[Mode, ...]:
    if entry.costs == "measured":
        raise place.error("this device's costs are measured at each plan: give `costs: measured` or `seconds_like`")
    file = _own_file(like, place)
    if file is None:
        raise place.error(
            f"{like!r} is no file beside the site that ends in .yaml: name one that `placer profile` wrote"
        )
    with place.refusing():
        return seconds_like(modes, read_profile(file, DeviceProfile))


def _mode(entry: ModeEntry, base: Mode | None, place: Place) -> Mode:
    numeric = entry.numeric or (base.numeric if base else None)
    if numeric is None:
        raise place.at("numeric").error("the number format is missing: fp32, fp16, bf16, int8 or int4")
    factor = _factor(entry.time_factor, place)
    # A site that says its own seconds per MAC does not mean those of the profile.
    op_costs = base.op_costs if base and entry.s_per_mac is None else None
    # Nor one that says its own power that at the profile's rate.
    keeps = base if base and entry.active_w is None else None
    with place.refusing():
        return Mode(
            name=entry.name,
            numeric=numeric,
            active_w=_needed(entry.active_w, base.active_w if base else None, place.at("active_w")),
            segment_s=_times(_needed(entry.segment_s, base.segment_s if base else None, place.at("segment_s")), factor),
            s_per_mac=_times(_needed(entry.s_per_mac, base.s_per_mac if base else None, place.at("s_per_mac")), factor),
            mac_per_s=keeps.mac_per_s if keeps else None,
            power_exponent=keeps.power_exponent if keeps else None,
            threads=base.threads if base else None,
            op_costs=op_costs if op_costs is None or factor is None else op_costs.times(factor.value, factor.source),
        )


def _factor(number: Number | None, place: Place) -> Figure | None:
    """Read how many times their figures' seconds a mode or link was found to take."""
    factor = _figure(number, place.at("time_factor"))
    if factor is not None:
        with place.at("time_factor").refusing():
            require_positive("time_factor", factor.value)
    return factor


def _times(figure: Figure, factor: Figure | None, exponent: int = 1) -> Figure:
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


def _needed(number: Number | None, base: Figure | None, place: Place) -> Figure:
    figure = _figure(number, place) or base
    if figure is None:
        name = place.path.rpartition(".")[2]
        raise place.error(f"the figure is missing: give `{name}: NUMBER` or `{name}: {{value, source}}`")
    return figure


def _link_profile(entry: LinkEntry, catalog: Catalog, place: Place) -> LinkProfile:
    if entry.profile is not None:
        with place.at("profile").refusing():
            file = _own_file(entry.profile, place)
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
        figure = _figure(getattr(entry, name), place.at(name))
        if figure is not None:
            changes[name] = figure
    bandwidth = _figure(entry.bandwidth_bps, place.at("bandwidth_bps"))
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
    factor = _factor(entry.time_factor, place)
    with place.refusing():
        profile = msgspec.structs.replace(base, **changes)
        exponents = {"bandwidth_up_bps": -1, "bandwidth_down_bps": -1, "latency_s": 1, "wake_s": 1}
        known = {name: figure for name in exponents if (figure := getattr(profile, name)) is not None}
        return msgspec.structs.replace(
            profile, **{name: _times(figure, factor, exponents[name]) for name, figure in known.items()}
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


def _carbon(given: Number | None, grid: str | None, catalog: Catalog, hour: int | None, place: Place) -> Figure | None:
    figure = _figure(given, place.at("carbon_g_per_j"))
    if figure is not None or grid is None:
        return figure
    with place.at("grid").refusing():
        return intensity(catalog.grid, grid, hour)


def _own_file(profile: str, place: Place) -> Path | None:
    """Find the file beside the site that a profile's name stands for; None for one of the catalog."""
    return Path(place.file).parent / profile if profile.endswith((".yaml", ".yml")) else None


def _figure(number: Number | None, place: Place) -> Figure | None:
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
