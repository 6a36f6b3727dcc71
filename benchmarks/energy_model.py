"""How far predicted joules are from published ones that the prediction did not see: the table of docs/energy-model.md.

MLPerf Tiny boards leave out one model at a time, MLPerf Inference systems one family of models at a time. Everything a
prediction uses of the device is fitted to the other models there.

    python benchmarks/energy_model.py [--write docs/energy-model.md] [--each]
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from profiles import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"

OWN_EXPONENT_RUNS = 10
"""From so many runs on, a series has a power exponent of its own; below, it shares that of its kind of processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One published measurement of a model.

    Parameters
    ----------
    model, family
        What ran; a family is left out as a whole.
    macs
        Multiply-accumulates of one inference.
    seconds, joules
        Of one inference, idle included.
    power_w
        What a fit reads; joules over seconds up to rounding.
    """

    model: str
    family: str
    macs: float
    seconds: float
    joules: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All runs of one device in one mode.

    Parameters
    ----------
    name, numeric
        The device and its number format.
    hardware
        Series of one hardware never predict each other.
    kind
        Processor kind, ``cpu``, ``gpu`` or ``npu``.
    runs
        The measurements.
    """

    name: str
    numeric: str
    hardware: str
    kind: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A left-out family: what a prediction may use (train, others) and whose joules it is asked for (held)."""

    series: Series
    train: tuple[Run, ...]
    held: tuple[Run, ...]
    others: tuple[Series, ...]


def tiny_boards() -> tuple[Series, ...]:
    """Return the MLPerf Tiny boards of the catalog, with the energies as published; each model is a family."""
    published = {(row["device"], row["model"]): float(row["joules"]) for row in _rows("mlperf_tiny.csv")}
    boards = []
    for profile in Catalog.load().devices():
        if not any(device == profile.id for device, _ in published):
            continue
        runs = tuple(
            Run(
                model=run.model,
                family=run.model,
                macs=run.macs,
                seconds=run.seconds.value,
                joules=published[profile.id, run.model],
                power_w=run.power_w.value,
            )
            for run in profile.benchmarks
        )
        (mode,) = profile.modes
        kind = mode.name.partition("-")[0]
        # One chip at two voltages, or one kind of chip by two submissions, is one hardware.
        hardware = profile.id.split("_")[0]
        boards.append(Series(name=profile.id, numeric=mode.numeric, hardware=hardware, kind=kind, runs=runs))
    return tuple(boards)


def edge_systems() -> tuple[Series, ...]:
    """Return the single-board computers of MLPerf Inference, each with up to 49 models of four families."""
    runs: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
    for row in _rows("mlperf_edge.csv"):
        seconds, joules = float(row["seconds"]), float(row["joules"])
        runs[row["system"], row["numeric"]].append(
            Run(
                model=row["model"],
                family=row["family"],
                macs=float(row["macs"]),
                seconds=seconds,
                joules=joules,
                power_w=joules / seconds,
            )
        )
    return tuple(
        Series(
            name=system,
            numeric=numeric,
            hardware=system.partition("-")[0],
            kind="gpu" if "opencl" in system else "cpu",
            runs=tuple(of_system),
        )
        for (system, numeric), of_system in runs.items()
    )


def cases(all_series: Sequence[Series]) -> tuple[Case, ...]:
    """Leave out each family of each series once; the other series keep theirs."""
    return tuple(
        Case(
            series,
            tuple(run for run in series.runs if run.family != family),
            tuple(run for run in series.runs if run.family == family),
            tuple(other for other in all_series if other is not series),
        )
        for series in all_series
        for family in dict.fromkeys(run.family for run in series.runs)
    )


def without_family_elsewhere(case: Case) -> Case:
    """Return the case without the left-out family on any device: a model that nobody has ever run."""
    family = case.held[0].family
    others = tuple(
        Series(
            name=other.name,
            numeric=other.numeric,
            hardware=other.hardware,
            kind=other.kind,
            runs=tuple(run for run in other.runs if run.family != family),
        )
        for other in case.others
    )
    return Case(case.series, case.train, case.held, others)


def constant_power(case: Case) -> Array:
    """E = P x measured t, the equation of `profiles.energy`, with P as the catalog takes it."""
    return _power_w(case.train) * _column(case.held, "seconds")


def power_of_rate(case: Case) -> Array:
    """E = P0 x (MAC / t)^g x measured t: power that follows how busy the arithmetic is."""
    exponent = _exponent(case)
    rates, powers = _rate(case.train), _column(case.train, "power_w")
    power_w = np.exp(np.median(np.log(powers) - exponent * np.log(rates)))
    return np.asarray(power_w * _rate(case.held) ** exponent * _column(case.held, "seconds"))


def as_shipped(case: Case) -> Array:
    """Return what the catalog's modes say: power by MAC rate on accelerators (`profiles.at_rate`), else constant."""
    return power_of_rate(case) if case.series.kind == "npu" else constant_power(case)


