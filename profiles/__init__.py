"""What exists and what it costs: devices, links, sites, their labels and rules, energy, catalog, meters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from profiles.device import Boundary, CostOrigin, Device, DeviceProfile, Mode, Numeric, Tier
from profiles.energy import (
    TransferCost,
    airtime_s,
    at_rate,
    compute_j,
    facility_j,
    idle_w,
    segment_j,
    tail_j,
    transfer_cost,
    wait_w,
)
from profiles.errors import CatalogError, MeterError, ProfileError, SiteError
from profiles.figure import Figure, Origin, weakest
from profiles.flow import Flow, stage_order
from profiles.label import Declassify, Labels, RegionRule, Zone
from profiles.limits import Limits, Objective
from profiles.link import Direction, Ends, Link, LinkProfile, Rate
from profiles.site import Site, read_site
from profiles.stage import Cache, Stage, When, split_origin

if TYPE_CHECKING:
    from profiles.catalog import Catalog

__all__ = [
    "Boundary",
    "Cache",
    "Catalog",
    "CatalogError",
    "CostOrigin",
    "Declassify",
    "Device",
    "DeviceProfile",
    "Direction",
    "Ends",
    "Figure",
    "Flow",
    "Labels",
    "Limits",
    "Link",
    "LinkProfile",
    "MeterError",
    "Mode",
    "Numeric",
    "Objective",
    "Origin",
    "ProfileError",
    "Rate",
    "RegionRule",
    "Site",
    "SiteError",
    "Stage",
    "Tier",
    "TransferCost",
    "When",
    "Zone",
    "airtime_s",
    "at_rate",
    "compute_j",
    "facility_j",
    "idle_w",
    "read_site",
    "segment_j",
    "split_origin",
    "stage_order",
    "tail_j",
    "transfer_cost",
    "wait_w",
    "weakest",
]


def __getattr__(name: str) -> Any:
    # The catalog needs PyYAML, which only the planner has: it is imported when it is asked for.
    if name == "Catalog":
        from profiles.catalog import Catalog

        return Catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
