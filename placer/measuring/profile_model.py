"""Times a model on a device: its units alone, random cuts of it, and what the device draws meanwhile."""

from __future__ import annotations

import functools
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from placer.measuring.profile_agent import staged
from placer.measuring.profile_fit import Timed, TimedModel
from placer.measuring.profile_power import Declared, Windows, measure_windows
from placer.measuring.units import boundary_bytes, random_cuts, units_of, whole, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.measuring.profile_journal import Journal
    from placer.measuring.units import Partition, Unit
    from placer.models.graph import ModelGraph
    from profiles.meters import Meter
    from runtimes.client import AgentClient

CUTS = 10
"""Random cuts of each model that correct what its units take alone."""

# On a shared machine the mean is other people's load; the 20th percentile repeats within a few percent.
_PERCENTILE = 20
_SEED = 1
# Fifteen rounds of a small model are over in a fifth of a second, of which a busy machine may take all: more follow
# until so much time for each has passed.
_ROUND_S = 0.15


def time_model(
    client: AgentClient, model: ModelGraph, threads: int, power: Meter | Declared, journal: Journal, runs: int,
    window_s: float, progress: Callable[[str], None],
) -> tuple[TimedModel, Windows | None]:  # fmt: skip
    """Time every part of one model, and measure the power of the whole; what the journal has is taken from there.

    Parameters
    ----------
    client
        The agent's.
    model, threads
        What to run, and on how many threads.
    power
        A meter, or declared powers: then no power is measured.
    journal
        Where results are kept as they come.
    runs, window_s
        Rounds of every part, at least, and the length of each window of the meter.
    progress
        Told in words what is being done.

    Returns
    -------
    tuple
        What was timed, and what the meter saw; None without a meter.

    Raises
    ------
    MeasureError
        The model does not run there, the agent stops answering, or the meter fails.
    """
    units = units_of(model)
    what = f"{model.name} with {threads} threads"
    cuts = random_cuts(len(units), CUTS, _SEED) if len(units) > 1 else ()
    batches: list[tuple[Partition, ...]] = [cuts, *((window,) for window in windows(len(units)))]
    results: list[list[list[list[float]]]] = []
    seen: Windows | None = None
    for number, batch in enumerate(batches):
        key = f"{model.sha256} {threads} {number}"
        metered = number == 0 and not isinstance(power, Declared)
        found = journal.get(key)
        if found is None:
            progress(f"{what}: loading part {number + 1} of {len(batches)}")
            with staged(client, model, units, [whole(len(units)), *batch], threads) as parts:
                said = f"{what}: part {number + 1} of {len(batches)}"
                seconds = parts.time(runs, functools.partial(_tell, progress, said), _ROUND_S * runs)
                found = {"seconds": seconds, "power": None}
                if metered:
                    progress(f"{what}: measuring power")
                    found["power"] = msgspec.to_builtins(measure_windows(power, parts, 0, window_s))  # type: ignore[arg-type]
            journal.put(key, found)
        results.append(found["seconds"])
        if metered:
            seen = msgspec.convert(found["power"], Windows)
    return _timed(model, units, batches, results), seen


def _tell(progress: Callable[[str], None], said: str, run: int) -> None:
    progress(f"{said}, run {run}")


def _timed(
    model: ModelGraph,
    units: tuple[Unit, ...],
    batches: Sequence[Sequence[Partition]],
    results: Sequence[Sequence[Sequence[Sequence[float]]]],
) -> TimedModel:
    """Make robust seconds of all runs; the whole model, timed in every batch, takes the machine's drift out of them."""
    wholes = [robust_s(result[0][0]) for result in results]
    middle_s = median(wholes)
    segments = [
        Timed(
            partition=0, span=(0, len(units)), boundary_bytes=_boundary(model, units, (0, len(units))), seconds=middle_s
        )
    ]
    cuts = set()
    partition = 0
    for number, (batch, result, whole_s) in enumerate(zip(batches, results, wholes, strict=True)):
        for spans, runs in zip(batch, result[1:], strict=True):
            partition += 1
            if number == 0:
                cuts.add(partition)
            segments += [
                Timed(
                    partition=partition,
                    span=span,
                    boundary_bytes=_boundary(model, units, span),
                    seconds=robust_s(seconds) * middle_s / whole_s,
                )
                for span, seconds in zip(spans, runs, strict=True)
            ]
    return TimedModel(name=model.name, units=units, segments=tuple(segments), cuts=frozenset(cuts))


def robust_s(seconds: Sequence[float]) -> float:
    """Return the 20th percentile of some runs."""
    return float(np.percentile(seconds, _PERCENTILE))


def _boundary(model: ModelGraph, units: Sequence[Unit], span: tuple[int, int]) -> int:
    return boundary_bytes(model, (op for unit in units[span[0] : span[1]] for op in unit.ops))
