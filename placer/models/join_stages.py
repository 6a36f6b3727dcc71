"""Joins the models of a flow's stages to one graph, and refuses what does not fit together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from placer.errors import ProblemError
from placer.models.flow_graph import Condition, FlowGraph, condition_op, lookup_op, whole_op
from placer.models.graph import Op, Tensor
from profiles import split_origin, stage_order
from profiles.errors import choices
from runtimes.cache import kept_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.models.graph import ModelGraph
    from profiles import Cache, Flow, Stage, When


def join_stages(flow: Flow, graphs: Mapping[str, ModelGraph]) -> FlowGraph:
    """Join the models of a flow.

    Parameters
    ----------
    flow
        The flow; what it says of its devices, rate and label is not looked at.
    graphs
        The model of each stage.

    Raises
    ------
    ProblemError
        A stage names an input or output that the model does not have, leaves an input open, reads a tensor of
        another type or shape than its model takes, or tests a number that is not there; the message begins with the
        path of the field below the flow.
    """
    return _Joining(flow, graphs).join()


def known_shapes(stage: Stage, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a stage's inputs, as far as they follow from what it reads or are written down.

    Parameters
    ----------
    stage
        The stage.
    shapes
        Shapes of the data and outputs that are known by now, by origin.
    """
    return {t: shapes[origin] for t, origin in stage.reads.items() if origin in shapes} | dict(stage.inputs)


def check_reads(flow: Flow, stage: Stage, graph: ModelGraph) -> None:
    """Refuse a stage that does not say once for each input of its model what it reads.

    Raises
    ------
    ProblemError
        An input is unknown or left open; the message begins with the path of the field below the flow.
    """
    if flow.plain:
        return
    where, taken = _where(flow, stage, "reads"), [tensor.name for tensor in graph.inputs]
    for name in stage.reads:
        if name not in taken:
            raise ProblemError(f"{where}: {graph.path} has no input {name!r}; {choices(name, taken)}")
    if left := [name for name in taken if name not in stage.reads]:
        raise ProblemError(
            f"{where}: nothing is read for input {', '.join(map(repr, left))} of {graph.path}; name an origin for each"
        )


def _where(flow: Flow, stage: Stage, step: str) -> str:
    return f"stages[{flow.stages.index(stage)}].{step}"


def _leading(flow: Flow, graphs: Mapping[str, ModelGraph]) -> tuple[dict[str, ModelGraph], dict[str, set[str]]]:
    """Leave out the ops of each stage that lead to nothing that a sink gets, through whatever stages.

    Returns
    -------
    tuple
        The model of each stage, and which of its inputs anything depends on.
    """
    taken = {origin for stage in flow.stages for origin in stage.origins}
    needed = set(flow.outputs)
    left: dict[str, ModelGraph] = {}
    used: dict[str, set[str]] = {}
    for stage in reversed(stage_order(flow.stages)):
        graph = graphs[stage.name]
        own = {t.name: f"{stage.name}/{t.name}" for t in graph.outputs}
        wanted = {t for t, name in own.items() if name in needed or not (flow.outputs or name in taken)}
        kept = []
        for op in reversed(graph.ops):
            if wanted & set(op.outputs):
                kept.append(op)
                wanted.update(op.inputs)
        left[stage.name] = graph
        if kept and len(kept) < len(graph.ops):
            made = {name for op in kept for name in op.outputs}
            # Tensors stay known by name: rules of a stage may speak of any of its model.
            left[stage.name] = replace(
                graph,
                ops=tuple(reversed(kept)),
                outputs=tuple(t for t in graph.outputs if t.name in made or t in graph.inputs),
            )
        inputs = {t.name for t in graph.inputs}
        used[stage.name] = inputs & wanted or inputs
        needed.update(origin for name, origin in stage.reads.items() if name in used[stage.name])
        needed.update([stage.when.tensor] if stage.when is not None else ())
    return {stage.name: left[stage.name] for stage in stage_order(flow.stages)}, used


