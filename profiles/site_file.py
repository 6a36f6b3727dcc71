"""Reads a site file: looks profiles up, applies the site's own figures, and checks every reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.catalog import Catalog
from profiles.decode import decode
from profiles.errors import SiteError
from profiles.label import Labels
from profiles.place import Place
from profiles.resolve import resolve_device, resolve_zone
from profiles.resolve_link import resolve_links
from profiles.site import Site
from profiles.site_entries import FORMAT, SiteFile
from profiles.strict_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from profiles.device import Device
    from profiles.flow import Flow
    from profiles.label import RegionRule
    from profiles.limits import Limits, Objective
    from profiles.link import Link
    from profiles.site_entries import ZoneEntry


def load_site(path: Path) -> Site:
    """Read, resolve and check a site file; `profiles.site.read_site` is its public name.

    Raises
    ------
    SiteError
        Naming the file, the field, the value and what is allowed.
    """
    raw = read_yaml(path, SiteError)
    if not isinstance(raw, dict):
        raise SiteError(f"{path}: expected fields (key: value) that begin with `format: {FORMAT}`")
    for kind in ("plan", "problem"):
        if str(raw.get("format")).startswith(f"placer.{kind}/"):
            raise SiteError(f"{path}: this is a {kind}, not a site; give the site.yaml that it was made from")
    if "format" not in raw:
        raise SiteError(f"{path}: the field 'format' is missing; write `format: {FORMAT}` as the first line")
    if raw["format"] != FORMAT:
        raise SiteError(f"{path}: format: {raw['format']!r} is not read here; write `format: {FORMAT}`")
    entries = decode(raw, SiteFile, str(path), SiteError)
    top = Place(file=str(path))

    with top.at("labels").refusing():
        labels = Labels(names=entries.labels)
    _check_zones(entries.zones, labels, top)
    _check_rules(entries.rules, labels, entries.zones, top)
    if not entries.devices:
        raise top.at("devices").error("the list is empty: a site has at least one device")

    catalog = Catalog.load()
    hour = entries.carbon_hour
    if hour is not None and not 0 <= hour <= 23:
        raise top.at("carbon_hour").error(f"{hour} is no hour of the day; give 0 to 23, or leave it out for the year")
    zones = tuple(
        resolve_zone(entry, catalog, hour, top.at(f"zones[{index}]")) for index, entry in enumerate(entries.zones)
    )
    zone_names = [zone.name for zone in entries.zones]
    devices = tuple(
        resolve_device(entry, catalog, zone_names, top.at(f"devices[{index}]"))
        for index, entry in enumerate(entries.devices)
    )
    _check_unique("device", [device.name for device in devices], top.at("devices"))
    names = [device.name for device in devices]
    links: list[Link] = []
    for index, link_entry in enumerate(entries.links):
        links.extend(resolve_links(link_entry, catalog, names, top.at(f"links[{index}]"), hour))
    _check_pairs(links, top.at("links"))
    _check_flows(entries.flows, labels, devices, top)
    _check_asked(entries.objective, entries.limits, names, entries.flows, top)
    return Site(
        name=entries.name,
        labels=labels,
        zones=zones,
        devices=devices,
        links=tuple(links),
        flows=entries.flows,
        region_rules=entries.rules,
        objective=entries.objective,
        limits=entries.limits,
        directory=path.resolve().parent,
        file=str(path),
    )


def _check_zones(zones: Sequence[ZoneEntry], labels: Labels, top: Place) -> None:
    if not zones:
        raise top.at("zones").error("the list is empty: every device stands in a zone")
    _check_unique("zone", [zone.name for zone in zones], top.at("zones"))
    for index, zone in enumerate(zones):
        top.at(f"zones[{index}].sees").known("label", zone.sees, labels.names)


def _check_rules(rules: Sequence[RegionRule], labels: Labels, zones: Sequence[ZoneEntry], top: Place) -> None:
    _check_unique("rule", [rule.name for rule in rules], top.at("rules"))
    regions = [zone.region for zone in zones]
    for index, rule in enumerate(rules):
        top.at(f"rules[{index}].label").known("label", rule.label, labels.names)
        for position, region in enumerate(rule.regions):
            # A region without a zone is a slip of the pen which would bar every device.
            top.at(f"rules[{index}].regions[{position}]").known("region of a zone", region, regions)


def _check_flows(flows: Sequence[Flow], labels: Labels, devices: Sequence[Device], top: Place) -> None:
    _check_unique("flow", [flow.name for flow in flows], top.at("flows"))
    names = [device.name for device in devices]
    for index, flow in enumerate(flows):
        place = top.at(f"flows[{index}]")
        place.at("source").known("device", flow.source, names)
        place.at("sink").known("device", flow.sink, names)
        for field, devices_by_name in (("sources", flow.sources), ("sinks", flow.sinks)):
            for name, device in devices_by_name.items():
                place.at(f"{field}.{name}").known("device", device, names)
        place.at("label").known("label", flow.label, labels.names)
        for name, label in flow.labels.items():
            place.at(f"labels.{name}").known("label", label, labels.names)
        highest = labels.highest((flow.label, *flow.labels.values()))
        for position, stage in enumerate(flow.stages):
            inner = place.at(f"stages[{position}]")
            if stage.weights_label is not None:
                inner.at("weights_label").known("label", stage.weights_label, labels.names)
            _check_unique("declassification", [rule.name for rule in stage.declassify], inner.at("declassify"))
            _check_unique("tensor", [rule.tensor for rule in stage.declassify], inner.at("declassify"))
            for number, rule in enumerate(stage.declassify):
                to = inner.at(f"declassify[{number}].to")
                to.known("label", rule.to, labels.names)
                if labels.rank(rule.to) > labels.rank(highest):
                    raise to.error(
                        f"{rule.to!r} is more sensitive than the flow's label {highest!r}: "
                        "a declassification only lowers"
                    )


def _check_asked(
    objective: Objective, limits: Limits, devices: Sequence[str], flows: Sequence[Flow], top: Place
) -> None:
    if objective == "latency_s" and len(flows) > 1:
        raise top.at("objective").error(f"latency_s is that of one flow, and the site has {len(flows)}; keep one")
    for name in limits.power_w:
        top.at(f"limits.power_w.{name}").known("device", name, (*devices, "site"))
    for name in limits.flow_energy_j:
        top.at(f"limits.flow_energy_j.{name}").known("flow", name, [flow.name for flow in flows])


def _check_pairs(links: Iterable[Link], place: Place) -> None:
    seen: set[tuple[str, str]] = set()
    for link in links:
        pair = (link.source, link.target)
        if pair in seen:
            raise place.error(f"two links go from {link.source!r} to {link.target!r}: keep one (both_ways makes two)")
        seen.add(pair)


def _check_unique(what: str, names: Sequence[str], place: Place) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise place.error(f"the {what} {name!r} stands twice: names are unique")
