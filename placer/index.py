"""A problem with every name replaced by its position, so that solving and evaluating touch only numbers.

Positions are those of the file: device `d` is `problem.devices[d]`, op `v` of a flow is `flow.ops[v]`,
option `o` of an op is `op.options[o]`. A *choice* is one option position per op.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.problem import Flow, Link, Problem

Choice = tuple[int, ...]
"""For each op of a flow, in file order, the position of the option it runs by."""


@dataclass(frozen=True, slots=True)
class OptionIndex:
    """An option: device and mode positions, seconds, joules and the bytes of each output tensor."""

    device: int
    mode: int
    seconds: float
    joules: float
    accuracy_cost: float
    output_bytes: Mapping[int, float]
    """Tensor position to bytes, for the tensors whose size this option changes."""


@dataclass(frozen=True, slots=True)
class TensorIndex:
    """A tensor: its producer, its consumers in file order, and the devices that must never hold it."""

    producer: int
    consumers: tuple[int, ...]
    bytes: float
    not_on: frozenset[int]


class FlowIndex:
    """One flow by positions; see the module's docstring for the convention."""

    def __init__(self, flow: Flow, devices: Mapping[str, int], modes: dict[str, int]) -> None:
        self.flow = flow
        self.name = flow.name
        position = {op.name: v for v, op in enumerate(flow.ops)}
        self.position = position
        tensor_position = {t.name: i for i, t in enumerate(flow.tensors)}
        self.tensors = tuple(
            TensorIndex(
                position[t.producer],
                tuple(sorted(position[c] for c in t.consumers)),
                t.bytes,
                frozenset(devices[d] for d in t.not_on),
            )
            for t in flow.tensors
        )
        self.options = tuple(
            tuple(
                OptionIndex(
                    devices[o.device],
                    modes.setdefault(o.mode, len(modes)),
                    o.seconds,
                    o.joules,
                    o.accuracy_cost,
                    {tensor_position[name]: size for name, size in (o.output_bytes or {}).items()},
                )
                for o in op.options
            )
            for op in flow.ops
        )
        self.share = tuple(op.share for op in flow.ops)
        inputs: list[list[int]] = [[] for _ in flow.ops]
        outputs: list[list[int]] = [[] for _ in flow.ops]
        for i, tensor in enumerate(self.tensors):
            outputs[tensor.producer].append(i)
            for consumer in tensor.consumers:
                inputs[consumer].append(i)
        self.inputs = tuple(map(tuple, inputs))
        """For each op, the tensors it reads."""
        self.outputs = tuple(map(tuple, outputs))
        """For each op, the tensors it makes."""

    @property
    def size(self) -> int:
        """How many ops the flow has."""
        return len(self.options)

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For each op, the ops whose output it reads, each once, ascending."""
        return tuple(tuple(sorted({self.tensors[t].producer for t in ts})) for ts in self.inputs)

    @cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        """For each op, the ops that read its output, each once, ascending."""
        return tuple(tuple(sorted({c for t in ts for c in self.tensors[t].consumers})) for ts in self.outputs)

    @cached_property
    def topological(self) -> tuple[int, ...]:
        """The ops so that producers come before consumers."""
        waits = [len(p) for p in self.predecessors]
        order = [v for v, count in enumerate(waits) if count == 0]
        for v in order:
            for w in self.successors[v]:
                waits[w] -= 1
                if waits[w] == 0:
                    order.append(w)
        return tuple(order)

    @cached_property
    def is_source(self) -> tuple[bool, ...]:
        """For each op, whether it is a source: no input, one option, zero seconds."""
        return tuple(
            not self.inputs[v] and len(options) == 1 and options[0].seconds == 0
            for v, options in enumerate(self.options)
        )

    @cached_property
    def is_sink(self) -> tuple[bool, ...]:
        """For each op, whether it is a sink: nobody reads it, one option, zero seconds."""
        return tuple(
            not self.successors[v] and len(options) == 1 and options[0].seconds == 0
            for v, options in enumerate(self.options)
        )

    @cached_property
    def is_endpoint(self) -> tuple[bool, ...]:
        """For each op, whether it is a source or a sink: occupies nothing and belongs to no segment."""
        return tuple(a or b for a, b in zip(self.is_source, self.is_sink, strict=True))

    @cached_property
    def source_devices(self) -> tuple[int, ...]:
        """The devices on which the flow's data arise, in the order of the file."""
        return tuple(dict.fromkeys(self.options[v][0].device for v in range(self.size) if self.is_source[v]))

    def bytes_of(self, tensor: int, option: int) -> float:
        """Bytes of a tensor when its producer runs by the given option."""
        t = self.tensors[tensor]
        return self.options[t.producer][option].output_bytes.get(tensor, t.bytes)


