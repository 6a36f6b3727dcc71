"""A flow's stages as one graph of ops: whose outputs are whose inputs, what runs on which condition, how often.

Ops and tensors bear their stage's name before a slash. A tensor that one stage makes and another reads is one tensor,
under its maker's name; data of the flow's source bear the name that the stages read them by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.models.graph import ModelGraph, Op, Tensor
    from profiles import Cache, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What lets a tensor go on to a stage: an op of no weight, that any device can run.

    Parameters
    ----------
    name
        Of its op.
    when
        The bounds, and the number that has to lie within.
    tests
        The tensor that holds the number.
    tested
        The stage that makes it.
    carries, makes
        The tensor that goes on, and its name after that: equal bytes, or none.
    """

    name: str
    when: When
    tests: str
    tested: str
    carries: str
    makes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowGraph:
    """What a flow computes; made by `join_stages`.

    Parameters
    ----------
    flow
        The flow's name.
    stages
        Model of each stage, each after those it takes something in from; without the ops that lead to nothing wanted.
    plain
        Whether it is one model and nothing else; agents then call its tensors as the model does.
    inputs, outputs
        The data of its source, and what its sink needs.
    ops
        Of all models, and the conditions; each after those it reads from.
    tensors
        By name.
    stage_of
        The stage of each op; a condition's is the one that it lets tensors go on to.
    share
        Expected fraction of the data for which something reaches an op: the largest of what it reads.
    made
        Expected fraction of the data for which a tensor is made, or at most that.
    conditions
        By op.
    origins
        The tensor that an input of a stage's model reads, by stage and input.
    every
        By stage: it takes the first of so many requests.
    caches
        By stage, of those that keep their results: they are placed whole. ``stage_of`` and ``share`` also know the two
        ops that stand for such a stage in a problem, `lookup_op` and `whole_op`.
    """

    flow: str
    stages: Mapping[str, ModelGraph]
    plain: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    stage_of: Mapping[str, str]
    share: Mapping[str, float]
    made: Mapping[str, float]
    conditions: Mapping[str, Condition]
    origins: Mapping[tuple[str, str], str]
    every: Mapping[str, int]
    caches: Mapping[str, Cache]
    _producer: Mapping[str, Op] = field(init=False, repr=False, compare=False)
    _consumers: Mapping[str, tuple[Op, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("stages", "tensors", "stage_of", "share", "made", "conditions", "origins", "every", "caches"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        producer: dict[str, Op] = {}
        consumers: dict[str, list[Op]] = {}
        for op in self.ops:
            producer.update(dict.fromkeys(op.outputs, op))
            for name in op.inputs:
                consumers.setdefault(name, []).append(op)
        object.__setattr__(self, "_producer", producer)
        object.__setattr__(self, "_consumers", {name: tuple(ops) for name, ops in consumers.items()})

    def producer(self, tensor: str) -> Op | None:
        """Return the op that makes a tensor; None for data of the flow's source."""
        return self._producer.get(tensor)

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        """Return the ops that read a tensor."""
        return self._consumers.get(tensor, ())

    def tensor_of(self, stage: str, tensor: str) -> str:
        """Return the flow's name of a tensor of a stage's model."""
        return self.origins.get((stage, tensor), f"{stage}/{tensor}")

    def op_in_model(self, op: str) -> str:
        """Return the name that an op of a model has there."""
        return op.removeprefix(f"{self.stage_of[op]}/")

    def wire_name(self, tensor: str) -> str:
        """Return the name by which agents and clients know a tensor."""
        (first, *_) = self.stages
        return tensor.removeprefix(f"{first}/") if self.plain else tensor

    @property
    def client_inputs(self) -> tuple[Tensor, ...]:
        """The data of its source, by the names that clients give."""
        return tuple(replace(tensor, name=self.wire_name(tensor.name)) for tensor in self.inputs)


def condition_op(stage: str, tensor: str) -> str:
    """Name the op that lets data go on to an input of a stage."""
    return f"when {stage}/{tensor}"


def lookup_op(stage: str) -> str:
    """Name the op that looks for a kept result of a stage; no op of the stage itself is in the problem beside it."""
    return f"{stage}/lookup"


def whole_op(stage: str) -> str:
    """Name the op that stands for all ops of a stage that keeps its results."""
    return f"{stage}/all ops"