def static_and_dynamic(case: Case) -> Array:
    """E = P_static x measured t + e x MAC, least squares of the relative error, neither negative."""
    joules = _column(case.train, "joules")
    terms = np.stack([_column(case.train, "seconds") / joules, _column(case.train, "macs") / joules], axis=1)
    fit = np.linalg.lstsq(terms, np.ones_like(joules), rcond=None)[0]
    if min(fit) < 0:
        alone = [max(0.0, column.sum() / (column @ column)) for column in terms.T]
        left = [float(np.sum((value * column - 1) ** 2)) for value, column in zip(alone, terms.T, strict=True)]
        fit = np.array([alone[0], 0.0]) if left[0] <= left[1] else np.array([0.0, alone[1]])
    return np.asarray(fit[0] * _column(case.held, "seconds") + fit[1] * _column(case.held, "macs"))


def fitted_seconds(case: Case) -> Array:
    """E = P x (a + b x MAC): seconds from the catalog's fit instead of measured."""
    fit = _relative_fit(_column(case.train, "macs"), _column(case.train, "seconds"))
    return _power_w(case.train) * (fit[0] + fit[1] * _column(case.held, "macs"))


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
    start, slope = _relative_fit(_column(case.train, "macs"), _column(case.train, "seconds"))
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
    macs, seconds = np.log(_column(case.train, "macs")), np.log(_column(case.train, "seconds"))
    slope, intercept = np.polyfit(macs, seconds, 1)
    return np.asarray(_power_w(case.train) * np.exp(intercept + slope * np.log(_column(case.held, "macs"))))


def joules_by_mac(case: Case) -> Array:
    """E = a + b x MAC, least squares of the relative error: the line that peers fit."""
    fit = _relative_fit(_column(case.train, "macs"), _column(case.train, "joules"))
    return np.asarray(fit[0] + fit[1] * _column(case.held, "macs"))


def joules_by_mac_plain(case: Case) -> Array:
    """E = a + b x MAC, ordinary least squares."""
    slope, intercept = np.polyfit(_column(case.train, "macs"), _column(case.train, "joules"), 1)
    return np.asarray(intercept + slope * _column(case.held, "macs"))


def joules_per_mac(case: Case) -> Array:
    """E = e x MAC, least squares of the relative error."""
    terms = _column(case.train, "macs") / _column(case.train, "joules")
    return np.asarray(terms.sum() / (terms @ terms) * _column(case.held, "macs"))


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


def errors(estimator: Callable[[Case], Array], all_cases: Sequence[Case]) -> dict[tuple[str, str], Array]:
    """Return the relative errors of the left-out runs, by series and number format."""
    found: defaultdict[tuple[str, str], list[Array]] = defaultdict(list)
    for case in all_cases:
        # An estimator may have several answers: each counts.
        error = np.abs(estimator(case) / _column(case.held, "joules") - 1)
        found[case.series.name, case.series.numeric].append(error.ravel())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def mean_error(estimator: Callable[[Case], Array], all_cases: Sequence[Case]) -> float:
    """Return the mean relative error over all left-out runs."""
    return float(np.concatenate(list(errors(estimator, all_cases).values())).mean())


def table() -> str:
    """Return the table of the document: mean, median and 90th percentile of the relative errors, in percent."""
    lines = [
        "| joules of a model that was left out | MLPerf Tiny: mean / median / p90 | worst board "
        "| MLPerf Inference edge: mean / median / p90 | worst system |",
        "|---|---|---|---|---|",
    ]
    both = [cases(tiny_boards()), cases(edge_systems())]
    for name, estimator in ESTIMATORS.items():
        cells = [name]
        for all_cases in both:
            by_series = errors(estimator, all_cases)
            every = np.concatenate(list(by_series.values()))
            worst = max(error.mean() for error in by_series.values())
            cells += [" / ".join(_percent(v) for v in (every.mean(), np.median(every), np.quantile(every, 0.9)))]
            cells += [_percent(worst)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def each() -> str:
    """Return the mean errors of every series, in percent, with measured seconds."""
    lines = ["| series | P constant | P by MAC rate |", "|---|---|---|"]
    for all_series in (tiny_boards(), edge_systems()):
        by_estimator = [errors(estimator, cases(all_series)) for estimator in (constant_power, power_of_rate)]
        lines += [
            f"| `{name}` {numeric} | " + " | ".join(_percent(e[name, numeric].mean()) for e in by_estimator) + " |"
            for name, numeric in by_estimator[0]
        ]
    return "\n".join(lines)


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _column(runs: Sequence[Run], name: str) -> Array:
    return np.array([getattr(run, name) for run in runs])


def _rate(runs: Sequence[Run]) -> Array:
    return np.asarray(_column(runs, "macs") / _column(runs, "seconds"))


def _power_w(train: Sequence[Run]) -> float:
    """Return P as the catalog does: the mean over many models, the median over the few of MLPerf Tiny."""
    powers = _column(train, "power_w")
    return float(powers.mean() if len(powers) >= OWN_EXPONENT_RUNS else np.median(powers))


def _exponent(case: Case) -> float:
    pooled: Sequence[Sequence[Run]] = [case.train]
    if len(case.train) < OWN_EXPONENT_RUNS:
        mine = case.series
        alike = [other for other in case.others if other.kind == mine.kind and other.hardware != mine.hardware]
        pooled = [case.train, *(other.runs for other in alike)]
    rates, powers = [], []
    for runs in pooled:
        rate, power = np.log(_rate(runs)), np.log(_column(runs, "power_w"))
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


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main() -> None:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="document whose table is replaced")
    parser.add_argument("--each", action="store_true", help="also print every series")
    options = parser.parse_args()
    print(table())
    if options.each:
        print(each())
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        options.write.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