class _Joining:
    """The graph under construction, stage by stage."""

    def __init__(self, flow: Flow, graphs: Mapping[str, ModelGraph]) -> None:
        self.flow = flow
        self.whole = graphs
        self.graphs, self.used = _leading(flow, graphs)
        self.inputs: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.stage_of: dict[str, str] = {}
        self.share: dict[str, float] = {}
        self.made: dict[str, float] = {}
        # The part of it that comes of sampling: a tensor is made at most once in so many requests.
        self.sampled: dict[str, int] = {}
        self.conditions: dict[str, Condition] = {}
        self.origins: dict[tuple[str, str], str] = {}

    def join(self) -> FlowGraph:
        for stage in stage_order(self.flow.stages):
            self._add(stage, self.graphs[stage.name])
        outputs = self._outputs()
        return FlowGraph(
            flow=self.flow.name,
            stages=self.graphs,
            plain=self.flow.plain,
            inputs=tuple(self.inputs.values()),
            outputs=tuple(self.tensors[name] for name in outputs),
            ops=tuple(self.ops),
            tensors=self.tensors,
            stage_of=self.stage_of,
            share=self.share,
            made=self.made,
            conditions=self.conditions,
            origins=self.origins,
            every={stage.name: stage.every for stage in self.flow.stages},
            caches={stage.name: stage.cache for stage in self.flow.stages if stage.cache is not None},
        )

    def _where(self, stage: Stage, step: str) -> str:
        return _where(self.flow, stage, step)

    def _add(self, stage: Stage, graph: ModelGraph) -> None:
        check_reads(self.flow, stage, graph)
        read = {tensor.name: self._read(stage, tensor) for tensor in graph.inputs}
        twice = [origin for i, origin in enumerate(read.values()) if origin in list(read.values())[:i]]
        if twice:
            raise ProblemError(f"{self._where(stage, 'reads')}: {twice[0]!r} is read by two inputs of one model")
        if passed := [t.name for t in graph.outputs if t.name in read]:
            handed = f"{graph.path} hands its input {passed[0]!r} on as an output unchanged, "
            if stage.every > 1:
                raise ProblemError(
                    f"{self._where(stage, 'every')}: {handed}so that others would have it with every request; put an "
                    "op between"
                )
            if stage.cache is not None:
                raise ProblemError(
                    f"{self._where(stage, 'cache')}: {handed}which is no result that could be kept; put an op between"
                )
        if stage.when is not None:
            tests = self._tested(stage, stage.when)
            read |= {
                name: self._carried(stage, stage.when, tests, name, origin)
                for name, origin in read.items()
                if name in self.used[stage.name]
            }
        self.origins.update({(stage.name, name): origin for name, origin in read.items()})
        for op in graph.ops:
            self._append(stage, self._renamed(stage, op))
        if stage.cache is not None:
            self._add_cache(stage, graph, stage.cache)
        for name, tensor in graph.tensors.items():
            if graph.producer(name) is not None:
                self.tensors[self._name(stage, name)] = replace(tensor, name=self._name(stage, name))

    def _add_cache(self, stage: Stage, graph: ModelGraph, cache: Cache) -> None:
        """Give the ops that stand for a stage with a cache their shares; what it reads and makes keeps its own."""
        result_bytes = kept_bytes(len(graph.outputs), sum(tensor.bytes for tensor in graph.outputs))
        if result_bytes > cache.memory_bytes:
            raise ProblemError(
                f"{self._where(stage, 'cache')}.memory_bytes: {cache.memory_bytes:g} hold no single result, which "
                f"counts {result_bytes}; give more, or leave the cache out"
            )
        lookup, whole = lookup_op(stage.name), whole_op(stage.name)
        self.share[lookup] = max(self.share[f"{stage.name}/{op.name}"] for op in graph.ops)
        self.share[whole] = self.share[lookup] * (1 - cache.hits)
        self.stage_of.update({lookup: stage.name, whole: stage.name})

    def _name(self, stage: Stage, tensor: str) -> str:
        return self.origins.get((stage.name, tensor), f"{stage.name}/{tensor}")

    def _renamed(self, stage: Stage, op: Op) -> Op:
        return replace(
            op,
            name=f"{stage.name}/{op.name}",
            inputs=tuple(self._name(stage, t) for t in op.inputs),
            outputs=tuple(self._name(stage, t) for t in op.outputs),
        )

    def _append(self, stage: Stage, op: Op) -> None:
        if op.name in self.stage_of:
            raise ProblemError(f"{self._where(stage, 'name')}: two ops would be called {op.name!r}; rename the stage")
        self.stage_of[op.name] = stage.name
        self.ops.append(op)
        # Of an op that reads nothing: it runs within a segment, whose other ops read something of its stage.
        read = [self._taken(stage, t) for t in op.inputs or self._read_by(stage)]
        arriving = [share for share, _ in read]
        # What comes more often than the rest is sent as often: agents do not know what the other end waits for.
        self.share[op.name] = max(arriving)
        # Where one of the inputs implies the others, the smallest is exact; else an upper bound.
        made, sampled = min(read)
        made *= stage.when.share if stage.when is not None and op.name in self.conditions else 1.0
        self.made.update(dict.fromkeys(op.outputs, made))
        self.sampled.update(dict.fromkeys(op.outputs, sampled))

    def _taken(self, stage: Stage, tensor: str) -> tuple[float, int]:
        """Give the share of requests for which a stage takes a tensor in, and once in how many it does so at most.

        Of the two samplings one divides the other, so that the rarer one's requests are the other's too.
        """
        sampled = self.sampled.get(tensor, 1)
        rarest = max(sampled, stage.every)
        return self.made[tensor] * sampled / rarest, rarest

    def _read_by(self, stage: Stage) -> list[str]:
        used = self.used[stage.name]
        return [origin for (reader, name), origin in self.origins.items() if reader == stage.name and name in used]

    def _read(self, stage: Stage, tensor: Tensor) -> str:
        """Return the flow's name of what an input reads, after checking that it fits."""
        written = stage.reads.get(tensor.name, f"{stage.name}/{tensor.name}")
        origin, output = split_origin(written)
        if self.flow.plain or not origin:
            made = self.inputs.setdefault(written, replace(tensor, name=written))
            self.tensors[written] = made
            self.made[written] = 1.0
            name = written
        else:
            name = self._output(f"{self._where(stage, 'reads')}.{tensor.name}", origin, output)
            # Of one that nothing depends on, the op that makes it may be left out.
            made = self.tensors.get(name) or self.whole[origin].tensors[output]
        if (made.dtype, made.shape) != (tensor.dtype, tensor.shape):
            raise ProblemError(
                f"{self._where(stage, 'reads')}.{tensor.name}: {written!r} is {made.dtype} {list(made.shape)}, but "
                f"the model takes {tensor.dtype} {list(tensor.shape)}; put a stage between that converts it"
            )
        return name

    def _output(self, where: str, stage: str, output: str) -> str:
        graph = self.whole[stage]
        names = [tensor.name for tensor in graph.outputs]
        if output not in names:
            raise ProblemError(f"{where}: {graph.path} has no output {output!r}; {choices(output, names)}")
        return self.origins.get((stage, output), f"{stage}/{output}")

    def _tested(self, stage: Stage, when: When) -> str:
        where = f"{self._where(stage, 'when')}.tensor"
        name = self._output(where, *split_origin(when.tensor))
        tensor = self.tensors[name]
        count = math.prod(tensor.shape)
        if tensor.dtype == "bfloat16":
            raise ProblemError(f"{where}: {when.tensor!r} is bfloat16, which agents cannot read numbers of; cast it")
        if when.element is None and count != 1:
            raise ProblemError(
                f"{where}: {when.tensor!r} has {count} numbers, shape {list(tensor.shape)}; say which with `element`"
            )
        if when.element is not None and when.element >= count:
            raise ProblemError(
                f"{self._where(stage, 'when')}.element: {when.element} is beyond {when.tensor!r}, which has {count} "
                f"numbers, shape {list(tensor.shape)}"
            )
        return name

    def _carried(self, stage: Stage, when: When, tests: str, tensor: str, origin: str) -> str:
        """Add the condition between an input and what it reads; return the tensor that it makes."""
        carried = self.tensors[origin]
        makes = f"{stage.name}/{tensor}"
        name = condition_op(stage.name, tensor)
        self.tensors[makes] = replace(carried, name=makes)
        tested, _ = split_origin(when.tensor)
        self.conditions[name] = Condition(name=name, when=when, tests=tests, tested=tested, carries=origin, makes=makes)
        self._append(
            stage,
            Op(
                name=name,
                type="Condition",
                macs=0,
                weights_bytes=0,
                weights_id="",
                inputs=tuple(dict.fromkeys((tests, origin))),
                outputs=(makes,),
                workspace_bytes=carried.bytes,
            ),
        )
        return makes

    def _outputs(self) -> list[str]:
        if self.flow.outputs:
            found = [
                self._output(f"outputs[{index}]", *split_origin(output))
                for index, output in enumerate(self.flow.outputs)
            ]
        else:
            taken = {origin for stage in self.flow.stages for origin in stage.origins}
            found = [
                self.origins.get((stage, tensor.name), f"{stage}/{tensor.name}")
                for stage, graph in self.graphs.items()
                for tensor in graph.outputs
                if f"{stage}/{tensor.name}" not in taken
            ]
        if not found:
            raise ProblemError(
                "outputs: every output is taken in by a stage, so the sink gets nothing; name what it needs here"
            )
        return list(dict.fromkeys(found))
