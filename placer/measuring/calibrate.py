"""Corrects the figures of devices and links by what was measured of a plan, and says how far they have drifted.

For each mode of a device, and each link, one factor f on its seconds, with log f normal: the prior has mean 0 and the
profile's own uncertainty, each segment or hop measured is one observation of log f with an error of its own. Whatever
lies far off counts less (Student's t with 4 degrees of freedom, by iterated weights): a segment beside the others, and
the prior itself where what was measured contradicts it. Joules follow the seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import exp, hypot, log, log1p, sqrt
from typing import TYPE_CHECKING, Literal

from placer.connections import path_of
from placer.errors import ProblemError
from placer.index import ProblemIndex
from placer.transfer_time import CALL_S, held_s, wire_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placer.measuring.evidence import Evidence
    from placer.plan import Plan
    from placer.problem import Problem
    from profiles import Device, Figure, Mode, Site

MARGIN = 0.05
"""A figure has drifted where the interval of its factor leaves out everything within this part of 1."""

_DEGREES = 4
_ROUNDS = 30
_INTERVAL_SD = 1.96
"""Half of a 95 % interval, in standard deviations."""
_FLOOR = 0.05
"""What two medians of the same thing differ by on another day, however many requests each has."""
_LEAST_PRIOR, _VAGUE_PRIOR = 0.2, 0.5
"""A profile is never surer of another unit than the first; the second where it does not say how sure it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """How many times its figures' seconds a device's mode, or a link, takes.

    Parameters
    ----------
    kind
        ``device`` or ``link``.
    name, mode
        The device and its mode; ``a->b`` for a link, and no mode.
    ratio, low, high
        Median and 95 % interval.
    sd
        Standard deviation of the logarithm.
    prior_sd
        The same before anything was measured.
    parts, requests
        How many segments or hops tell of it, and how many requests in all.
    """

    kind: Literal["device", "link"]
    name: str
    mode: str
    ratio: float
    low: float
    high: float
    sd: float
    prior_sd: float
    parts: int
    requests: int

    @property
    def drifted(self) -> bool:
        """Whether the interval excludes 1 by more than `MARGIN`."""
        return self.low > 1 + MARGIN or self.high < 1 / (1 + MARGIN)


@dataclass(frozen=True, slots=True)
class _Sign:
    """One observation of log f: its value, its standard deviation, and the requests behind it."""

    value: float
    sd: float
    requests: int


def calibrate(site: Site, problem: Problem, plan: Plan, evidence: Iterable[Evidence]) -> tuple[Factor, ...]:
    """Find how many times their present figures' seconds a site's devices and links take.

    Parameters
    ----------
    site
        The site with its present figures.
    problem
        What `placer.planning.build_site` makes of it: the seconds that they say of ops and links.
    plan
        The plan that was measured: which ops each segment has.
    evidence
        What was measured of it.

    Returns
    -------
    tuple of Factor
        One for each mode and link that something was measured of, in the order of the problem.

    Raises
    ------
    ProblemError
        The evidence is of another plan, or the plan of another site.
    """
    index = ProblemIndex(problem)
    links = {(k.source, k.target): i for i, k in enumerate(problem.links)}
    signs: defaultdict[tuple[Literal["device", "link"], str, str], list[_Sign]] = defaultdict(list)
    for part in evidence:
        if part.kind == "segment":
            mode, expected_s = _segment_s(site, problem, plan, part)
            if expected_s > 0:
                signs["device", part.device, mode].append(_sign(part, expected_s, 0.0))
        else:
            position = links.get((part.device, part.to))
            if position is None:
                raise ProblemError(
                    f"a hop from {part.device!r} to {part.to!r} was measured, but the site has no such link"
                )
            # The acknowledgement has a way back of its own, which nothing else was measured of: as long, it is taken.
            link = problem.links[position]
            expected_s = 2 * link.latency_s + part.bytes / link.bytes_per_s
            # What processes take, and TCP where requests pause, is in the measured time and mostly not the link's.
            rate_hz = plan.flow(part.flow).rate_hz
            period_s = 1 / rate_hz if rate_hz > 0 else 0.0
            held = held_s(wire_bytes(part.bytes), path_of(index, position), "paused", period_s)
            doubt = (CALL_S + held) / expected_s
            signs["link", f"{link.source}->{link.target}", ""].append(_sign(part, expected_s, doubt))
    order = {d.name: i for i, d in enumerate(problem.devices)}
    order |= {f"{k.source}->{k.target}": len(order) + i for i, k in enumerate(problem.links)}
    return tuple(
        _fit(kind, name, mode, _prior_sd(site, kind, name, mode), found)
        for (kind, name, mode), found in sorted(signs.items(), key=lambda item: (order[item[0][1]], item[0][2]))
    )


