"""Ways to predict the joules of runs that were left out: what the catalog does, and what others do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.published_joules import Array, Case, Run, column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN_EXPONENT_RUNS = 10
"""From so many runs on, a series has a power exponent of its own; below, it shares that of its kind of processor."""


def constant_power(case: Case) -> Array:
    """E = P x measured t, the equation of `profiles.energy`, with P as the catalog takes it."""
    return _power_w(case.train) * column(case.held, "seconds")


def power_of_rate(case: Case) -> Array:
    """E = P0 x (MAC / t)^g x measured t: power that follows how busy the arithmetic is."""
    exponent = _exponent(case)
    rates, powers = _rate(case.train), column(case.train, "power_w")
    power_w = np.exp(np.median(np.log(powers) - exponent * np.log(rates)))
    return np.asarray(power_w * _rate(case.held) ** exponent * column(case.held, "seconds"))


def as_shipped(case: Case) -> Array:
    """Return what the catalog's modes say: power by MAC rate on accelerators (`profiles.at_rate`), else constant."""
    return power_of_rate(case) if case.series.kind == "npu" else constant_power(case)


def static_and_dynamic(case: Case) -> Array:
    """E = P_static x measured t + e x MAC, least squares of the relative error, neither negative."""
    joules = column(case.train, "joules")
    terms = np.stack([column(case.train, "seconds") / joules, column(case.train, "macs") / joules], axis=1)
    fit = np.linalg.lstsq(terms, np.ones_like(joules), rcond=None)[0]
    if min(fit) < 0:
        alone = [max(0.0, column.sum() / (column @ column)) for column in terms.T]
        left = [float(np.sum((value * column - 1) ** 2)) for value, column in zip(alone, terms.T, strict=True)]
        fit = np.array([alone[0], 0.0]) if left[0] <= left[1] else np.array([0.0, alone[1]])
    return np.asarray(fit[0] * column(case.held, "seconds") + fit[1] * column(case.held, "macs"))


def fitted_seconds(case: Case) -> Array:
    """E = P x (a + b x MAC): seconds from the catalog's fit instead of measured."""
    fit = _relative_fit(column(case.train, "macs"), column(case.train, "seconds"))
    return _power_w(case.train) * (fit[0] + fit[1] * column(case.held, "macs"))


def seconds_of_a_similar_device(case: Case) -> Array:
    """E = P x r x t elsewhere: seconds on the device whose ratio r to this one varies least over the shared models."""
    shared = {run.model: run for run in case.train}
    best: tuple[float, Array] | None = None
    for other in case.others:
        theirs = {run.model: run.seconds for run in other.runs}
        both = [model for model in shared if model in theirs]
        usable = other.hardware != case.series.hardware and other.numeric == case.series.numeric and len(both) >= 2
        if not usable or any(run.model not in theirs for run in case.held):
            continue
        ratios = np.log([shared[model].seconds / theirs[model] for model in both])
        seconds = np.exp(np.median(ratios)) * np.array([theirs[run.model] for run in case.held])
        if best is None or np.std(ratios) < best[0]:
            best = float(np.std(ratios)), seconds
    if best is None:
        raise ValueError(f"no device ran what {case.series.name} leaves out")
    return np.asarray(_power_w(case.train) * best[1])


def line_and_twins(case: Case) -> tuple[Callable[[Run], float], list[tuple[dict[str, float], list[Run]]]]:
    """Return a device's line a + b x MAC, and what other hardware of its kind took, with the runs both have in common.

    Only devices that ran all that is left out.
    """
    start, slope = _relative_fit(column(case.train, "macs"), column(case.train, "seconds"))
    twins = []
    for other in case.others:
        theirs = {run.model: run.seconds for run in other.runs}
        alike = (other.numeric, other.kind) == (case.series.numeric, case.series.kind)
        if alike and other.hardware != case.series.hardware and all(run.model in theirs for run in case.held):
            twins.append((theirs, [run for run in case.train if run.model in theirs]))
    return lambda run: start + slope * run.macs, twins


def seconds_by_the_line_of(case: Case) -> Array:
    """Seconds as `profiles.seconds_like` takes them, one row for each device with the same kind of processor.

    What the left-out model takes there, times how much longer this device's line is than the seconds there.
    """
    line_s, twins = line_and_twins(case)
    rows = []
    for theirs, both in twins:
        factor = np.median([line_s(run) / theirs[run.model] for run in both])
        rows.append([factor * theirs[run.model] for run in case.held])
    return np.array(rows).reshape(-1, len(case.held))


