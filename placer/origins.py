"""Says where a site's joules come from: those of a device or link are only as good as the weakest figure in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles import weakest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.costs import CostTable
    from profiles import Device, LinkProfile, Origin, Site


def joule_origins(site: Site, costs: Mapping[str, Mapping[str, CostTable]]) -> dict[tuple[str, str], str]:
    """Return the origins of a site's joules, by kind of the ledger's lines and device or ``FROM->TO``.

    Parameters
    ----------
    site
        Its devices and links.
    costs
        The costs of each stage's model, by flow and stage.

    Notes
    -----
    A device has one origin of each kind: the weakest over its ops and the modes that they may run in, seconds and
    watts alike. A link's line names all origins of its energy figures.
    """
    tables = [table for by_stage in costs.values() for table in by_stage.values()]
    origins: dict[tuple[str, str], str] = {}
    for device in site.devices:
        rows = [(mode, cost) for t in tables for (_, name, mode), cost in t.rows.items() if name == device.name]
        ops = {cost.origin for _, cost in rows}
        starts = _starts(device, {mode for mode, _ in rows})
        for kind, found in (("compute", ops), ("segment", starts), ("wait", _waits(device))):
            if found:
                origins[kind, device.name] = weakest(*found)
    return origins | {("transfer", f"{link.source}->{link.target}"): _transfer(link.profile) for link in site.links}


def _starts(device: Device, modes: set[str]) -> set[Origin]:
    used = [mode for mode in device.modes if mode.name in modes]
    figures = [
        figure
        for mode in used
        for figure in (mode.segment_s, mode.active_w, mode.mac_per_s, mode.power_exponent, device.idle_w)
    ]
    return {figure.origin for figure in figures if figure is not None}


def _waits(device: Device) -> set[Origin]:
    return set() if device.wait_w is None else {device.wait_w.origin}


def _transfer(profile: LinkProfile) -> str:
    figures = (profile.tx_w, profile.tx_j_per_byte, profile.rx_w, profile.rx_j_per_byte, profile.network_j_per_byte)
    return ", ".join(dict.fromkeys(f.origin for f in figures if f is not None)) or "declared"