class ProblemIndex:
    """A problem by positions: flows, links by pair of devices, media, and the numbers of devices."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.devices = problem.devices
        self.device_position = {d.name: i for i, d in enumerate(problem.devices)}
        self.modes: dict[str, int] = {}
        self.flows = tuple(FlowIndex(f, self.device_position, self.modes) for f in problem.flows)
        self.mode_names = tuple(self.modes)
        self.links = problem.links
        self.link_at: dict[tuple[int, int], int] = {
            (self.device_position[k.source], self.device_position[k.target]): i for i, k in enumerate(problem.links)
        }
        """(sending device, receiving device) to the link's position; an absent pair may not exchange data."""
        media: dict[tuple[str, ...], int] = {}
        self.medium_of = tuple(
            media.setdefault((k.medium,) if k.medium else (k.source, k.target), len(media)) for k in problem.links
        )
        """For each link, the queue it belongs to: its own, or the one its medium shares."""
        self.media = tuple(media)
        self.conversion: dict[tuple[int, int, int], tuple[float, float]] = {
            (i, self.modes[c.from_mode], self.modes[c.to_mode]): (c.s_per_byte, c.j_per_byte)
            for i, d in enumerate(problem.devices)
            for c in d.conversions
            if c.from_mode in self.modes and c.to_mode in self.modes
        }
        """(device, from mode, to mode) to (seconds per byte, joules per byte); absent means free."""
        used = {(o.device, o.mode) for flow in self.flows for options in flow.options for o in options}
        self.start: dict[tuple[int, int], tuple[float, float]] = {
            (d, m): self.devices[d].start(self.mode_names[m]) for d, m in sorted(used)
        }
        """(device, mode) to what starting a segment there takes: (seconds, joules)."""

    def link(self, source: int, target: int) -> Link | None:
        """Return the link between two device positions, or None where there is none."""
        position = self.link_at.get((source, target))
        return None if position is None else self.links[position]

    def choice_of(self, flow: int, assignment: Mapping[str, Sequence[str]]) -> Choice:
        """Translate `{op: (device, mode)}` into a choice.

        Raises
        ------
        ProblemError
            An op is missing, unknown, or has no such option.
        """
        index = self.flows[flow]
        unknown = set(assignment) - set(index.position)
        if unknown:
            raise ProblemError(f"flow {index.name!r} has no op {min(unknown)!r}")
        choice = []
        for op in index.flow.ops:
            if op.name not in assignment:
                raise ProblemError(f"flow {index.name!r}: op {op.name!r} is not assigned")
            wanted = tuple(assignment[op.name])
            for o, option in enumerate(op.options):
                if (option.device, option.mode) == wanted:
                    choice.append(o)
                    break
            else:
                raise ProblemError(f"flow {index.name!r}: op {op.name!r} has no option {wanted}")
        return tuple(choice)

    def assignment_of(self, flow: int, choice: Choice) -> dict[str, tuple[str, str]]:
        """Translate a choice into `{op: (device, mode)}`."""
        return {
            op.name: (op.options[o].device, op.options[o].mode)
            for op, o in zip(self.flows[flow].flow.ops, choice, strict=True)
        }
