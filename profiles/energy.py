"""The joules of computing, of moving bytes, of waiting and of being on, as pure functions of figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import ProfileError
from profiles.figure import require_not_negative, require_positive, weakest

if TYPE_CHECKING:
    from profiles.device import Device, Mode
    from profiles.link import Direction, Link, LinkProfile

# Bytes on the wire for each payload byte of a TCP stream: 1448 bytes of payload in a frame of 1500,
# and 9 bytes of HTTP/2 frame header every 16384 (RFC 9113, 4.1).
FRAMING = (1500 / 1448) * (1 + 9 / 16384)

# Payload that a gRPC call adds to a message: HTTP/2 headers and the length prefix, measured with grpcio
# 1.85 as the constant of a fit over 62 sizes and links (mean error of the transfer time 1.3 %).
CALL_BYTES = 120

# A site has one sender and one receiver fraction for a whole transfer. Where the network is counted and
# a radio wakes up, they depend on the size; they are exact for a transfer of this size, and the total is
# exact for every size.
REFERENCE_BYTES = 100_000


class TransferCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What sending over one link costs, as a problem wants to know it.

    Parameters
    ----------
    bytes_per_s
        Payload bytes per second.
    latency_s
        Seconds of an empty message, the call's own bytes included.
    energy_j_per_byte
        Joules per payload byte, both ends and the network together.
    energy_j_per_transfer
        Joules per transfer, whatever its size.
    tail_j
        Joules of the radio staying up afterwards, once per link used.
    sender_fraction, receiver_fraction
        Shares of these joules that the two ends pay; the network pays the rest.
    """

    bytes_per_s: float
    latency_s: float
    energy_j_per_byte: float
    energy_j_per_transfer: float
    tail_j: float
    sender_fraction: float
    receiver_fraction: float


def compute_j(device: Device, mode: Mode, seconds: float) -> float:
    """Return the joules above idle of computing for some seconds.

    ``E = (P_active - P_idle) * t * PUE``. Idle power is counted once for the device and not per op;
    published joules per inference mostly include it.

    Parameters
    ----------
    device
        Where the op runs.
    mode
        The mode it runs in.
    seconds
        How long it runs.

    Raises
    ------
    ProfileError
        If the seconds are negative or not finite.
    """
    require_not_negative("seconds", seconds)
    return (mode.active_w.value - device.idle_w.value) * seconds * device.pue


def at_rate(device: Device, mode: Mode, mac_per_s: float) -> Mode:
    """Return a mode with the power that it takes when a model runs so many multiply-accumulates a second.

    ``P = P_active * (r / r_active)^g``, never below idle power; the mode itself where its power is constant. An
    accelerator's power follows how busy its arithmetic is; r is the rate of a whole model, as g was fitted.

    Parameters
    ----------
    device
        Whose mode it is.
    mode
        With or without ``mac_per_s`` and ``power_exponent``.
    mac_per_s
        Multiply-accumulates of a model over its seconds.

    Raises
    ------
    ProfileError
        If the rate is negative or not finite.
    """
    require_not_negative("mac_per_s", mac_per_s)
    if mode.mac_per_s is None or mode.power_exponent is None:
        return mode
    power_w = mode.active_w.value * (mac_per_s / mode.mac_per_s.value) ** mode.power_exponent.value
    origin = weakest(mode.active_w.origin, mode.mac_per_s.origin, mode.power_exponent.origin)
    active_w = msgspec.structs.replace(mode.active_w, value=max(device.idle_w.value, power_w), origin=origin)
    return msgspec.structs.replace(mode, active_w=active_w)


def segment_j(device: Device, mode: Mode) -> float:
    """Return the joules above idle of starting one segment: `compute_j` of the mode's ``segment_s``."""
    return compute_j(device, mode, mode.segment_s.value)


def idle_w(device: Device) -> float:
    """Return the power that a device draws at its facility's meter while nothing runs: ``P_idle * PUE``."""
    return device.idle_w.value * device.pue


