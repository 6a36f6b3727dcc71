"""Measures a device through its agent and writes what it found as a device profile."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from itertools import product
from statistics import mean
from typing import TYPE_CHECKING, get_args

import numpy as np

from placer.errors import MeasureError
from placer.measuring.profile_agent import staged
from placer.measuring.profile_fit import Segments, TimedModel, fit_kinds, fit_segments, held_out_errors, unseen_errors
from placer.measuring.profile_lookup import lookup_rate
from placer.measuring.profile_model import time_model
from placer.measuring.profile_power import Declared, Windows, power_figure
from placer.measuring.units import share_out, units_of, whole
from profiles import DeviceProfile, Figure, Mode, Numeric, Tier
from profiles.device import Benchmark
from profiles.op_costs import ModelCost, OpCosts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from placer.measuring.profile_fit import Array
    from placer.measuring.profile_journal import Journal
    from placer.models.graph import ModelGraph
    from profiles import Boundary
    from profiles.meters import Meter
    from runtimes.client import AgentClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The device that is measured.

    Parameters
    ----------
    id, name
        Of the profile.
    tier
        Where such a device usually stands.
    host
        What is known of the machine, in words.
    memory_bytes
        Its memory; None where the machine cannot be asked.
    """

    id: str
    name: str
    tier: Tier
    host: str
    memory_bytes: float | None


def profile_device(
    client: AgentClient,
    models: Sequence[ModelGraph],
    subject: Subject,
    power: Meter | Declared,
    journal: Journal,
    *,
    threads: Sequence[int],
    runs: int,
    window_s: float,
    progress: Callable[[str], None],
) -> DeviceProfile:
    """Measure what models and their parts take on a device, and what it draws meanwhile.

    Parameters
    ----------
    client
        The agent's.
    models
        At least one; what is learned of kinds of ops grows with them.
    subject
        The device.
    power
        A meter of the machine that the agent is on, or power states to model joules from.
    journal
        Results that are there already are not measured again.
    threads
        Numbers of threads; each is a mode of its own.
    runs
        Rounds of every part.
    window_s
        Length of each window of the meter.
    progress
        Told in words what is being done.

    Returns
    -------
    DeviceProfile
        With modes that have costs op by op.

    Raises
    ------
    MeasureError
        A model does not run there, the agent stops answering, or the meter fails.
    """
    # All of them before the first is run: the files say it, and to run one takes long.
    for model in models:
        _require_known_format(model)
    for model in models:
        progress(f"{model.name}: looking whether it runs there")
        units = units_of(model)
        with staged(client, model, units, [whole(len(units))], threads[0]) as parts:
            parts.time(1)
    timed: dict[tuple[str, int], list[tuple[ModelGraph, TimedModel]]] = {}
    powers: dict[tuple[str, int], list[Windows]] = {}
    for count, model in product(threads, models):
        measured, seen = time_model(client, model, count, power, journal, runs, window_s, progress)
        timed.setdefault((model.numeric, count), []).append((model, measured))
        if seen is not None:
            powers.setdefault((model.numeric, count), []).append(seen)
    source = f"placer profile, {datetime.datetime.now(tz=datetime.UTC).date()}, {subject.host}"
    lookup_bytes_per_s = lookup_rate(client, models, journal, runs, source, progress)
    idle_w, wait_w, boundary, active_w = _powers(power, powers, list(timed), source)
    modes = tuple(
        _mode(numeric, count, found, active_w[numeric, count], f"{source}, {count} threads", runs)
        for (numeric, count), found in timed.items()
    )
    return DeviceProfile(
        id=subject.id,
        name=subject.name,
        tier=subject.tier,
        boundary=boundary,
        idle_w=idle_w,
        wait_w=wait_w,
        memory_bytes=None
        if subject.memory_bytes is None
        else Figure(value=subject.memory_bytes, source=source, origin="measured", note="all of the machine's memory"),
        lookup_bytes_per_s=lookup_bytes_per_s,
        modes=modes,
        benchmarks=tuple(
            _benchmark(mode, model, measured, mode.active_w, source)
            for mode, found in zip(modes, timed.values(), strict=True)
            for model, measured in found
        ),
        note=_note(modes, power, source),
    )


def _require_known_format(model: ModelGraph) -> None:
    if model.numeric not in get_args(Numeric):
        raise MeasureError(
            f"{model.path} computes in {model.numeric}, which no mode can have: {', '.join(get_args(Numeric))}"
        )
    if not model.macs:
        raise MeasureError(f"{model.path} multiplies nothing, so it says nothing of speed; profile another model")


