"""Links: how fast a connection carries bytes, and which powers and joules it costs at which end."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from profiles.errors import ProfileError
from profiles.figure import Figure, require_fraction, require_name, require_not_negative, require_positive

Direction: TypeAlias = Literal["up", "down"]
Ends: TypeAlias = Literal["both", "client", "none"]
Rate: TypeAlias = Literal["line", "payload"]


class LinkProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the catalog knows about one kind of connection.

    Powers are above idle: what sending or receiving adds to the power of a device at that end.
    The power of an end that sends at rate r is ``tx_w + tx_w_per_bps * r``; likewise receiving.
    None stands for "no sourced figure", never for zero.

    Parameters
    ----------
    id, name
        Key in the catalog and the full name for people.
    ends
        Which ends pay the powers below: ``both`` (two radios of this kind), ``client`` (a device at
        a base station or access point, which belongs to the network), or ``none`` (a wire whose
        ports draw the same power whether bytes pass or not, so it is part of idle power).
    rate
        What the bandwidths count: ``line`` (bits on the wire, headers included) or ``payload``.
    bandwidth_up_bps, bandwidth_down_bps
        Bits per second from the client and to it.
    latency_s
        One-way seconds of an empty message.
    tx_w, tx_w_per_bps, rx_w, rx_w_per_bps
        Power above idle while sending and receiving: constant part and slope over the rate.
    tx_j_per_byte, rx_j_per_byte
        Joules per byte of payload at an end, in place of its powers.
    wake_j, wake_s
        Joules and seconds of waking the radio for a transfer.
    tail_w, tail_s
        Power above idle and seconds for which a radio stays up after a transfer.
    network_j_per_byte
        Joules per byte of payload of the equipment between the ends, where a site counts it.
    network
        Which accounting of the network that figure follows; set together with it.
    duty_cycle
        Share of the time for which regulation or design lets the link send.
    note
        How the figures were derived.

    Raises
    ------
    ProfileError
        If a figure is out of its range, or an end has both powers and joules per byte.
    """

    id: str
    name: str
    ends: Ends
    rate: Rate = "line"
    bandwidth_up_bps: Figure | None = None
    bandwidth_down_bps: Figure | None = None
    latency_s: Figure | None = None
    tx_w: Figure | None = None
    tx_w_per_bps: Figure | None = None
    rx_w: Figure | None = None
    rx_w_per_bps: Figure | None = None
    tx_j_per_byte: Figure | None = None
    rx_j_per_byte: Figure | None = None
    wake_j: Figure | None = None
    wake_s: Figure | None = None
    tail_w: Figure | None = None
    tail_s: Figure | None = None
    network_j_per_byte: Figure | None = None
    network: str = ""
    duty_cycle: Figure | None = None
    note: str = ""

    def __post_init__(self) -> None:
        require_name("link profile", self.id)
        for name in ("bandwidth_up_bps", "bandwidth_down_bps", "duty_cycle"):
            figure: Figure | None = getattr(self, name)
            if figure is not None:
                require_positive(name, figure.value)
        if self.duty_cycle is not None:
            require_fraction("duty_cycle", self.duty_cycle.value)
        for end in ("tx", "rx"):
            powers = [part for part in (f"{end}_w", f"{end}_w_per_bps") if getattr(self, part) is not None]
            if powers and getattr(self, f"{end}_j_per_byte") is not None:
                raise ProfileError(f"{end}_j_per_byte and {powers[0]} say the same thing twice: give one")
        if bool(self.network) != (self.network_j_per_byte is not None):
            raise ProfileError(
                "network and network_j_per_byte belong together: name the accounting and give its joules"
            )

    def bandwidth_bps(self, direction: Direction) -> Figure | None:
        """Return the bandwidth from the client (``up``) or to it (``down``)."""
        return self.bandwidth_up_bps if direction == "up" else self.bandwidth_down_bps


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directed connection of a site, from one device to another.

    Parameters
    ----------
    source, target
        Names of the devices it joins.
    profile
        The profile it was resolved from, with the figures which the site overrides.
    direction
        ``up`` where the source is the profile's client, ``down`` where the target is.
    bandwidth_bps
        Bits per second, counted as `LinkProfile.rate` says.
    latency_s
        One-way seconds of an empty message.
    medium
        Links with one medium share its air or wire; None for a link of its own.
    max_utilization
        Share of its time that plans may fill, in (0, 1]; never above the duty cycle.
    carbon_g_per_j, cost_per_j
        What a joule of the network between its ends counts: grams of CO2e, and money. None where nobody said.

    Raises
    ------
    ProfileError
        If a number is out of its range, or the link joins a device to itself.
    """

    source: str
    target: str
    profile: LinkProfile
    direction: Direction = "up"
    bandwidth_bps: float
    latency_s: float
    medium: str | None = None
    max_utilization: float = 1.0
    carbon_g_per_j: Figure | None = None
    cost_per_j: Figure | None = None

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ProfileError(f"a link joins {self.source!r} to itself: a device needs no link to itself")
        require_positive("bandwidth_bps", self.bandwidth_bps)
        require_not_negative("latency_s", self.latency_s)
        require_fraction("max_utilization", self.max_utilization)
        cycle = self.profile.duty_cycle
        if cycle is not None and self.max_utilization > cycle.value:
            raise ProfileError(
                f"max_utilization {self.max_utilization:g} exceeds the link's duty cycle {cycle.value:g}"
            )
