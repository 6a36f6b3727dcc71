"""From a site's entries to zones and devices: the profile's figures, then the site's own over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.device import Device, DeviceProfile, Mode
from profiles.label import Zone
from profiles.profile_file import own_file, read_profile
from profiles.resolve_figures import carbon_of, factor_of, figure_of, multiplied, needed_figure
from profiles.seconds_like import seconds_like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiles.catalog import Catalog
    from profiles.place import Place
    from profiles.site_entries import DeviceEntry, ModeEntry, ZoneEntry


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
            carbon_g_per_j=carbon_of(entry.carbon_g_per_j, grid, catalog, hour, place),
            cost_per_j=figure_of(entry.cost_per_j, place.at("cost_per_j")),
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
            file = own_file(entry.profile, place)
            base = catalog.device(entry.profile) if file is None else read_profile(file, DeviceProfile)

    idle_w = figure_of(entry.idle_w, place.at("idle_w")) or (base.idle_w if base else None)
    if idle_w is None:
        of = f"profile {entry.profile!r} has no sourced figure" if base else "a device without a profile needs one"
        raise place.at("idle_w").error(
            f"the idle power of {entry.name!r} is missing: {of}; "
            "give `idle_w: WATTS` or `idle_w: {value: WATTS, source: TEXT}`"
        )
    memory_bytes = figure_of(entry.memory_bytes, place.at("memory_bytes")) or (base.memory_bytes if base else None)
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
    wait_w = figure_of(entry.wait_w, place.at("wait_w")) or (base.wait_w if base else None)
    lookup = figure_of(entry.lookup_bytes_per_s, place.at("lookup_bytes_per_s"))
    lookup = lookup or (base.lookup_bytes_per_s if base else None)
    with place.refusing():
        profile = base or DeviceProfile(
            id=entry.name,
            name=entry.name,
            tier=tier,
            boundary=boundary,
            idle_w=idle_w,
            wait_w=wait_w,
            memory_bytes=memory_bytes,
            lookup_bytes_per_s=lookup,
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
            lookup_bytes_per_s=lookup,
            always_on=entry.always_on,
            max_utilization=entry.max_utilization,
            pue=entry.pue,
            agent=entry.agent,
            costs=entry.costs,
            modes=modes,
        )


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
    file = own_file(like, place)
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
    factor = factor_of(entry.time_factor, place)
    # A site that says its own seconds per MAC does not mean those of the profile.
    op_costs = base.op_costs if base and entry.s_per_mac is None else None
    # Nor one that says its own power that at the profile's rate.
    keeps = base if base and entry.active_w is None else None
    with place.refusing():
        return Mode(
            name=entry.name,
            numeric=numeric,
            active_w=needed_figure(entry.active_w, base.active_w if base else None, place.at("active_w")),
            segment_s=multiplied(
                needed_figure(entry.segment_s, base.segment_s if base else None, place.at("segment_s")), factor
            ),
            s_per_mac=multiplied(
                needed_figure(entry.s_per_mac, base.s_per_mac if base else None, place.at("s_per_mac")), factor
            ),
            # Whoever takes so many times as long does so at the same power: the rate that it belongs to is less too.
            mac_per_s=multiplied(keeps.mac_per_s, factor, -1) if keeps and keeps.mac_per_s else None,
            power_exponent=keeps.power_exponent if keeps else None,
            threads=base.threads if base else None,
            op_costs=op_costs if op_costs is None or factor is None else op_costs.times(factor.value, factor.source),
        )