def _powers(
    power: Meter | Declared,
    seen: Mapping[tuple[str, int], Sequence[Windows]],
    modes: Sequence[tuple[str, int]],
    source: str,
) -> tuple[Figure, Figure | None, Boundary, dict[tuple[str, int], Figure]]:
    """Return idle power, waiting power, their boundary, and each mode's active power."""
    if isinstance(power, Declared):

        def declared(value_w: float) -> Figure:
            return Figure(
                value=value_w, source="declared to placer profile", origin="declared", note="not measured here"
            )

        return (
            declared(power.idle_w),
            None if power.wait_w is None else declared(power.wait_w),
            power.boundary,
            {mode: declared(power.active_w) for mode in modes},
        )
    everything = [each for windows_of_mode in seen.values() for each in windows_of_mode]
    meter = everything[0].source
    idle_w = power_figure(
        [value for each in everything for value in each.idle_w],
        f"{source}, {meter}",
        "median of windows in which nothing ran, with the machine awake; uncertainty: median deviation",
    )
    active = {
        mode: power_figure(
            [max(value, idle_w.value) for each in windows_of_mode for value in each.active_w],
            f"{source}, {meter}",
            f"median over {len(windows_of_mode)} models that ran again and again; uncertainty: median deviation",
        )
        for mode, windows_of_mode in seen.items()
    }
    wait_w = Figure(
        value=0.0, source=f"{source}, {meter}", origin="measured",
        note="its agent was awake and listening in the windows that gave idle_w",
    )  # fmt: skip
    return idle_w, wait_w, everything[0].boundary, active


def _mode(
    numeric: str, threads: int, found: Sequence[tuple[ModelGraph, TimedModel]], active_w: Figure, source: str, runs: int
) -> Mode:
    timed = [measured for _, measured in found]
    shared, unit_s = fit_segments(timed)
    unseen = unseen_errors(timed)
    return Mode(
        name=f"cpu-{numeric}-{threads}t",
        numeric=numeric,  # type: ignore[arg-type]  # checked at the beginning
        active_w=active_w,
        segment_s=Figure(
            value=shared.start_s, source=source, origin="fitted",
            note=f"a of t = k sum + a + b boundary over segments of {len(found)} models, {runs} runs each",
        ),
        s_per_mac=_per_mac(found, shared, source),
        threads=threads,
        op_costs=OpCosts(
            source=source,
            s_per_boundary_byte=shared.s_per_byte,
            models=tuple(
                _model_cost(model, measured, shared, seconds)
                for (model, measured), seconds in zip(found, unit_s, strict=True)
            ),
            kinds=fit_kinds(timed, unit_s),
            unseen_relative_error=mean(unseen) if unseen else None,
        ),
    )  # fmt: skip


def _per_mac(found: Sequence[tuple[ModelGraph, TimedModel]], shared: Segments, source: str) -> Figure:
    """Fit the one number that stands for all ops where nothing finer is asked: least relative errors."""
    ratios = np.array([model.macs / measured.whole_s for model, measured in found])
    rest = np.array([1 - shared.start_s / measured.whole_s for _, measured in found])
    value = float(max(ratios @ np.maximum(rest, 0.1) / (ratios @ ratios), np.finfo(float).tiny))
    errors = [abs((shared.start_s + value * model.macs) / measured.whole_s - 1) for model, measured in found]
    return Figure(
        value=value, source=source, origin="fitted", relative_uncertainty=mean(errors) if len(errors) > 1 else None,
        note="least squares of the relative error over whole models; op_costs are finer and go before it",
    )  # fmt: skip


def _model_cost(model: ModelGraph, measured: TimedModel, shared: Segments, unit_s: Array) -> ModelCost:
    errors = held_out_errors(measured, shared)
    seconds: dict[str, float] = {}
    for unit, value in zip(measured.units, unit_s, strict=True):
        seconds.update(share_out(model, unit, float(value)))
    entire = measured.segments[0]
    fallback = abs(shared.seconds(unit_s, entire.span, entire.boundary_bytes) / entire.seconds - 1)
    return ModelCost(
        name=model.name,
        sha256=model.sha256,
        inputs={tensor.name: tensor.shape for tensor in model.inputs},
        seconds=seconds,
        relative_error=mean(errors) if errors else fallback,
    )


def _benchmark(mode: Mode, model: ModelGraph, measured: TimedModel, active_w: Figure, source: str) -> Benchmark:
    return Benchmark(
        model=model.name,
        mode=mode.name,
        macs=float(model.macs),
        seconds=Figure(
            value=measured.whole_s, source=source, origin="measured", note="of the whole model, 20th percentile"
        ),
        power_w=active_w,
    )


def _note(modes: Sequence[Mode], power: Meter | Declared, source: str) -> str:
    said = [f"Seconds measured by {source}."]
    for mode in modes:
        costs = mode.op_costs
        if costs is None:
            continue
        known = mean(model.relative_error for model in costs.models)
        unseen = (
            ""
            if costs.unseen_relative_error is None
            else (f", whole models predicted without having been run by {costs.unseen_relative_error:.1%}")
        )
        said.append(f"{mode.name}: cuts that the fit did not see are missed by {known:.1%} on average{unseen}.")
    said.append(
        "Joules are modelled from declared power states: no meter was read."
        if isinstance(power, Declared)
        else "Power was measured in windows without and with a model that ran."
    )
    return " ".join(said)
