"""What every op costs on every device: seconds and joules, each with where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from placer.errors import ProblemError
from placer.measuring.measure import Progress, op_seconds
from placer.measuring.units import share_out, units_of
from profiles import Device, Mode, Origin, at_rate, compute_j, weakest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.measuring.units import Unit
    from placer.models.graph import ModelGraph
    from profiles.op_costs import OpCosts

Key: TypeAlias = tuple[str, str, str]
"""Op, device and mode, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds and joules of one op on one device in one mode.

    Parameters
    ----------
    seconds
        Of the op alone; starting a segment is charged once per segment, by the problem.
    joules
        Above the device's idle power, its facility's overhead included.
    origin
        Of the joules: the weakest of those of the seconds and the watts that they are the product of. "measured",
        "fitted" to measurements of other models, "spec" or "declared".
    source
        The figures' sources, or what measured.
    relative_uncertainty
        Expected relative error of the joules, where known.
    """

    seconds: float
    joules: float
    origin: Origin
    source: str
    relative_uncertainty: float | None

    def __post_init__(self) -> None:
        for what in ("seconds", "joules"):
            value = getattr(self, what)
            if not math.isfinite(value) or value < 0:
                raise ProblemError(f"a cost's {what} are finite and not negative, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """The costs of one model's ops on some devices; a missing row is a mode that cannot run the op.

    Parameters
    ----------
    rows
        By op, device and mode.
    """

    rows: Mapping[Key, Cost]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", MappingProxyType(dict(self.rows)))

    def cost(self, op: str, device: str, mode: str) -> Cost:
        """Return one row.

        Raises
        ------
        ProblemError
            The device cannot run this op in this mode.
        """
        try:
            return self.rows[op, device, mode]
        except KeyError:
            raise ProblemError(f"there is no cost of op {op!r} on {device!r} in mode {mode!r}") from None

    def seconds_on(self, device: str) -> dict[str, float]:
        """Return the seconds of all ops on a device, by the modes that run any."""
        found: dict[str, float] = {}
        for (_, name, mode), cost in self.rows.items():
            if name == device:
                found[mode] = found.get(mode, 0.0) + cost.seconds
        return found

    def options(self, op: str) -> tuple[tuple[str, str, Cost], ...]:
        """Return device, mode and cost of every way to run an op, in the order of the devices."""
        return tuple((device, mode, cost) for (name, device, mode), cost in self.rows.items() if name == op)


def cost_table(
    graph: ModelGraph,
    devices: Sequence[Device],
    *,
    threads: int = 1,
    runs: int = 25,
    progress: Progress | None = None,
) -> CostTable:
    """Return the costs of a model on all devices of a site, each by the way its `costs` names.

    Devices without a mode for the model's numeric format have no rows: they may still be a source or sink. A model
    without MACs runs there in any of their modes.

    Raises
    ------
    ProblemError
        No device has a fitting mode, or measuring failed.
    """
    rows: dict[Key, Cost] = {}
    for device in devices:
        if not _fitting(graph, device):
            continue
        if device.costs == "measured":
            rows.update(measured(graph, device, threads=threads, runs=runs, progress=progress).rows)
        else:
            rows.update(fitted(graph, device).rows)
            rows.update(profiled(graph, device).rows)
    if not rows:
        raise ProblemError(
            f"{graph.path} computes in {graph.numeric}, but no device has a mode for that: "
            + "; ".join(_modes_of(device) for device in devices)
        )
    return CostTable(rows=rows)


def fitted(graph: ModelGraph, device: Device) -> CostTable:
    """Return the costs that a device's fit t = a + b x MAC predicts: seconds b x MAC of each op.

    The intercept a is `Mode.segment_s`; it belongs to a segment, not to its ops.

    Raises
    ------
    ProblemError
        No mode of the device computes in the model's numeric format.
    """
    rows: dict[Key, Cost] = {}
    for mode in _require_fitting(graph, device):
        per_mac = mode.s_per_mac
        # A rate that was measured on other models is a fit when it is applied to this one.
        origin: Origin = "fitted" if per_mac.origin == "measured" else per_mac.origin
        source = _joined(per_mac.source, mode.active_w.source, device.idle_w.source)
        at_work = busy(graph, device, mode, sum(per_mac.value * op.macs for op in graph.ops))
        for op in graph.ops:
            seconds = per_mac.value * op.macs
            rows[op.name, device.name, mode.name] = Cost(
                seconds=seconds,
                joules=compute_j(device, at_work, seconds),
                origin=weakest(origin, at_work.active_w.origin, device.idle_w.origin),
                source=source,
                relative_uncertainty=_combined(per_mac.relative_uncertainty, mode.active_w.relative_uncertainty),
            )
    return CostTable(rows=rows)


def profiled(graph: ModelGraph, device: Device) -> CostTable:
    """Return the costs in those modes of a device that were measured op by op; none where there are none.

    A model that was profiled at these shapes has its own seconds; of another, each unit of ops has those that its kind,
    its MACs and its bytes cost, or its mode's line where the kind's fit has 0 s per MAC. Where the seconds are another
    device's, scaled, none is measured.

    Raises
    ------
    ProblemError
        The model was not profiled and cannot be optimized here, which shows what runs as one.
    """
    rows: dict[Key, Cost] = {}
    inputs = {tensor.name: tensor.shape for tensor in graph.inputs}
    units: tuple[Unit, ...] = ()
    for mode in _fitting(graph, device):
        known = mode.op_costs
        if known is None:
            continue
        model = known.model(graph.sha256, inputs)
        if model is not None and not {op.name for op in graph.ops} - model.seconds.keys():
            seconds = model.seconds
            origin, error = known.origin, _combined(model.relative_error, known.scale_relative_error)
        else:
            units = units or units_of(graph)
            seconds = _by_kind(graph, units, known, mode.s_per_mac.value)
            origin = weakest("fitted", known.origin)
            error = _combined(known.unseen_relative_error, known.scale_relative_error)
        at_work = busy(graph, device, mode, sum(seconds[op.name] for op in graph.ops))
        for op in graph.ops:
            rows[op.name, device.name, mode.name] = Cost(
                seconds=seconds[op.name],
                joules=compute_j(device, at_work, seconds[op.name]),
                origin=weakest(origin, at_work.active_w.origin, device.idle_w.origin),
                source=_joined(known.source, mode.active_w.source, device.idle_w.source),
                relative_uncertainty=_combined(error, mode.active_w.relative_uncertainty),
            )
    return CostTable(rows=rows)


def _by_kind(graph: ModelGraph, units: Sequence[Unit], known: OpCosts, s_per_mac: float) -> dict[str, float]:
    """Predict each unit's seconds by its kind, and give them to its ops.

    A kind that does not grow with MACs was fitted to ops with few or about as many: of more the mode's line tells more.
    """
    seconds: dict[str, float] = {}
    for unit in units:
        kind = known.kind(unit.kind)
        value = kind.seconds(unit.macs, unit.bytes)
        if kind.s_per_mac == 0:
            value = max(value, s_per_mac * unit.macs)
        seconds.update(share_out(graph, unit, value))
    return seconds


def measured(
    graph: ModelGraph, device: Device, *, threads: int = 1, runs: int = 25, progress: Progress | None = None
) -> CostTable:
    """Return costs whose seconds are measured on this host, which stands for the device; watts are its profile's.

    Raises
    ------
    ProblemError
        No mode, or more than one, computes in the model's numeric format; or the model cannot run here.
    """
    modes = _require_fitting(graph, device)
    if len(modes) > 1:
        raise ProblemError(
            f"device {device.name!r} has measured costs and several {graph.numeric} modes "
            f"({', '.join(mode.name for mode in modes)}), but this host measures one; keep one of them in the site"
        )
    (mode,) = modes
    times = op_seconds(graph, threads=threads, runs=runs, progress=progress)
    source = _joined(times.source, mode.active_w.source, device.idle_w.source)
    at_work = busy(graph, device, mode, sum(times.seconds[op.name] for op in graph.ops))
    return CostTable(
        rows={
            (op.name, device.name, mode.name): Cost(
                seconds=times.seconds[op.name],
                joules=compute_j(device, at_work, times.seconds[op.name]),
                origin=weakest("measured", at_work.active_w.origin, device.idle_w.origin),
                source=source,
                relative_uncertainty=mode.active_w.relative_uncertainty,
            )
            for op in graph.ops
        }
    )


def busy(graph: ModelGraph, device: Device, mode: Mode, ops_s: float) -> Mode:
    """Give a mode with the power that it takes at the rate of a whole model, its start included.

    Parameters
    ----------
    graph, device, mode
        The model, and where it runs. Of one without MACs the rate says nothing: it takes the mode's own power.
    ops_s
        Seconds of all its ops there.
    """
    seconds = mode.segment_s.value + ops_s
    return at_rate(device, mode, graph.macs / seconds) if graph.macs and seconds > 0 else mode


def _fitting(graph: ModelGraph, device: Device) -> tuple[Mode, ...]:
    fitting = tuple(mode for mode in device.modes if mode.numeric == graph.numeric)
    # A mode's format is the one it multiplies in: what multiplies nothing, such as a cast, runs in any.
    return fitting if fitting or graph.macs else device.modes


def _require_fitting(graph: ModelGraph, device: Device) -> tuple[Mode, ...]:
    modes = _fitting(graph, device)
    if not modes:
        raise ProblemError(f"{graph.path} computes in {graph.numeric}, but device {_modes_of(device)}")
    return modes


def _modes_of(device: Device) -> str:
    return f"{device.name!r} has only " + ", ".join(f"{mode.name} ({mode.numeric})" for mode in device.modes)


def _joined(*sources: str) -> str:
    return ", ".join(dict.fromkeys(source for source in sources if source))


def _combined(*uncertainties: float | None) -> float | None:
    """Combine relative uncertainties of independent factors: the root of the sum of squares; None if all are."""
    known = [value for value in uncertainties if value is not None]
    return math.hypot(*known) if known else None