def by_the_line_of_any_similar_device(case: Case) -> Array:
    """E = P x those seconds: all such devices, each as if it were the one that somebody has."""
    return np.asarray(_power_w(case.train) * seconds_by_the_line_of(case))


def power_law_seconds(case: Case) -> Array:
    """E = P x c x MAC^h: seconds from a line through the logarithms, which no small model pulls away."""
    macs, seconds = np.log(column(case.train, "macs")), np.log(column(case.train, "seconds"))
    slope, intercept = np.polyfit(macs, seconds, 1)
    return np.asarray(_power_w(case.train) * np.exp(intercept + slope * np.log(column(case.held, "macs"))))


def joules_by_mac(case: Case) -> Array:
    """E = a + b x MAC, least squares of the relative error: the line that peers fit."""
    fit = _relative_fit(column(case.train, "macs"), column(case.train, "joules"))
    return np.asarray(fit[0] + fit[1] * column(case.held, "macs"))


def joules_by_mac_plain(case: Case) -> Array:
    """E = a + b x MAC, ordinary least squares."""
    slope, intercept = np.polyfit(column(case.train, "macs"), column(case.train, "joules"), 1)
    return np.asarray(intercept + slope * column(case.held, "macs"))


def joules_per_mac(case: Case) -> Array:
    """E = e x MAC, least squares of the relative error."""
    terms = column(case.train, "macs") / column(case.train, "joules")
    return np.asarray(terms.sum() / (terms @ terms) * column(case.held, "macs"))


ESTIMATORS: dict[str, Callable[[Case], Array]] = {
    "measured t, P as shipped": as_shipped,
    "measured t, P constant": constant_power,
    "measured t, P by MAC rate": power_of_rate,
    "measured t, P_static t + e MAC": static_and_dynamic,
    "t of a similar device, P constant": seconds_of_a_similar_device,
    "t of any device of its kind, scaled to a + b MAC": by_the_line_of_any_similar_device,
    "t = a + b MAC, P constant": fitted_seconds,
    "t = c MAC^h, P constant": power_law_seconds,
    "E = a + b MAC, relative": joules_by_mac,
    "E = a + b MAC, ordinary": joules_by_mac_plain,
    "E = e MAC": joules_per_mac,
}


def _rate(runs: Sequence[Run]) -> Array:
    return np.asarray(column(runs, "macs") / column(runs, "seconds"))


def _power_w(train: Sequence[Run]) -> float:
    """Return P as the catalog does: the mean over many models, the median over the few of MLPerf Tiny."""
    powers = column(train, "power_w")
    return float(powers.mean() if len(powers) >= OWN_EXPONENT_RUNS else np.median(powers))


def _exponent(case: Case) -> float:
    pooled: Sequence[Sequence[Run]] = [case.train]
    if len(case.train) < OWN_EXPONENT_RUNS:
        mine = case.series
        alike = [other for other in case.others if other.kind == mine.kind and other.hardware != mine.hardware]
        pooled = [case.train, *(other.runs for other in alike)]
    rates, powers = [], []
    for runs in pooled:
        rate, power = np.log(_rate(runs)), np.log(column(runs, "power_w"))
        rates.append(rate - rate.mean())
        powers.append(power - power.mean())
    x, y = np.concatenate(rates), np.concatenate(powers)
    # More arithmetic per second never takes less power.
    return max(0.0, float(x @ y / (x @ x)))


def _relative_fit(macs: Array, values: Array) -> tuple[float, float]:
    """Minimize the sum of squares of (a + b * MAC) / value - 1, with a not negative, as the catalog's fits do."""
    terms = np.stack([1 / values, macs / values], axis=1)
    intercept, slope = np.linalg.lstsq(terms, np.ones_like(values), rcond=None)[0]
    if intercept >= 0 and slope >= 0:
        return float(intercept), float(slope)
    if intercept < 0:
        return 0.0, float(terms[:, 1].sum() / (terms[:, 1] ** 2).sum())
    return float(terms[:, 0].sum() / (terms[:, 0] ** 2).sum()), 0.0
