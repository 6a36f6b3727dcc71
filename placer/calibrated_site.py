"""Writes a site file anew with calibrated figures; each keeps the former one and its source in its note."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from profiles import SiteError
from profiles.strict_yaml import dump_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from placer.calibrate import Factor
    from profiles import Device, Figure, Link, Site

_HEADER = """\
# Written by `placer calibrate` from {site}: figures that were measured, beside the former ones in their notes.
# Comments are not carried over.
"""


def calibrated_site(path: Path, output: Path, site: Site, factors: Sequence[Factor], *, of: str, day: date) -> bytes:
    """Write a site with the figures of some devices and links corrected.

    Parameters
    ----------
    path, site
        The site file, and what was read from it.
    output
        Where the new one will stand: files that it names are found from there.
    factors
        From `placer.calibrate`.
    of
        What was measured, for the figures' source, such as a plan's identity.
    day
        When.

    Returns
    -------
    bytes
        The new file.

    Raises
    ------
    ProblemError
        Nothing can be corrected: the devices' seconds are measured whenever they are planned for, and no link was.
    """
    raw: Any = read_yaml(path, SiteError)
    devices = {(f.name, f.mode): f for f in factors if f.kind == "device"}
    links = {f.name: f for f in factors if f.kind == "link"}
    fitted = {d.name: d for d in site.devices if d.costs == "profile"}
    if not links and not any(name in fitted for name, _ in devices):
        raise ProblemError(f"{path}: every device that was measured has `costs: measured`: it is measured at each plan")
    source = f"placer calibrate, {day.isoformat()}, {of}"
    for entry in raw["devices"]:
        device = fitted.get(entry["name"])
        if device is not None and any(name == device.name for name, _ in devices):
            entry["modes"] = [_mode(device, mode, entry, devices, source, day) for mode in _modes(device)]
    raw["links"] = [new for entry in raw.get("links", ()) for new in _links(entry, site, links, source, day)]
    _move(raw, path.resolve().parent, output.resolve().parent)
    return (_HEADER.format(site=path.name) + dump_yaml(raw)).encode()


def _modes(device: Device) -> list[str]:
    return [mode.name for mode in device.modes]


def _mode(
    device: Device, name: str, entry: Mapping[str, Any], factors: Mapping[tuple[str, str], Factor], source: str,
    day: date,
) -> dict[str, Any]:  # fmt: skip
    """Write a mode: what the site said of it, and its corrected seconds."""
    written: dict[str, Any] = next(
        (dict(mode) for mode in entry.get("modes") or () if mode["name"] == name), {"name": name}
    )
    factor = factors.get((device.name, name))
    if factor is not None:
        mode = device.mode(name)
        for field in ("segment_s", "s_per_mac"):
            old: Figure = getattr(mode, field)
            written[field] = _figure(old, old.value * factor.ratio, factor, source, day)
    return written


def _links(
    entry: dict[str, Any], site: Site, factors: Mapping[str, Factor], source: str, day: date
) -> list[dict[str, Any]]:
    """Write a link; one that goes both ways becomes two where something is known of either."""
    ways = [(entry["from"], entry["to"])]
    if entry.get("both_ways"):
        ways.append(ways[0][::-1])
    if not any(f"{a}->{b}" in factors for a, b in ways):
        return [entry]
    found = []
    for start, end in ways:
        link = site.link(start, end)
        assert link is not None, "the site was read from this file"
        new = {**entry, "from": start, "to": end, "direction": link.direction}
        new.pop("both_ways", None)
        if (factor := factors.get(f"{start}->{end}")) is not None:
            new |= _link_figures(link, factor, source, day)
            # One figure for both ways would contradict the new one.
            new.pop("bandwidth_bps", None)
        found.append(new)
    return found


def _link_figures(link: Link, factor: Factor, source: str, day: date) -> dict[str, Any]:
    bandwidth, latency = link.profile.bandwidth_bps(link.direction), link.profile.latency_s
    assert bandwidth is not None, "a site's link has a bandwidth"
    assert latency is not None, "a site's link has a latency"
    return {
        f"bandwidth_{link.direction}_bps": _figure(bandwidth, bandwidth.value / factor.ratio, factor, source, day),
        "latency_s": _figure(latency, latency.value * factor.ratio, factor, source, day),
    }


def _figure(old: Figure, value: float, factor: Factor, source: str, day: date) -> dict[str, Any]:
    times = f"times {factor.ratio:.4g} ({factor.low:.4g} to {factor.high:.4g}) of {factor.requests} requests"
    before = f"before: {old.value:.6g} ({old.origin}: {old.source})" + (f"; {old.note}" if old.note else "")
    return {
        "value": float(f"{value:.6g}"),
        "source": source,
        "origin": "fitted",
        "relative_uncertainty": float(f"{factor.sd:.3g}"),
        "year": day.year,
        "note": f"{times}; {before}",
    }


def _move(raw: dict[str, Any], old: Path, new: Path) -> None:
    """Let the files that a site names be found from its new place."""
    if old == new:
        return
    for flow in raw.get("flows", ()):
        for stage in flow["stages"]:
            stage["model"] = _moved(stage["model"], old, new)
    for entry in (*raw["devices"], *raw["links"]):
        if str(entry.get("profile", "")).endswith((".yaml", ".yml")):
            entry["profile"] = _moved(entry["profile"], old, new)


def _moved(name: str, old: Path, new: Path) -> str:
    return name if Path(name).is_absolute() else os.path.relpath(old / name, new)
