"""The site: every zone, device, link, rule and flow that a plan is made for, resolved and checked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from profiles.device import Device  # noqa: TC001  (msgspec reads the annotations at run time)
from profiles.errors import SiteError, choices
from profiles.flow import Flow  # noqa: TC001
from profiles.label import Labels, RegionRule, Zone  # noqa: TC001
from profiles.limits import Limits, Objective
from profiles.link import Link  # noqa: TC001


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Zones, devices and links, with the flows and rules that are asked of them.

    Parameters
    ----------
    name
        For people.
    labels
        The site's labels in order.
    zones, devices, links, flows, region_rules
        In the order of the file. Names are unique and every name that is referred to exists.
    objective
        What a plan minimizes.
    limits
        Caps on the whole.
    directory
        What a stage's model path is relative to.
    file
        What messages call the file that it was read from.
    """

    name: str
    labels: Labels
    zones: tuple[Zone, ...]
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    flows: tuple[Flow, ...]
    region_rules: tuple[RegionRule, ...] = ()
    objective: Objective = "energy_j"
    limits: Limits = Limits()
    directory: Path
    file: str = "site"

    def device(self, name: str) -> Device:
        """Return the device of that name.

        Raises
        ------
        SiteError
            If there is none.
        """
        for device in self.devices:
            if device.name == name:
                return device
        known = choices(name, (device.name for device in self.devices))
        raise SiteError(f"{name!r} is no device of site {self.name!r}; {known}")

    def zone(self, name: str) -> Zone:
        """Return the zone of that name.

        Raises
        ------
        SiteError
            If there is none.
        """
        for zone in self.zones:
            if zone.name == name:
                return zone
        known = choices(name, (zone.name for zone in self.zones))
        raise SiteError(f"{name!r} is no zone of site {self.name!r}; {known}")

    def link(self, source: str, target: str) -> Link | None:
        """Return the link from one device to another, or None if no link goes there."""
        for link in self.links:
            if link.source == source and link.target == target:
                return link
        return None

    def field_of(self, flow: Flow) -> str:
        """Say where a flow of the site stands, as ``site.yaml: flows[0]``."""
        return f"{self.file}: flows[{[known.name for known in self.flows].index(flow.name)}]"

    def refusal(self, device: str, label: str) -> str | None:
        """Say why a device may not hold data of a label.

        Parameters
        ----------
        device
            Name of the device.
        label
            How sensitive the data is.

        Returns
        -------
        str or None
            The rule in words, naming it; None if the device may hold the data.

        Raises
        ------
        SiteError
            If there is no such device.
        ProfileError
            If there is no such label.
        """
        zone = self.zone(self.device(device).zone)
        if self.labels.rank(label) > self.labels.rank(zone.sees):
            return f"zone {zone.name!r} sees at most {zone.sees!r}, not {label!r}"
        for rule in self.region_rules:
            if self.labels.at_least(label, rule.label) and zone.region not in rule.regions:
                return f"rule {rule.name!r} keeps {label!r} in {', '.join(rule.regions)}, not {zone.region}"
        return None


def read_site(path: str | Path) -> Site:
    """Read a site file, look up its profiles in the catalog, and check all of it.

    Parameters
    ----------
    path
        The site file, as docs/site-format.md describes it.

    Returns
    -------
    Site
        Frozen, with the figures of every device and link resolved.

    Raises
    ------
    SiteError
        Naming the file, the field, the value and what is allowed.
    """
    # PyYAML is the planner's; a device that imports this module does not have it.
    from profiles.site_file import load_site

    return load_site(Path(path))
