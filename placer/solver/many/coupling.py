"""What ties the parts of a site together, as rows that are linear in what each flow spends.

Row r of a site reads, with x_f the choice of flow f and on_d whether shared device d is switched on:

    sum_f [ busy_r . device_s(x_f) + air_r . medium_s(x_f) + joule_r . joules(x_f) + idle_r . used(x_f) ]
        + sum_d on_row_rd on_d  <=  cap_r

Rows are: utilization of a shared device and of a shared queue, power_w of a shared device and of the site, caps on
totals, and each flow's own limits on joules (which a priced problem cannot state, see placer/solver/many/prices.py).
Weights that several flows may hold on a device too small for all of them are no rows but *bundles*: the weights
that the same parts use, measured in bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from placer.objective import TOTALS, factors
from placer.violations import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from placer.index import ProblemIndex
    from placer.objective import Factors
    from placer.problem import Device
    from placer.solver.many.parts import Part

    Array = npt.NDArray[np.float64]

_UNREACHED = 1e15
"""Caps from here on are none: the format has no other way to say so."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Weights that the same parts use and that may be held on one crowded device."""

    device: int
    """Site's position."""
    bytes: float
    """Of all of them together."""
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartRows:
    """The coefficients of one part: D devices, K links, M queues of its own, R rows that it can touch."""

    rows: tuple[int, ...]
    busy: Array
    """(R, D) per expected busy second of a device."""
    air: Array
    """(R, M) per expected busy second of a queue."""
    joule: Array
    """(R, D + K) per joule at a device, or of a link's network part; of one inference."""
    idle: Array
    """(R, D) for a private device that is used; 0 for shared ones, which on_d stands for."""
    cost_joule: Array
    """(D + K) the same for the objective."""
    cost_idle: Array
    """(D,)"""
    bundle_of: Mapping[tuple[int, str], int]
    """(local device, weights_id) to its bundle, where there is one."""
    crowded: tuple[int, ...]
    """Local devices that are crowded: weights without an id count there too."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """All rows, bundles and devices to be switched on that flows share."""

    caps: Array
    """(R,) with what is spent in any case taken off, and the referee's tolerance added."""
    switched: tuple[int, ...]
    """Shared devices that are not always on."""
    on_cost: Mapping[int, float]
    """What switching such a device on adds to the objective."""
    on_rows: Mapping[int, tuple[tuple[int, float], ...]]
    """What it adds to each row."""
    crowded: Mapping[int, float]
    """Shared devices that may be asked to hold more than their memory, and that memory in bytes."""
    bundles: tuple[Bundle, ...]
    parts: tuple[PartRows, ...]
    wide: frozenset[int]
    """Rows that count what is spent anywhere on the site."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row in the site's positions; what is empty counts nothing."""

    cap: float
    part: int = -1
    """The only part it concerns, or -1."""
    per_inference: bool = False
    """Whether it counts joules of one inference and not watts."""
    busy: int = -1
    air: int = -1
    device: Mapping[int, float] = field(default_factory=dict)
    """What a joule at each device counts."""
    link: Sequence[float] | None = None
    """What a joule of each link's network part counts."""
    idle: bool = False
    """Whether idle power of devices that are on for the plan counts like their joules."""


def couple(index: ProblemIndex, parts: tuple[Part, ...]) -> Coupling:
    """Write down what ties the parts together."""
    devices = index.devices
    shared = {d for part in parts for d, private in zip(part.devices, part.private, strict=True) if not private}
    switchable = [0.0 if d.always_on else d.idle_w or 0.0 for d in devices]
    rows = _rows(index, parts, shared)
    touching: dict[tuple[str, int], list[int]] = {}
    for r, row in enumerate(rows):
        if row.link is not None:
            touching.setdefault(("part", row.part), []).append(r)
        for d in {row.busy, *row.device} if row.link is None else ():
            touching.setdefault(("device", d), []).append(r)
        touching.setdefault(("medium", row.air), []).append(r)
    counts = factors(index.problem, index.problem.objective)
    crowded, bundles, bundle_at = _bundles(index, parts, shared)
    made = []
    for g, part in enumerate(parts):
        keys = [("part", -1), ("part", g), *(("device", d) for d in part.devices), *(("medium", m) for m in part.media)]
        mine = sorted({r for key in keys for r in touching.get(key, ()) if rows[r].part in (-1, g)})
        made.append(_part_rows(part, [(r, rows[r]) for r in mine], counts, switchable, crowded, bundle_at))
    switched = tuple(d for d in sorted(shared) if not devices[d].always_on)
    return Coupling(
        caps=np.array([row.cap for row in rows]),
        switched=switched,
        on_cost={d: switchable[d] * counts.device[d] for d in switched},
        on_rows={
            d: tuple((r, row.device[d] * switchable[d]) for r, row in enumerate(rows) if row.idle and d in row.device)
            for d in switched
        },
        crowded=crowded,
        bundles=bundles,
        parts=tuple(made),
        wide=frozenset(r for r, row in enumerate(rows) if row.link is not None and row.part == -1),
    )


