"""From a probe of a link to its figures, with their spread, and to a profile that a site can name."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from placer.errors import RunError
from placer.transfer_time import wire_bytes
from profiles import Figure, LinkProfile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from profiles import Ends
    from runtimes.probe import LinkProbe

_MAD_TO_SD = 1.4826
"""Of a normal distribution: its standard deviation over its median absolute deviation."""
# Below this part of a round trip, the time of a large message says nothing of the bandwidth.
_LEAST_RISE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFigures:
    """What a probe says of a link.

    Parameters
    ----------
    latency_s, latency_spread
        Half the median round trip of an empty message, the processes' part of a call included, and its relative
        spread (1.4826 times the median absolute deviation, over the median).
    up_bytes_per_s, up_spread, down_bytes_per_s, down_spread
        Bandwidth from this end and to it, of bytes as IP counts them, and relative spreads.
    first_s
        The first call: connection, handshake, an empty message.
    jitter_s
        Mean difference between consecutive round trips.
    call_s
        What a round trip takes beyond the kernel's: the processes at both ends; None where it does not tell.
    loss
        TCP segments sent again over those sent: an upper bound of what this direction lost, since some are sent
        again in vain; None where the kernel does not tell.
    stream_small_s, stream_up_s
        Median of an empty and a large message on an open stream.
    """

    latency_s: float
    latency_spread: float
    up_bytes_per_s: float
    up_spread: float
    down_bytes_per_s: float
    down_spread: float
    first_s: float
    jitter_s: float
    call_s: float | None
    loss: float | None
    stream_small_s: float
    stream_up_s: float


def link_figures(probe: LinkProbe) -> LinkFigures:
    """Say what a probe measured.

    A large message takes t = R + X / B, an empty one R: the difference gives B, whatever the processes take.

    Raises
    ------
    RunError
        Large messages took no longer than empty ones: the probe was disturbed.
    """
    round_trip_s = median(probe.small_s)
    up, down = (_bandwidth(probe, seconds, which) for seconds, which in ((probe.up_s, "to"), (probe.down_s, "from")))
    steps = [abs(b - a) for a, b in zip(probe.small_s, probe.small_s[1:], strict=False)]
    least_s = probe.least_round_trip_s
    return LinkFigures(
        latency_s=round_trip_s / 2,
        latency_spread=_spread_s(probe.small_s) / round_trip_s,
        up_bytes_per_s=up[0],
        up_spread=up[1],
        down_bytes_per_s=down[0],
        down_spread=down[1],
        first_s=probe.first_s,
        jitter_s=sum(steps) / len(steps),
        call_s=None if least_s is None else max(0.0, round_trip_s - least_s),
        loss=probe.retransmitted / probe.segments if probe.segments and probe.retransmitted is not None else None,
        stream_small_s=median(probe.stream_small_s),
        stream_up_s=median(probe.stream_up_s),
    )


def probed_profile(
    figures: LinkFigures, *, name: str, ends: Ends, like: LinkProfile | None, ways: tuple[str, str], day: date
) -> LinkProfile:
    """Make a link profile of what a probe measured; its client is the end that probed.

    Parameters
    ----------
    figures
        From `link_figures`.
    name
        The profile's id.
    ends
        Which ends pay for what is sent; no probe can tell.
    like
        A profile whose energy figures the link has; without one they are the site's to give.
    ways
        The two ends, for people.
    day
        When it was measured.
    """
    source = f"placer probe, {day.isoformat()}, {ways[0]} to {ways[1]}"

    def figure(value: float, spread: float, note: str) -> Figure:
        return Figure(
            value=value, source=source, origin="measured", relative_uncertainty=spread, year=day.year, note=note
        )

    words = [f"{ways[0]} to {ways[1]}: first call {figures.first_s:.3g} s, jitter {figures.jitter_s:.3g} s"]
    if figures.loss is not None:
        words.append(f"{figures.loss:.2%} of the TCP packets sent again")
    if like is not None:
        words.append(f"energy as {like.id}")
    return msgspec.structs.replace(
        like or LinkProfile(id=name, name=name, ends=ends),
        id=name,
        name=f"{ways[0]} to {ways[1]}, measured",
        ends=ends,
        rate="line",
        bandwidth_up_bps=figure(8 * figures.up_bytes_per_s, figures.up_spread, "of bytes as IP counts them"),
        bandwidth_down_bps=figure(8 * figures.down_bytes_per_s, figures.down_spread, "of bytes as IP counts them"),
        latency_s=figure(figures.latency_s, figures.latency_spread, "half the round trip of an empty call"),
        note="; ".join(words),
    )


def _bandwidth(probe: LinkProbe, seconds: Sequence[float], which: str) -> tuple[float, float]:
    rise_s = median(seconds) - median(probe.small_s)
    if rise_s <= _LEAST_RISE * median(probe.small_s):
        # Busy machines hide it; what was disturbed least may still show it.
        rise_s = min(seconds) - min(probe.small_s)
    if rise_s <= _LEAST_RISE * min(probe.small_s):
        raise RunError(
            f"{probe.large_bytes} bytes {which} {probe.device!r} took no longer than none: the machines were busy, or "
            "the link is faster than a probe can tell; probe again"
        )
    spread_s = hypot(_spread_s(seconds), _spread_s(probe.small_s))
    return (wire_bytes(probe.large_bytes) - wire_bytes(0)) / rise_s, spread_s / rise_s


def _spread_s(seconds: Sequence[float]) -> float:
    middle = median(seconds)
    return _MAD_TO_SD * median(abs(s - middle) for s in seconds)
