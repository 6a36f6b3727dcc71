"""The site file as it is written: every field that site.yaml may have, before anything is looked up."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from profiles.device import Boundary, CostOrigin, Numeric, Tier  # noqa: TC001  (msgspec reads them)
from profiles.figure import Origin  # noqa: TC001
from profiles.flow import Flow  # noqa: TC001
from profiles.label import RegionRule  # noqa: TC001
from profiles.limits import Limits, Objective
from profiles.link import Direction, Ends, Rate  # noqa: TC001

FORMAT = "placer.site/1.0"


class FigureEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A figure with its source, where a bare number would not say enough."""

    value: float
    source: str
    origin: Origin = "declared"
    relative_uncertainty: float | None = None
    year: int | None = None
    note: str = ""


Number: TypeAlias = float | FigureEntry


class ZoneEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zone; its carbon is given, or looked up by its grid, or by its region where that is one of the catalog's."""

    name: str
    sees: str
    region: str
    grid: str | None = None
    carbon_g_per_j: Number | None = None
    cost_per_j: Number | None = None


class ModeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mode; what is left out comes from the profile's mode of the same name."""

    name: str
    numeric: Numeric | None = None
    active_w: Number | None = None
    segment_s: Number | None = None
    s_per_mac: Number | None = None
    time_factor: Number | None = None


class DeviceEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device; what is left out comes from its profile, if it names one."""

    name: str
    zone: str | None = None
    profile: str | None = None
    tier: Tier | None = None
    boundary: Boundary | None = None
    idle_w: Number | None = None
    wait_w: Number | None = None
    memory_bytes: Number | None = None
    lookup_bytes_per_s: Number | None = None
    modes: tuple[ModeEntry, ...] | None = None
    always_on: bool = True
    max_utilization: float = 1.0
    pue: float = 1.0
    agent: str | None = None
    costs: CostOrigin = "profile"
    seconds_like: str | None = None


class LinkEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link; what is left out comes from its profile, if it names one."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    profile: str | None = None
    both_ways: bool = False
    direction: Direction = "up"
    medium: str | None = None
    max_utilization: float | None = None
    ends: Ends | None = None
    rate: Rate | None = None
    bandwidth_bps: Number | None = None
    bandwidth_up_bps: Number | None = None
    bandwidth_down_bps: Number | None = None
    latency_s: Number | None = None
    time_factor: Number | None = None
    tx_w: Number | None = None
    tx_w_per_bps: Number | None = None
    rx_w: Number | None = None
    rx_w_per_bps: Number | None = None
    tx_j_per_byte: Number | None = None
    rx_j_per_byte: Number | None = None
    wake_j: Number | None = None
    wake_s: Number | None = None
    tail_w: Number | None = None
    tail_s: Number | None = None
    network: str | None = None
    network_j_per_byte: Number | None = None
    grid: str | None = None
    carbon_g_per_j: Number | None = None
    cost_per_j: Number | None = None


class SiteFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole site file."""

    format: Literal["placer.site/1.0"]
    name: str
    labels: tuple[str, ...]
    rules: tuple[RegionRule, ...] = ()
    zones: tuple[ZoneEntry, ...]
    carbon_hour: int | None = None
    devices: tuple[DeviceEntry, ...]
    links: tuple[LinkEntry, ...] = ()
    flows: tuple[Flow, ...] = ()
    objective: Objective = "energy_j"
    limits: Limits = Limits()