def _part_rows(
    part: Part,
    mine: list[tuple[int, _Row]],
    counts: Factors,
    switchable: Sequence[float],
    crowded: Mapping[int, float],
    bundle_at: Mapping[tuple[int, str], int],
) -> PartRows:
    ds, ks, ms, rate_hz = part.devices, part.links, part.media, part.rate_hz
    own = [switchable[d] if private else 0.0 for d, private in zip(ds, part.private, strict=True)]

    def joule(row: _Row) -> list[float]:
        factor = 1.0 if row.per_inference else rate_hz
        network = [0.0 if row.link is None else row.link[k] * factor for k in ks]
        return [row.device.get(d, 0.0) * factor for d in ds] + network

    return PartRows(
        rows=tuple(r for r, _ in mine),
        busy=_table([[rate_hz * (row.busy == d) for d in ds] for _, row in mine], len(ds)),
        air=_table([[rate_hz * (row.air == m) for m in ms] for _, row in mine], len(ms)),
        joule=_table([joule(row) for _, row in mine], len(ds) + len(ks)),
        idle=_table(
            [
                [row.device.get(d, 0.0) * w if row.idle else 0.0 for d, w in zip(ds, own, strict=True)]
                for _, row in mine
            ],
            len(ds),
        ),
        cost_joule=np.array([counts.device[d] for d in ds] + [counts.link[k] for k in ks]) * rate_hz,
        cost_idle=np.array([counts.device[d] * w for d, w in zip(ds, own, strict=True)]),
        bundle_of={
            (i, name): bundle_at[d, name]
            for i, d in enumerate(ds)
            if d in crowded
            for name in {op.weights_id for op in part.flow.flow.ops}
            if name is not None and (d, name) in bundle_at
        },
        crowded=tuple(i for i, d in enumerate(ds) if d in crowded),
    )


def _table(rows: list[list[float]], width: int) -> Array:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _rows(index: ProblemIndex, parts: tuple[Part, ...], shared: set[int]) -> list[_Row]:
    devices, limits = index.devices, index.problem.limits
    rows: list[_Row] = []

    def add(cap: float, spent: float = 0.0, **fields: Any) -> None:
        if cap < _UNREACHED:
            rows.append(_Row(cap + TOLERANCE * abs(cap) - spent, **fields))

    for d in sorted(shared):
        device = devices[d]
        add(device.max_utilization, busy=d)
        if device.name in limits.power_w:
            add(limits.power_w[device.name], _steady_w(device), device={d: 1.0}, idle=True)
    users = Counter[int]()
    caps: dict[int, float] = {}
    for part in parts:
        users.update(dict.fromkeys(part.media, part.count))
    for k, link in enumerate(index.links):
        m = index.medium_of[k]
        caps[m] = min(caps.get(m, math.inf), link.max_utilization)
    for m in sorted(users):
        if users[m] > 1:
            add(caps[m], air=m)
    everywhere = dict.fromkeys(range(len(devices)), 1.0)
    network = [1.0] * len(index.links)
    if "site" in limits.power_w:
        spent_w = math.fsum(map(_steady_w, devices))
        add(limits.power_w["site"], spent_w, device=everywhere, link=network, idle=True)
    for name, objective in TOTALS.items():
        limit = getattr(limits, name)
        if limit is not None:
            counts = factors(index.problem, objective)
            add(limit, device=dict(enumerate(counts.device)), link=counts.link, idle=True)
    for g, part in enumerate(parts):
        # One row for all members of a part together: a sum of rules that each of them keeps.
        name = part.flow.name
        if name in limits.flow_energy_j:
            cap = limits.flow_energy_j[name] * part.count
            add(cap, device=everywhere, link=network, part=g, per_inference=True)
        for other, joules in limits.flow_device_energy_j.get(name, {}).items():
            d = index.device_position[other]
            if d in part.devices:
                add(joules * part.count, device={d: 1.0}, part=g, per_inference=True)
        for d, private in zip(part.devices, part.private, strict=True):
            watts = limits.power_w.get(devices[d].name)
            if private and watts is not None:
                spent_w = _steady_w(devices[d]) * part.count
                add(watts * part.count, spent_w, device={d: 1.0}, idle=True, part=g)
    return rows


def _steady_w(device: Device) -> float:
    """Power of a device that is on anyway, in watts."""
    return (device.idle_w or 0.0) if device.always_on else 0.0


def _bundles(
    index: ProblemIndex, parts: tuple[Part, ...], shared: set[int]
) -> tuple[dict[int, float], tuple[Bundle, ...], dict[tuple[int, str], int]]:
    """Find the devices that cannot hold all that flows may put there, and bundle the weights on them."""
    asked: dict[int, float] = {}
    sizes: dict[tuple[int, str], float] = {}
    users: dict[tuple[int, str], set[int]] = {}
    largest: dict[int, float] = {}
    for g, part in enumerate(parts):
        for op, options in zip(part.flow.flow.ops, part.flow.options, strict=True):
            for d in {part.devices[o.device] for o in options}:
                if d not in shared or index.devices[d].memory_bytes is None:
                    continue
                largest[d] = max(largest.get(d, 0.0), op.workspace_bytes)
                if op.weights_id is None:
                    asked[d] = asked.get(d, 0.0) + op.weights_bytes * part.count
                else:
                    sizes[d, op.weights_id] = op.weights_bytes
                    users.setdefault((d, op.weights_id), set()).add(g)
    for (d, _), size in sizes.items():
        asked[d] = asked.get(d, 0.0) + size
    crowded = {
        d: float(index.devices[d].memory_bytes or 0.0)
        for d, total in sorted(asked.items())
        if total + largest.get(d, 0.0) > (index.devices[d].memory_bytes or 0.0)
    }
    together: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for (d, name), who in users.items():
        if d in crowded and sizes[d, name] > 0:
            together.setdefault((d, tuple(sorted(who))), []).append(name)
    bundles = tuple(Bundle(d, sum(sizes[d, n] for n in names), who) for (d, who), names in together.items())
    at = {(d, n): b for b, ((d, _), names) in enumerate(together.items()) for n in names}
    return crowded, bundles, at