def wait_w(device: Device) -> float:
    """Return the power above idle, at the facility's meter, of a device that waits: ``P_wait * PUE``.

    Raises
    ------
    ProfileError
        If the device has no such figure.
    """
    if device.wait_w is None:
        raise ProfileError(
            f"device {device.name!r} has no wait_w: give the power above idle while it waits for a result "
            "(`wait_w: 0` if it waits in its idle state)"
        )
    return device.wait_w.value * device.pue


def facility_j(joules: float, pue: float) -> float:
    """Return what a facility adds to the joules of its machines: ``E * (PUE - 1)``.

    PUE is total facility energy over IT equipment energy (ISO/IEC 30134-2).

    Parameters
    ----------
    joules
        At the machine's own boundary, without PUE.
    pue
        At least 1.

    Raises
    ------
    ProfileError
        If a number is out of its range.
    """
    require_not_negative("joules", joules)
    if not (math.isfinite(pue) and pue >= 1):
        raise ProfileError(f"pue is {pue!r}: give a finite number of at least 1")
    return joules * (pue - 1)


def tail_j(profile: LinkProfile, gap_s: float) -> float:
    """Return the joules of one radio staying up after a transfer.

    ``E = P_tail * min(T_tail, gap)`` (Huang et al., MobiSys 2012, section 4): the next transfer ends
    the tail of the one before.

    Parameters
    ----------
    profile
        The radio; no tail where it has neither of the two figures.
    gap_s
        Seconds until the next transfer; infinite for none.

    Raises
    ------
    ProfileError
        If one of the two figures is missing, or the gap is negative.
    """
    if not gap_s >= 0:
        raise ProfileError(f"gap_s is {gap_s!r}: give seconds that are not negative")
    if profile.tail_w is None and profile.tail_s is None:
        return 0.0
    if profile.tail_w is None or profile.tail_s is None:
        raise _missing(profile, "tail_s" if profile.tail_s is None else "tail_w")
    return profile.tail_w.value * min(profile.tail_s.value, gap_s)


def airtime_s(spreading_factor: int, payload_bytes: int) -> float:
    """Return the seconds that one LoRa packet of 125 kHz is on the air (Semtech AN1200.13, section 4).

    With ``T_sym = 2^SF / BW`` and ``DE`` = 1 for spreading factors 11 and 12, header on, CRC on,
    coding rate 4/5 and 8 preamble symbols:
    ``T = (8 + 4.25 + 8 + max(ceil((8 PL - 4 SF + 28 + 16) / (4 (SF - 2 DE))) * 5, 0)) * T_sym``.

    Parameters
    ----------
    spreading_factor
        7 to 12.
    payload_bytes
        PL, the PHY payload: a LoRaWAN frame has 13 bytes more than what it carries.

    Raises
    ------
    ProfileError
        If a number is out of its range.
    """
    if not 7 <= spreading_factor <= 12:
        raise ProfileError(f"spreading_factor is {spreading_factor!r}: give 7 to 12")
    if not 0 <= payload_bytes <= 255:
        raise ProfileError(f"payload_bytes is {payload_bytes!r}: give 0 to 255")
    symbol_s = (1 << spreading_factor) / 125_000
    low_rate = 1 if spreading_factor >= 11 else 0
    bits = 8 * payload_bytes - 4 * spreading_factor + 28 + 16
    symbols = 8 + max(math.ceil(bits / (4 * (spreading_factor - 2 * low_rate))) * 5, 0)
    return (8 + 4.25 + symbols) * symbol_s


def missing_figures(profile: LinkProfile, direction: Direction) -> tuple[str, str] | None:
    """Name the first energy figure that a link lacks in one direction.

    Parameters
    ----------
    profile
        The link.
    direction
        ``up`` from the client, ``down`` to it.

    Returns
    -------
    tuple[str, str] or None
        The field, and what to give in words; None if nothing is missing.
    """
    if profile.ends == "none" and profile.network_j_per_byte is None:
        return "network", "`network: ID` of the catalog or `network_j_per_byte: JOULES_PER_BYTE`"
    sends = profile.ends == "both" or (profile.ends == "client" and direction == "up")
    receives = profile.ends == "both" or (profile.ends == "client" and direction == "down")
    ends = (
        ("tx", sends, profile.tx_w or profile.tx_j_per_byte),
        ("rx", receives, profile.rx_w or profile.rx_j_per_byte),
    )
    for end, pays, known in ends:
        if pays and known is None:
            return f"{end}_w", f"`{end}_w: WATTS_ABOVE_IDLE` or `{end}_j_per_byte: JOULES_PER_BYTE`"
    if (profile.tail_w is None) != (profile.tail_s is None):
        name = "tail_w" if profile.tail_w is None else "tail_s"
        return name, f"`{name}: {'WATTS_ABOVE_IDLE' if name == 'tail_w' else 'SECONDS'}` (0 for no tail)"
    return None


