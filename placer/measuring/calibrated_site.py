"""Writes a site file anew with what calibration found: a factor beside the figures, which stay with their sources."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from profiles import SiteError
from profiles.strict_yaml import dump_yaml, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from placer.measuring.calibrate import Factor
    from profiles import Device, Site

_HEADER = """\
# Written by `placer calibrate` from {site}: beside its figures, how many times their seconds were measured.
# Comments are not carried over.
"""


def calibrated_site(path: Path, output: Path, site: Site, factors: Sequence[Factor], *, of: str, day: date) -> bytes:
    """Write a site with the time factors of some devices and links.

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
    devices: defaultdict[str, dict[str, Factor]] = defaultdict(dict)
    for factor in factors:
        if factor.kind == "device":
            devices[factor.name][factor.mode] = factor
    links = {f.name: f for f in factors if f.kind == "link"}
    told = {d.name: d for d in site.devices if d.costs == "profile" and d.name in devices}
    if not links and not told:
        raise ProblemError(f"{path}: every device that was measured has `costs: measured`: it is measured at each plan")
    written = _Written(f"placer calibrate, {day.isoformat()}, {of}", day)
    for entry in raw["devices"]:
        if (device := told.get(entry["name"])) is not None:
            entry["modes"] = _modes(device, entry, devices[device.name], written)
    raw["links"] = [new for entry in raw.get("links", ()) for new in _links(entry, site, links, written)]
    _move(raw, path.resolve().parent, output.resolve().parent)
    return (_HEADER.format(site=path.name) + dump_yaml(raw)).encode()


def _modes(device: Device, entry: Mapping[str, Any], factors: Mapping[str, Factor], written: _Written) -> list[Any]:
    """Write all modes of a device: what the site said of them, and the factors that were found."""
    said = {mode["name"]: mode for mode in entry.get("modes") or ()}
    modes = []
    for mode in device.modes:
        new = {**said.get(mode.name, {"name": mode.name})}
        if (factor := factors.get(mode.name)) is not None:
            new["time_factor"] = written.factor(new.get("time_factor"), factor)
        modes.append(new)
    return modes


def _links(entry: dict[str, Any], site: Site, factors: Mapping[str, Factor], written: _Written) -> list[Any]:
    """Write a link; one that goes both ways becomes two where something was found of either."""
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
            new["time_factor"] = written.factor(entry.get("time_factor"), factor)
        found.append(new)
    return found


@dataclass(frozen=True, slots=True)
class _Written:
    """Writes factors down: their source and day."""

    source: str
    day: date

    def factor(self, former: Any, found: Factor) -> dict[str, Any]:
        """Write a factor that was found, on top of a former one, as a figure."""
        before = former["value"] if isinstance(former, dict) else 1.0 if former is None else former
        note = f"{found.ratio:.4g} ({found.low:.4g} to {found.high:.4g}) of {found.requests} requests"
        if former is not None:
            source = former["source"] if isinstance(former, dict) else "declared"
            note += f"; before: {before:.6g} ({source})"
        return {
            "value": float(f"{before * found.ratio:.6g}"),
            "source": self.source,
            "origin": "fitted",
            "relative_uncertainty": float(f"{found.sd:.3g}"),
            "year": self.day.year,
            "note": note,
        }


def _move(raw: dict[str, Any], old: Path, new: Path) -> None:
    """Let the files that a site names be found from its new place."""
    if old == new:
        return
    for flow in raw.get("flows", ()):
        for stage in flow["stages"]:
            stage["model"] = _moved(stage["model"], old, new)
    for entry in (*raw["devices"], *raw["links"]):
        for name in ("profile", "seconds_like"):
            if str(entry.get(name, "")).endswith((".yaml", ".yml")):
                entry[name] = _moved(entry[name], old, new)


def _moved(name: str, old: Path, new: Path) -> str:
    return name if Path(name).is_absolute() else os.path.relpath(old / name, new)
