"""Published joules of models on boards and systems, and the cases of leaving a family of models out."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from profiles import Catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


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


def column(runs: Sequence[Run], name: str) -> Array:
    """Give one figure of each run."""
    return np.array([getattr(run, name) for run in runs])


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
