"""What agents need to count joules: each segment's watts, each transfer's joules, and the power of waiting."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from placer.index import Choice, FlowIndex
    from placer.plan import Plan
    from placer.segments import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEnergy:
    """A flow's energy as its agents count it, by what `evaluate` charges.

    Parameters
    ----------
    power_w
        For each segment, in the plan's order, its watts above idle: joules of one execution over its seconds. An
        agent multiplies them with the seconds that it measures.
    transfer_j
        For each transfer, in the plan's order, its joules at both ends and between. A link's tail is in the first
        transfer over it.
    wait_w
        Watts above idle of the source while others work.
    slo_j
        Joules that one inference may cost: the flow's limit, or what the plan says where it has none.
    """

    power_w: tuple[float, ...]
    transfer_j: tuple[float, ...]
    wait_w: float
    slo_j: float | None


def agent_energy(plan: Plan) -> Mapping[str, FlowEnergy]:
    """Give every flow's energy; plan and problem are those that `evaluate` judged."""
    index = ProblemIndex(plan.problem)
    energies = {}
    for position, flow in enumerate(index.flows):
        planned = plan.flow(flow.name)
        choice = index.choice_of(position, planned.assignment)
        layout = evaluate_flow(index, flow, choice).layout
        limit_j = plan.problem.limits.flow_energy_j.get(flow.name, planned.energy_j)
        energies[flow.name] = FlowEnergy(
            power_w=tuple(_power_w(index, flow, choice, layout)),
            transfer_j=tuple(_transfer_j(index, layout)),
            wait_w=fsum(index.devices[d].wait_w for d in flow.source_devices),
            # A flow that costs nothing has nothing to keep to.
            slo_j=limit_j if limit_j > 0 else None,
        )
    return energies


def _power_w(index: ProblemIndex, flow: FlowIndex, choice: Choice, layout: Layout) -> Iterator[float]:
    converted = [0.0] * len(layout.segments)
    for c in layout.conversions:
        # Whoever makes the tensor converts it; what the source gives, the first segment on its device.
        maker = layout.segment_of[flow.tensors[c.tensor].producer]
        here = [i for i, s in enumerate(layout.segments) if s.device == c.device]
        converted[maker if maker >= 0 else here[0]] += c.joules
    for i, segment in enumerate(layout.segments):
        ops_j = (flow.options[v][choice[v]].joules for v in segment.ops)
        joules = fsum([*ops_j, index.start[segment.device, segment.mode][1], converted[i]])
        yield joules / segment.seconds if segment.seconds > 0 else 0.0


def _transfer_j(index: ProblemIndex, layout: Layout) -> Iterator[float]:
    tailed: set[int] = set()
    for x in layout.transfers:
        link = index.links[x.link]
        tail_j = 0.0 if x.link in tailed else link.tail_j
        tailed.add(x.link)
        yield link.energy_j_per_transfer + x.bytes * link.energy_j_per_byte + tail_j
