"""Finds out of timed parts what each op of a model takes, and what models that were not timed would take.

A segment takes ``t = k sum + a + b boundary``: the sum over its units of the seconds each took alone less its own
start and boundary, the start of an execution ``a``, and ``b`` for each byte that enters or leaves it. Random cuts of
the same model, timed too, correct ``k`` for each unit: alone, one changes layouts that it shares with its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from placer.measuring.nonnegative import nonnegative_least_squares
from profiles.op_costs import ANY_KIND, KindCost, OpCosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from placer.measuring.units import Span, Unit

Array: TypeAlias = "npt.NDArray[np.float64]"

# Errors are relative, but no segment is timed better than this: what a call takes varies by about as much.
_RESOLUTION_S = 2e-5
# How far a unit may leave the factor of its model for the sake of the cuts: weight of that beside one timed segment.
_STIFFNESS = 0.3
# Of a', b', a and b: near one in these units.
_SCALES = (1e-5, 1e-10, 1e-5, 1e-10)
_FOLDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One segment of a timed partition.

    Parameters
    ----------
    partition
        Which partition it belongs to.
    span
        Its units.
    boundary_bytes
        What enters and leaves it.
    seconds
        Its robust time.
    """

    partition: int
    span: Span
    boundary_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedModel:
    """A model's units and everything of it that was timed.

    Parameters
    ----------
    name
        For messages.
    units
        In their order.
    segments
        Of every partition; those of one unit say what it takes alone.
    cuts
        The partitions that are random cuts, which can be held out: every unit is timed without them.
    """

    name: str
    units: tuple[Unit, ...]
    segments: tuple[Timed, ...]
    cuts: frozenset[int]

    @property
    def whole_s(self) -> float:
        """Seconds of the whole model as one segment."""
        return min(each.seconds for each in self.segments if each.span == (0, len(self.units)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What every segment of a mode costs beside its ops.

    Parameters
    ----------
    start_s
        ``a``: an execution's start.
    s_per_byte
        ``b``: for each byte of its boundary.
    """

    start_s: float
    s_per_byte: float

    def seconds(self, unit_s: Array, span: Span, boundary_bytes: float) -> float:
        """Predict a segment."""
        return float(unit_s[span[0] : span[1]].sum()) + self.start_s + self.s_per_byte * boundary_bytes


def fit_segments(models: Sequence[TimedModel]) -> tuple[Segments, tuple[Array, ...]]:
    """Fit the seconds of all units and of starting a segment.

    Parameters
    ----------
    models
        Timed in one mode.

    Returns
    -------
    tuple
        What all models share, and for each model the seconds of its units.
    """
    fits = [_fit(model, None) for model in models]
    shared = Segments(start_s=median(fit[1] for fit in fits), s_per_byte=median(fit[2] for fit in fits))
    return shared, tuple(_fit(model, shared)[0] for model in models)


def held_out_errors(model: TimedModel, shared: Segments) -> tuple[float, ...]:
    """Predict every partition of several units from the others, and say by how much, relatively, each is missed.

    Parameters
    ----------
    model
        What was timed.
    shared
        Of the mode.

    Returns
    -------
    tuple of float
        Absolute relative error of the seconds of each partition, of all its segments together.
    """
    cuts = sorted(model.cuts)
    errors = []
    for fold in range(min(_FOLDS, len(cuts))):
        held = set(cuts[fold::_FOLDS])
        rest = TimedModel(
            name=model.name,
            units=model.units,
            segments=tuple(each for each in model.segments if each.partition not in held),
            cuts=model.cuts - held,
        )
        unit_s, _, _ = _fit(rest, shared)
        for partition in held:
            parts = [each for each in model.segments if each.partition == partition]
            predicted_s = sum(shared.seconds(unit_s, each.span, each.boundary_bytes) for each in parts)
            measured_s = sum(each.seconds for each in parts)
            errors.append(abs(predicted_s / measured_s - 1))
    return tuple(errors)


def _fit(model: TimedModel, shared: Segments | None) -> tuple[Array, float, float]:
    """Fit one model; the start and the boundary's seconds are found too if they are not shared with others.

    Unknowns, none negative: the seconds ``x`` of each unit, ``k``, ``a'``, ``b'``, and ``a``, ``b``. Each segment says
    ``sum x + a + b boundary = t``, each unit that was timed alone ``x = k t - a' - b' boundary``, less strictly.
    """
    count = len(model.units)
    alone = {each.span[0]: each for each in model.segments if each.span[1] - each.span[0] == 1}
    together = [each for each in model.segments if each.span[1] - each.span[0] > 1 or count == 1]
    scale = np.array(
        [*(alone[u].seconds if u in alone else model.whole_s / count for u in range(count)), 1.0, *_SCALES]
    )
    matrix = np.zeros((len(together) + count, len(scale)))
    target = np.zeros(len(together) + count)
    for row, each in enumerate(together):
        weight = 1.0 / (each.seconds + _RESOLUTION_S)
        matrix[row, each.span[0] : each.span[1]] = weight
        rest_s = each.seconds
        if shared is None:
            matrix[row, -2:] = weight, weight * each.boundary_bytes
        else:
            rest_s -= shared.start_s + shared.s_per_byte * each.boundary_bytes
        target[row] = max(rest_s, 0.0) * weight
    stiffness = _STIFFNESS * np.sqrt(len(together) / count)
    for unit, each in alone.items():
        weight = stiffness / (each.seconds + _RESOLUTION_S)
        row = len(together) + unit
        matrix[row, unit], matrix[row, count] = weight, -weight * each.seconds
        matrix[row, count + 1], matrix[row, count + 2] = weight, weight * each.boundary_bytes
    found = nonnegative_least_squares(matrix * scale, target) * scale
    if shared is not None:
        return found[:count], shared.start_s, shared.s_per_byte
    return found[:count], float(found[-2]), float(found[-1])


# Below so many units of a kind three numbers say nothing; they are fitted with all the others.
_UNITS_OF_A_KIND = 3
# Of a unit's own seconds: they were found from many segments, so they are finer than one segment's.
_KIND_RESOLUTION_S = 1e-6


def fit_kinds(models: Sequence[TimedModel], unit_s: Sequence[Array]) -> tuple[KindCost, ...]:
    """Fit seconds of units by what they do: an additive roofline for each kind.

    Parameters
    ----------
    models
        Whose units were timed.
    unit_s
        The seconds of the units of each.

    Returns
    -------
    tuple of KindCost
        That of every kind of which there are enough units, after `ANY_KIND`.
    """
    units = [unit for model in models for unit in model.units]
    seconds = np.concatenate(unit_s)
    found = [_fit_kind(ANY_KIND, units, seconds)]
    for kind in sorted({unit.kind for unit in units}):
        chosen = [place for place, unit in enumerate(units) if unit.kind == kind]
        if len(chosen) >= _UNITS_OF_A_KIND:
            found.append(_fit_kind(kind, [units[place] for place in chosen], seconds[chosen]))
    return tuple(found)


def _fit_kind(kind: str, units: Sequence[Unit], seconds: Array) -> KindCost:
    weights = 1.0 / (seconds + _KIND_RESOLUTION_S)
    scale = np.array([1e-6, 1e-12, 1e-12])
    features = np.array([[1.0, unit.macs, unit.bytes] for unit in units]) * scale
    found = nonnegative_least_squares(features * weights[:, None], seconds * weights) * scale
    return KindCost(kind=kind, base_s=float(found[0]), s_per_mac=float(found[1]), s_per_byte=float(found[2]))


def unseen_errors(models: Sequence[TimedModel]) -> tuple[float, ...]:
    """Leave out one model at a time, and predict it by the kinds that the others gave.

    Returns
    -------
    tuple of float
        For each model the absolute relative error of its whole seconds; empty for a single model.
    """
    if len(models) < 2:
        return ()
    errors = []
    for left_out in models:
        others = [model for model in models if model is not left_out]
        shared, unit_s = fit_segments(others)
        kinds = OpCosts(source="the others", s_per_boundary_byte=0.0, models=(), kinds=fit_kinds(others, unit_s))
        predicted = np.array([kinds.kind(unit.kind).seconds(unit.macs, unit.bytes) for unit in left_out.units])
        whole = next(each for each in left_out.segments if each.span == (0, len(left_out.units)))
        predicted_s = shared.seconds(predicted, whole.span, whole.boundary_bytes)
        errors.append(abs(predicted_s / left_out.whole_s - 1))
    return tuple(errors)
