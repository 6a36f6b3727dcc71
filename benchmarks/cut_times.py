"""Times random cuts of a model on an agent: whole, cut after cut, and each segment's model alone, turn by turn."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from placer.measuring.profile_agent import segment_name, staged
from placer.measuring.profile_model import robust_s
from placer.measuring.units import Unit, boundary_bytes
from placer.models.cut import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.measuring.profile_agent import Staged
    from placer.measuring.units import Partition
    from placer.models.graph import ModelGraph
    from runtimes.client import AgentClient
    from runtimes.convert import Array

_WARM_UP = 2
# A second of a shared machine says little of the next: small models are run more often.
_AT_LEAST_S = 2.5
# Cuts that are loaded at the same time; each batch has a whole model of its own.
_BATCH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CutTimes:
    """Robust seconds of one cut, all of it timed in the same rounds.

    Parameters
    ----------
    chain, again
        Of each segment in a request that runs all of them one after the other, and in a second one like it.
    alone
        Of each segment's model, asked for by a call of its own.
    whole_s
        Of the whole model in one piece.
    """

    chain: tuple[float, ...]
    again: tuple[float, ...]
    alone: tuple[float, ...]
    whole_s: float


def one_op_each(graph: ModelGraph) -> list[Unit]:
    """Return a unit for each op of a model: cuts may then lie between any two."""
    return [
        Unit(ops=(op.name,), kind="", macs=0, bytes=0, boundary_bytes=boundary_bytes(graph, [op.name]))
        for op in graph.ops
    ]


def op_cuts(graph: ModelGraph, number: int, seed: int) -> list[Partition]:
    """Draw cuts between any two ops of the file's order, into segments that have inputs and outputs to be timed by."""
    rng = random.Random(seed)
    count = len(graph.ops)
    found: dict[Partition, None] = {}
    while len(found) < number:
        places = sorted(rng.sample(range(1, count), min(rng.choice((1, 1, 2, 3)), count - 1)))
        spans = tuple(zip([0, *places], [*places, count], strict=True))
        if all(has_ends(graph, span) for span in spans):
            found[spans] = None
    return list(found)


def has_ends(graph: ModelGraph, span: tuple[int, int]) -> bool:
    """Say whether something enters the ops of a span, and something leaves them."""
    members = graph.ops[span[0] : span[1]]
    inside = {op.name for op in members}
    made = {name for op in members for name in op.outputs}
    returned = {tensor.name for tensor in graph.outputs}
    reads = any(name not in made for op in members for name in op.inputs)
    leaves = any(name in returned or any(op.name not in inside for op in graph.consumers(name)) for name in made)
    return reads and leaves


def timed(client: AgentClient, graph: ModelGraph, cuts: Sequence[Partition], rounds: int) -> list[CutTimes]:
    """Load and time cuts, batch by batch.

    Each round runs each cut twice as a chain and each of its segments once alone, on what the one before it made, and
    the whole model, all in an order drawn anew: what the machine does besides, and what ran just before, disturbs all
    of them alike.
    """
    units = one_op_each(graph)
    found: list[CutTimes] = []
    for start in range(0, len(cuts), _BATCH):
        batch = cuts[start : start + _BATCH]
        with staged(client, graph, units, [((0, len(units)),), *batch], 1) as parts:
            found += _timed_batch(client, graph, parts, batch, rounds)
    return found


def _timed_batch(
    client: AgentClient, graph: ModelGraph, parts: Staged, batch: Sequence[Partition], rounds: int
) -> list[CutTimes]:
    fed = {}
    for place, spans in enumerate(batch, 1):
        fed |= _fed(client, graph, parts, place, spans)
    chains = {
        place: [segment_name(place, number) for number in range(len(spans))] for place, spans in enumerate(batch, 1)
    }
    turns: list[tuple[str, int, list[str]]] = [("whole", 0, [segment_name(0, 0)])]
    for place, names in chains.items():
        turns += [("chain", place, names), ("again", place, names), *(("alone", place, [name]) for name in names)]
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    order = random.Random(0)
    until = time.monotonic() + _AT_LEAST_S
    done = 0
    while done < _WARM_UP + rounds or time.monotonic() < until:
        since = client.status().last_sequence
        order.shuffle(turns)
        for how, place, names in turns:
            if how == "alone":
                client.infer(names[0], fed[names[0]], epoch=parts.epoch)
            else:
                parts.run(place)
        # Observations come in the order in which the parts ran.
        ran = [(how, name) for how, _, names in turns for name in names]
        observed = [each for each in client.observations(since) if each.kind == "segment"]
        for key, each in zip(ran, observed, strict=True):
            assert each.segment == key[1]
            seconds[key].append(each.seconds)
        done += 1

    def of(how: str, names: Sequence[str]) -> tuple[float, ...]:
        return tuple(robust_s(seconds[how, name][_WARM_UP:]) for name in names)

    (whole_s,) = of("whole", [segment_name(0, 0)])
    return [
        CutTimes(chain=of("chain", names), again=of("again", names), alone=of("alone", names), whole_s=whole_s)
        for names in chains.values()
    ]


def _fed(
    client: AgentClient, graph: ModelGraph, parts: Staged, place: int, spans: Partition
) -> dict[str, dict[str, Array]]:
    """Return what each segment of a cut is fed with: what those before it make."""
    tensors: dict[str, Array] = dict(parts.feeds)
    fed = {}
    for number, part in enumerate(cut(graph, [[op.name for op in graph.ops[a:b]] for a, b in spans])):
        name = segment_name(place, number)
        fed[name] = {tensor.name: tensors[tensor.name] for tensor in part.inputs}
        tensors |= client.infer(name, fed[name], epoch=parts.epoch).outputs or {}
    return fed


def after_call_s(times: Sequence[CutTimes]) -> float:
    """Return how much longer a segment takes that a call brings than one that follows another: the median of cuts.

    A call wakes a thread and decodes tensors, and finds the processor's caches full of other things afterwards. The
    first segment of a cut follows a call either way, so the later ones say it.
    """
    return max(
        0.0,
        median(alone - chain for each in times for alone, chain in zip(each.alone[1:], each.chain[1:], strict=True)),
    )


def chained_s(alone: Sequence[float], call_s: float) -> float:
    """Predict a cut's chain from its segments alone: all but the first come without a call."""
    return sum(alone) - (len(alone) - 1) * call_s
