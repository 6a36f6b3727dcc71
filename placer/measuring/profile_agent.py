"""Times the parts of a model on a device, through its agent, and leaves the agent as it was.

What is timed is staged and prepared like any plan, and never activated: the plan that serves goes on serving. Every
partition is a flow of its own, from the model's inputs to its outputs on the one device, so each part gets real values
and nothing but the model's own inputs travels. The agent's observations are the seconds.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from placer.errors import MeasureError, ProblemError
from placer.models.cut import cut
from placer.models.onnx_run import synthetic_inputs
from runtimes.assignment import Assignment
from runtimes.cache import kept_bytes
from runtimes.datatypes import datatype_of
from runtimes.errors import AgentError, Unreachable
from runtimes.specs import FlowSpec, SegmentSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from placer.measuring.units import Partition, Unit
    from placer.models.graph import ModelGraph, Tensor
    from runtimes.client import AgentClient
    from runtimes.convert import Array

_WARM_UP_RUNS = 2
_PREPARE_TIMEOUT_S = 300.0
_DEADLINE_S = 60.0
_MARGIN_BYTES = 1 << 20


class Staged:
    """Partitions of one model, loaded on an agent and ready to be timed.

    Parameters
    ----------
    client
        The agent's.
    epoch
        Under which they are prepared.
    graph
        The model.
    partitions
        What is loaded, each as the flow that its place in this list names.
    """

    def __init__(self, client: AgentClient, epoch: int, graph: ModelGraph, partitions: Sequence[Partition]) -> None:
        self._client = client
        self.epoch = epoch
        self._partitions = partitions
        # What every flow is asked with.
        self.feeds: Mapping[str, Array] = synthetic_inputs(graph.inputs, seed=0)

    def time(
        self, rounds: int, progress: Callable[[int], None] | None = None, at_least_s: float = 0.0
    ) -> list[list[list[float]]]:
        """Run every partition once in each of some rounds, after runs that warm them up.

        Turn by turn: what else the machine does meanwhile disturbs all of them alike.

        Parameters
        ----------
        rounds
            How many count at least.
        progress
            Told the number of rounds done, those that warm up included.
        at_least_s
            More rounds follow until so much time has passed.

        Returns
        -------
        list
            By partition, by segment: the seconds of each round, in order.

        Raises
        ------
        MeasureError
            The agent stopped answering, or a part failed.
        """
        try:
            since = self._client.status().last_sequence
            until = time.monotonic() + at_least_s
            done = 0
            while done < _WARM_UP_RUNS + rounds or time.monotonic() < until:
                for place in range(len(self._partitions)):
                    self.run(place)
                done += 1
                if progress is not None:
                    progress(done)
            observed = self._client.observations(since)
        except AgentError as error:
            raise MeasureError(f"the model's parts could not be timed: {error}") from error
        seconds: list[list[list[float]]] = [[[] for _ in partition] for partition in self._partitions]
        names = {
            segment_name(place, number): into
            for place, segments in enumerate(seconds)
            for number, into in enumerate(segments)
        }
        for observation in observed:
            if observation.epoch == self.epoch and observation.kind == "segment":
                names[observation.segment].append(observation.seconds)
        if any(len(runs) < done for runs in names.values()):
            raise MeasureError("the agent forgot what it observed before it was asked; profile with fewer runs")
        return [[runs[_WARM_UP_RUNS:] for runs in segments] for segments in seconds]

    def run(self, place: int) -> None:
        """Run one partition once.

        Raises
        ------
        AgentError
            A part failed, or the agent does not answer.
        """
        self._client.infer(_flow(place), self.feeds, _DEADLINE_S, epoch=self.epoch)

    def time_lookups(self, rounds: int) -> list[float]:
        """Run the first partition, one segment that keeps its results, again and again with the same inputs.

        Returns
        -------
        list
            The seconds in which each run but those that warm up found the result of the first.

        Raises
        ------
        MeasureError
            As `time`.
        """
        try:
            since = self._client.status().last_sequence
            for _ in range(1 + _WARM_UP_RUNS + rounds):
                self.run(0)
            observed = self._client.observations(since)
        except AgentError as error:
            raise MeasureError(f"the look for a kept result could not be timed: {error}") from error
        seconds = [each.seconds for each in observed if each.epoch == self.epoch and each.kind == "hit"]
        if len(seconds) < _WARM_UP_RUNS + rounds:
            raise MeasureError("the agent forgot what it observed before it was asked; profile with fewer runs")
        return seconds[_WARM_UP_RUNS:]

    def keep_running(self, place: int, until: float) -> float:
        """Run one partition again and again, once at least; return the seconds in which its parts ran.

        Parameters
        ----------
        place
            The partition's.
        until
            Reading of ``time.monotonic`` after which no run begins.

        Raises
        ------
        MeasureError
            As `time`.
        """
        try:
            since = self._client.status().last_sequence
            self.run(place)
            count = 1
            while time.monotonic() < until:
                self.run(place)
                count += 1
            observed = self._client.observations(since)
        except AgentError as error:
            raise MeasureError(f"the model could not be run while its power was measured: {error}") from error
        ours = [each.seconds for each in observed if each.epoch == self.epoch and each.kind == "segment"]
        if len(ours) < count * len(self._partitions[place]):
            raise MeasureError("the agent forgot what it observed before it was asked; give a shorter --window")
        return sum(ours)


@contextmanager
def staged(
    client: AgentClient, graph: ModelGraph, units: Sequence[Unit], partitions: Sequence[Partition], threads: int, *,
    cached: bool = False,
) -> Iterator[Staged]:  # fmt: skip
    """Load partitions of a model on an agent, and take them from it again afterwards.

    With ``cached`` each segment keeps its latest result.

    Raises
    ------
    MeasureError
        The agent does not answer, or cannot run a part: the message has its words.
    """
    try:
        status = client.status()
        epoch = 1 + max((held.epoch for held in status.held), default=0)
        assignment, blobs = _assignment(graph, units, partitions, threads, status.device, epoch, cached=cached)
        try:
            for sha256 in client.stage(assignment):
                client.put_blob(blobs[sha256])
            client.prepare(assignment.plan, epoch, _PREPARE_TIMEOUT_S)
            yield Staged(client, epoch, graph, partitions)
        finally:
            # Whoever does not answer any more has nothing of ours to drop, and what went wrong is known already.
            with suppress(AgentError):
                _forget(client, status.device)
    except Unreachable as error:
        raise MeasureError(f"the agent went away while {graph.name} was measured: {error}") from error
    except AgentError as error:
        raise MeasureError(f"{graph.path} does not run on the agent at {client.address}: {error}") from error


def _forget(client: AgentClient, device: str) -> None:
    """Put an empty candidate in the place of ours: the agent then drops our sessions and files."""
    epoch = 1 + max((held.epoch for held in client.status().held), default=0)
    nothing = Assignment(
        plan="nothing: a profile was measured", epoch=epoch, device=device, flows=(), segments=(), routes=(), peers={},
        max_message_bytes=_MARGIN_BYTES,
    )  # fmt: skip
    client.stage(nothing)
    client.prepare(nothing.plan, epoch)


def _assignment(
    graph: ModelGraph, units: Sequence[Unit], partitions: Sequence[Partition], threads: int, device: str, epoch: int, *,
    cached: bool,
) -> tuple[Assignment, dict[str, bytes]]:  # fmt: skip
    inputs, outputs = _specs(graph.inputs), _specs(graph.outputs)
    flows, segments, blobs = [], [], {}
    for place, partition in enumerate(partitions):
        flows.append(
            FlowSpec(name=_flow(place), source=device, sink=device, devices=(device,), inputs=inputs, outputs=outputs)
        )
        ops = [[op for unit in units[first:last] for op in unit.ops] for first, last in partition]
        for number, part in enumerate(cut(graph, ops)):
            blobs[part.sha256] = part.blob
            segments.append(
                SegmentSpec(
                    name=segment_name(place, number), flow=_flow(place),
                    runtime=graph.format,  # type: ignore[arg-type]
                    blob=part.sha256, blob_bytes=len(part.blob), inputs=_specs(part.inputs),
                    outputs=_specs(part.outputs), threads=threads,
                    cache_bytes=kept_bytes(len(part.outputs), sum(t.bytes for t in part.outputs)) if cached else None,
                )
            )  # fmt: skip
    digest = hashlib.sha256(repr((graph.sha256, partitions, threads, cached)).encode()).hexdigest()
    assignment = Assignment(
        plan=f"profile {graph.name} {digest[:12]}", epoch=epoch, device=device, flows=tuple(flows),
        segments=tuple(segments), routes=(), peers={}, max_message_bytes=_largest_message_bytes(graph) + _MARGIN_BYTES,
    )  # fmt: skip
    return assignment, blobs


def _largest_message_bytes(graph: ModelGraph) -> int:
    return max(sum(tensor.bytes for tensor in tensors) for tensors in (graph.inputs, graph.outputs))


def _flow(place: int) -> str:
    return f"partition {place}"


def segment_name(place: int, number: int) -> str:
    """Name a segment of a partition, by their places, as an agent knows it."""
    return f"{_flow(place)}/{number}"


def _specs(tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    made = []
    for tensor in tensors:
        dtype = None if tensor.dtype == "bfloat16" else datatype_of(np.dtype(tensor.dtype))
        if dtype is None:
            raise ProblemError(f"tensor {tensor.name!r} is of type {tensor.dtype}, which cannot be timed here")
        made.append(TensorSpec(name=tensor.name, port=tensor.name, dtype=dtype, shape=tensor.shape))
    return tuple(made)
