"""Brings seconds, joules and watts of any size near 1,000 for the MILP solver, whose tolerances are absolute.

This is the one place where quantities leave SI: with the usual figures a unit is about a millisecond and a
millijoule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placer.index import FlowIndex, ProblemIndex

_FARTHEST = 200
"""No factor beyond 10 to this power, whatever a file holds: products of factors stay finite."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors by which one flow's SI values are multiplied inside the MILP; powers of ten."""

    time: float
    energy: float

    @classmethod
    def of(cls, index: ProblemIndex, flow: FlowIndex, horizon_s: float, finer: float = 1.0) -> Scale:
        """Choose factors for a flow: its horizon, else its longest step, and its cheapest sum are some 1,000.

        Parameters
        ----------
        horizon_s
            Seconds after which nothing matters; infinite if there is no such time.
        finer
            How much finer than that the units of time are to be.
        """
        joules = sum(min((o.joules for o in options), default=0.0) for options in flow.options)
        dearest = max((k.energy_j_per_transfer for k in index.links), default=0.0)
        # A time far above 1,000 would leave no digits to compare within the solver's tolerance of 1e-9.
        times = [horizon_s] if 0 < horizon_s < math.inf else _steps_s(index, flow)
        return cls(to_thousand(times) * finer, to_thousand([joules, dearest]))


def _steps_s(index: ProblemIndex, flow: FlowIndex) -> list[float]:
    """Seconds of everything that happens at one go: an op, starting a segment, sending or converting a tensor."""
    sizes = [t.bytes for t in flow.tensors]
    sizes += [size for options in flow.options for o in options for size in o.output_bytes.values()]
    most_bytes = max(sizes, default=0.0)
    return [
        *(o.seconds for options in flow.options for o in options),
        *(seconds for seconds, _ in index.start.values()),
        *(k.latency_s + most_bytes / k.bytes_per_s for k in index.links),
        *(s_per_byte * most_bytes for s_per_byte, _ in index.conversion.values()),
    ]


def to_thousand(values: Iterable[float]) -> float:
    """Power of ten that lifts or lowers the largest value to between 1,000 and 10,000; 1 if all are 0."""
    largest = max(values, default=0.0)
    return 10.0 ** min(_FARTHEST, 3 - math.floor(math.log10(largest))) if largest > 0 else 1.0
