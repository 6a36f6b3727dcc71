"""The totals of a whole site that can be minimized or capped: what one joule of each device and link counts."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placer.evaluate import FlowResult
    from placer.index import ProblemIndex
    from placer.problem import Link, Objective, Problem

UNITS: dict[Objective, str] = {"energy_j": "W", "latency_s": "s", "carbon_g": "g/s", "cost": "per s"}
"""Unit of each objective's value; at one flow of 1 Hz a value per second is the same number per inference."""

TOTALS: dict[str, Objective] = {"energy_w": "energy_j", "carbon_g_per_s": "carbon_g", "cost_per_s": "cost"}
"""Fields of `Limits` that cap a total, and the objective whose value they cap."""

FIGURES: dict[Objective, str] = {"carbon_g": "carbon_g_per_j", "cost": "cost_per_j"}
"""Field of devices and links that says what a joule counts; where it is asked for, it must be given."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a joule counts in a total: by device, and by link for the network's part of its transfers."""

    device: tuple[float, ...]
    link: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest of them all."""
        return max((*self.device, *self.link), default=0.0)


def factors(problem: Problem, objective: Objective) -> Factors:
    """Return what a joule counts in a total; 1 everywhere for energy.

    Parameters
    ----------
    problem
        A checked problem: figures that the total needs are there.
    objective
        Any but latency_s, which is no sum of joules.
    """
    if objective == "latency_s":
        raise ValueError("latency is no sum of joules")
    field = FIGURES.get(objective)
    if field is None:
        return Factors((1.0,) * len(problem.devices), (1.0,) * len(problem.links))
    # None stands only where check() saw that no joule can be spent.
    return Factors(
        tuple(getattr(d, field) or 0.0 for d in problem.devices),
        tuple(getattr(k, field) or 0.0 for k in problem.links),
    )


def total(index: ProblemIndex, objective: Objective, flows: Sequence[FlowResult], idle_w: Sequence[float]) -> float:
    """Add up a total of the whole site: W for energy_j, grams CO2e per second for carbon_g, currency per s for cost.

    Parameters
    ----------
    index, flows, idle_w
        The problem, each flow's result, and the idle power that is charged for each device.
    objective
        Any but latency_s.
    """
    rates = [f.flow.rate_hz for f in index.flows]
    if objective == "energy_j":
        return fsum([*(r * f.energy_j for r, f in zip(rates, flows, strict=True)), *idle_w])
    counts = factors(index.problem, objective)
    return fsum(
        [
            *(
                r * c.joules * (counts.device[c.device] if c.device >= 0 else counts.link[c.link])
                for r, f in zip(rates, flows, strict=True)
                for c in f.charges
            ),
            *(w * count for w, count in zip(idle_w, counts.device, strict=True)),
        ]
    )


def per_inference(problem: Problem, objective: Objective) -> tuple[float, str]:
    """Return factor and unit in which people read a value: per inference where there is one flow, else per second."""
    rate_hz = problem.flows[0].rate_hz
    if objective == "latency_s" or len(problem.flows) > 1 or rate_hz == 0:
        return 1.0, UNITS[objective]
    return 1 / rate_hz, {"energy_j": "J", "carbon_g": "g"}.get(objective, "")


def asked(problem: Problem) -> Iterator[tuple[str, Objective]]:
    """Name what asks for carbon or cost: the objective or a cap, and which total it is."""
    if problem.objective in FIGURES:
        yield f"objective {problem.objective!r}", problem.objective
    for field, objective in TOTALS.items():
        if objective in FIGURES and getattr(problem.limits, field) is not None:
            yield f"limits.{field}", objective


def spends_in_network(link: Link) -> bool:
    """Whether some of a link's joules are neither the sender's nor the receiver's."""
    spends = link.energy_j_per_byte > 0 or link.energy_j_per_transfer > 0 or link.tail_j > 0
    return spends and link.sender_fraction + link.receiver_fraction < 1 - 1e-9
