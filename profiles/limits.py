"""What a site asks its plans to minimize, and the caps that they keep beside deadlines and memory."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (msgspec reads the annotation at run time)
from typing import Literal, TypeAlias

import msgspec

from profiles.figure import require_not_negative

Objective: TypeAlias = Literal["energy_j", "latency_s", "carbon_g", "cost"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Caps of a whole site; None and empty for none.

    Parameters
    ----------
    power_w
        Average power by device, or of the whole ``site``, idle power included.
    flow_energy_j
        Joules per inference by flow, above idle.
    energy_w, carbon_g_per_s, cost_per_s
        What the plan adds each second: joules, grams of CO2e, money.

    Raises
    ------
    ProfileError
        If a cap is negative or not finite.
    """

    power_w: Mapping[str, float] = {}
    flow_energy_j: Mapping[str, float] = {}
    energy_w: float | None = None
    carbon_g_per_s: float | None = None
    cost_per_s: float | None = None

    def __post_init__(self) -> None:
        for field in ("power_w", "flow_energy_j"):
            for name, value in getattr(self, field).items():
                require_not_negative(f"{field}.{name}", value)
        for field in ("energy_w", "carbon_g_per_s", "cost_per_s"):
            if (cap := getattr(self, field)) is not None:
                require_not_negative(field, cap)