def transfer_cost(link: Link, sender: Device, receiver: Device, gap_s: float = math.inf) -> TransferCost:
    """Return what a link costs per byte, per transfer and per tail.

    An end's joules per payload byte are ``8 * (P + alpha * r) * F / r`` at rate r, where F is the
    framing if r counts the bits on the line (the linear power model of Huang et al., MobiSys 2012).
    Both ends' joules carry the PUE of their facility. A radio whose tail has run out before the next
    transfer wakes up for it, in ``wake_s`` and ``wake_j``.

    Parameters
    ----------
    link
        The directed link.
    sender, receiver
        The devices at its ends.
    gap_s
        Seconds between transfers; infinite if a radio always falls asleep in between.

    Raises
    ------
    ProfileError
        If an energy figure is missing: never taken as zero.
    """
    profile = link.profile
    lacking = missing_figures(profile, link.direction)
    if lacking is not None:
        raise _missing(profile, lacking[0])
    framing = FRAMING if profile.rate == "line" else 1.0
    bytes_per_s = link.bandwidth_bps / 8 / framing

    client_sends = link.direction == "up"
    sender_pays = profile.ends == "both" or (profile.ends == "client" and client_sends)
    receiver_pays = profile.ends == "both" or (profile.ends == "client" and not client_sends)
    radios = sender.pue * sender_pays + receiver.pue * receiver_pays
    sender_j = _end_j_per_byte(profile, "tx", link.bandwidth_bps, bytes_per_s) * sender_pays * sender.pue
    receiver_j = _end_j_per_byte(profile, "rx", link.bandwidth_bps, bytes_per_s) * receiver_pays * receiver.pue
    network_j = 0.0 if profile.network_j_per_byte is None else profile.network_j_per_byte.value

    asleep = profile.tail_s is None or gap_s >= profile.tail_s.value
    wake_j = profile.wake_j.value if profile.wake_j is not None and asleep else 0.0
    wake_s = profile.wake_s.value if profile.wake_s is not None and asleep else 0.0
    one_tail_j = tail_j(profile, gap_s)
    per_byte = sender_j + receiver_j + network_j

    once_j = wake_j + one_tail_j
    total = REFERENCE_BYTES * per_byte + once_j * radios
    sender_part = REFERENCE_BYTES * sender_j + once_j * sender.pue * sender_pays
    receiver_part = REFERENCE_BYTES * receiver_j + once_j * receiver.pue * receiver_pays
    return TransferCost(
        bytes_per_s=bytes_per_s,
        latency_s=link.latency_s + wake_s + CALL_BYTES / bytes_per_s,
        energy_j_per_byte=per_byte,
        energy_j_per_transfer=wake_j * radios + CALL_BYTES * per_byte,
        tail_j=one_tail_j * radios,
        sender_fraction=sender_part / total if total > 0 else 1.0,
        receiver_fraction=receiver_part / total if total > 0 else 0.0,
    )


def _end_j_per_byte(profile: LinkProfile, end: str, rate_bps: float, bytes_per_s: float) -> float:
    figure = getattr(profile, f"{end}_j_per_byte")
    if figure is not None:
        return float(figure.value)
    power, slope = getattr(profile, f"{end}_w"), getattr(profile, f"{end}_w_per_bps")
    if power is None:  # an end that pays nothing: whether it has to pay was checked before
        return 0.0
    require_positive("bandwidth_bps", rate_bps)
    return float(power.value + (0.0 if slope is None else slope.value * rate_bps)) / bytes_per_s


def _missing(profile: LinkProfile, field: str) -> ProfileError:
    return ProfileError(f"link profile {profile.id!r} has no {field}: a missing energy figure is never zero")
