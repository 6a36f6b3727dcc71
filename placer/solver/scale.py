"""Brings seconds, joules and bytes of any size near 1 for the MILP solver, whose tolerances are absolute.

This is the one place where quantities leave SI: with the usual figures a unit is about a millisecond and a
millijoule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placer.index import ProblemIndex


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors by which SI values are multiplied inside the MILP; powers of ten."""

    time: float
    energy: float
    power: float
    memory: float

    @classmethod
    def of(cls, index: ProblemIndex) -> Scale:
        """Choose factors so that the cheapest sums of a problem come out near 1,000."""
        times, energies, powers = [], [], []
        for flow in index.flows:
            seconds = sum(min((o.seconds for o in options), default=0.0) for options in flow.options)
            joules = sum(min((o.joules for o in options), default=0.0) for options in flow.options)
            times += [seconds, flow.flow.deadline_s or 0.0]
            energies.append(joules)
            powers.append(joules * flow.flow.rate_hz)
        slowest = max((k.latency_s for k in index.links), default=0.0)
        dearest = max((k.energy_j_per_transfer for k in index.links), default=0.0)
        return cls(
            _factor([*times, slowest]),
            _factor([*energies, dearest]),
            _factor([*powers, *(d.idle_w or 0.0 for d in index.devices)]),
            _factor([d.memory_bytes or 0.0 for d in index.devices]),
        )


def _factor(values: Iterable[float]) -> float:
    """Power of ten that lifts or lowers the largest value to between 1,000 and 10,000."""
    largest = max(values, default=0.0)
    return 10.0 ** (3 - math.floor(math.log10(largest))) if largest > 0 else 1.0