def _segment_s(site: Site, problem: Problem, plan: Plan, part: Evidence) -> tuple[str, float]:
    """Give the site's mode of a measured segment, and the seconds that its figures say."""
    segment = next((s for s in plan.flow(part.flow).segments if s.name == part.name), None)
    flow = next((f for f in problem.flows if f.name == part.flow), None)
    if segment is None or segment.device != part.device:
        raise ProblemError(
            f"segment {part.name!r} was measured on {part.device!r}, where the plan has none of that name"
        )
    if flow is None:
        raise ProblemError(f"the plan has a flow {part.flow!r}, which this site has not; give the plan's own site")
    seconds = {
        op.name: option.seconds
        for op in flow.ops
        for option in op.options
        if (option.device, option.mode) == (segment.device, segment.mode)
    }
    if lacking := sorted(set(segment.ops) - seconds.keys()):
        raise ProblemError(
            f"the site cannot run op {lacking[0]!r} of flow {part.flow!r} on {segment.device!r} in mode "
            f"{segment.mode!r}, as the plan does; give the plan's own site"
        )
    # The problem starts a segment as the dearest of the device's modes does; what was measured ran in this one.
    mode = _site_mode(site.device(segment.device), segment.mode)
    return mode.name, mode.segment_s.value + sum(seconds[op] for op in segment.ops)


def _site_mode(device: Device, mode: str) -> Mode:
    """Give the device's mode of a problem's, which names the stage beside it where a flow has several."""
    found = next((m for m in device.modes if mode == m.name or mode.startswith(f"{m.name} (")), None)
    return found or device.mode(mode)


def _sign(part: Evidence, expected_s: float, doubt: float) -> _Sign:
    return _Sign(
        log(max(part.seconds, 1e-9) / expected_s),
        hypot(part.spread / sqrt(part.requests), _FLOOR, doubt),
        part.requests,
    )


def _fit(kind: Literal["device", "link"], name: str, mode: str, prior_sd: float, signs: Sequence[_Sign]) -> Factor:
    """Combine the prior with the signs: conjugate normal, each with a weight."""
    mean, precision = 0.0, 0.0
    trust, weights = 1.0, [1.0] * len(signs)
    for _ in range(_ROUNDS):
        parts = [w / s.sd**2 for w, s in zip(weights, signs, strict=True)]
        told = sum(p * s.value for p, s in zip(parts, signs, strict=True))
        precision = trust / prior_sd**2 + sum(parts)
        mean = told / precision
        # Signs are judged by their own middle: a lone one that contradicts the prior is no outlier.
        weights = [_weight((s.value - told / sum(parts)) / s.sd) for s in signs]
        trust = _weight(mean / prior_sd)
    sd = sqrt(1 / precision)
    return Factor(
        kind=kind,
        name=name,
        mode=mode,
        ratio=exp(mean),
        low=exp(mean - _INTERVAL_SD * sd),
        high=exp(mean + _INTERVAL_SD * sd),
        sd=sd,
        prior_sd=prior_sd,
        parts=len(signs),
        requests=sum(s.requests for s in signs),
    )


def _weight(off: float) -> float:
    """Give the weight of what lies so many standard deviations off: (nu + 1) / (nu + off^2)."""
    return (_DEGREES + 1) / (_DEGREES + off**2)


def _prior_sd(site: Site, kind: str, name: str, mode: str) -> float:
    if kind == "device":
        figures = [site.device(name).mode(mode).s_per_mac]
    else:
        link = next(k for k in site.links if f"{k.source}->{k.target}" == name)
        figures = [f for f in (link.profile.bandwidth_bps(link.direction), link.profile.latency_s) if f is not None]
    return max(_LEAST_PRIOR, *(_said(figure) for figure in figures))


def _said(figure: Figure) -> float:
    return _VAGUE_PRIOR if figure.relative_uncertainty is None else log1p(figure.relative_uncertainty)
