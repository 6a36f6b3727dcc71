"""Flows: data that arise at sources, pass stages and arrive at sinks in time."""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003  (msgspec reads the annotation at run time)
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import ProfileError, choices
from profiles.figure import require_name, require_positive
from profiles.stage import Stage, split_origin

if TYPE_CHECKING:
    from collections.abc import Sequence


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data arising at source devices, through stages, to sink devices.

    Parameters
    ----------
    name
        Unique in its site.
    source, sink
        Names of the devices where requests begin and data arise, and where results are needed.
    sources
        Names of the devices where other data arise, by the name that the stages read the data by.
    sinks
        Names of the devices where other outputs are needed, by output, as ``STAGE/OUTPUT``.
    rate_hz
        Inferences per second, larger than zero.
    deadline_s
        Seconds from the data's arrival to the result; None for no deadline.
    label
        How sensitive its data are.
    labels
        Labels of data to which another applies, by the name that the stages read the data by.
    stages
        The models, at least one; what they read from each other makes a graph without a circle.
    outputs
        What the sink needs, each as ``STAGE/OUTPUT``; empty for every output that no stage takes in.

    Raises
    ------
    ProfileError
        If a number is out of its range, or a stage refers to something that is not there; the message begins with
        the path of the field.
    """

    name: str
    source: str
    sink: str
    sources: Mapping[str, str] = {}
    sinks: Mapping[str, str] = {}
    rate_hz: float
    deadline_s: float | None = None
    label: str
    labels: Mapping[str, str] = {}
    stages: tuple[Stage, ...]
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_name("flow", self.name)
        require_positive("rate_hz", self.rate_hz)
        if self.deadline_s is not None and not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise ProfileError(f"deadline_s is {self.deadline_s!r}: give a number larger than zero, or leave it out")
        if not self.stages:
            raise ProfileError(f"flow {self.name!r} has no stages: a flow passes at least one")
        if not self.plain:
            self._check_names()
            self._check_origins()
            self._check_data()
        self._check_outputs()
        self._check_sinks()
        self._check_every()
        stage_order(self.stages)

    @property
    def plain(self) -> bool:
        """Whether it is one model and nothing else, whose inputs and outputs are the flow's own, by their names."""
        (first, *others) = self.stages
        return not (others or first.origins)

    def _check_names(self) -> None:
        names = [stage.name for stage in self.stages]
        for index, name in enumerate(names):
            if "/" in name:
                raise ProfileError(f"stages[{index}].name: {name!r} has a '/', which parts stage and output in `reads`")
            if name in names[:index]:
                raise ProfileError(f"stages[{index}].name: the stage {name!r} stands twice: names are unique")

    def _check_origins(self) -> None:
        for index, stage in enumerate(self.stages):
            where = f"stages[{index}]"
            if not stage.reads:
                raise ProfileError(
                    f"{where}.reads: the stage {stage.name!r} does not say what it reads; in a flow of several stages "
                    "each names an origin for every input: `reads: {INPUT: STAGE/OUTPUT}`, or `{INPUT: NAME}` for "
                    "data of the flow's source"
                )
            for tensor, origin in stage.reads.items():
                self._check_origin(f"{where}.reads.{tensor}", origin, stage.name)
            if stage.when is not None:
                if not split_origin(stage.when.tensor)[0]:
                    raise ProfileError(
                        f"{where}.when.tensor: {stage.when.tensor!r} is no output of a stage; write STAGE/OUTPUT"
                    )
                self._check_origin(f"{where}.when.tensor", stage.when.tensor, stage.name)

    def _check_every(self) -> None:
        most = max(stage.every for stage in self.stages)
        if self.plain and most > 1:
            raise ProfileError(
                f"stages[0].every: {most}, but nothing else of the flow runs meanwhile: divide its rate_hz by that "
                "instead"
            )
        for other, stage in enumerate(self.stages):
            for before in self.stages[:other]:
                low, high = sorted((before.every, stage.every))
                if high % low:
                    raise ProfileError(
                        f"stages[{other}].every: {stage.every} beside {before.every} of the stage {before.name!r}: of "
                        "two such numbers in a flow one divides the other, or how often both go on together is not "
                        "what their shares say"
                    )

    def _check_data(self) -> None:
        known = list(dict.fromkeys(o for s in self.stages for o in s.reads.values() if not split_origin(o)[0]))
        for field, named in (("sources", self.sources), ("labels", self.labels)):
            for name in named:
                if name not in known:
                    raise ProfileError(f"{field}.{name}: no stage reads data {name!r}; {choices(name, known)}")
        if known and all(self.sources.get(name, self.source) != self.source for name in known):
            raise ProfileError(
                f"source: {self.source!r}: no data arise there, as `sources` says; a request begins where some of its "
                f"data arise: give one of {', '.join(dict.fromkeys(self.sources.values()))}"
            )

    def _check_sinks(self) -> None:
        for output in self.sinks:
            where = f"sinks.{output}"
            if not split_origin(output)[0]:
                raise ProfileError(f"{where}: {output!r} is no output of a stage; write STAGE/OUTPUT")
            self._check_origin(where, output, None)
            if self.outputs and output not in self.outputs:
                raise ProfileError(f"{where}: {output!r} is not among `outputs`; name it there too")

    def _check_origin(self, where: str, origin: str, reader: str | None) -> None:
        stage, output = split_origin(origin)
        others = [s.name for s in self.stages if s.name != reader]
        if stage and stage == reader:
            raise ProfileError(f"{where}: {origin!r} is the stage's own output")
        if stage and stage not in others:
            raise ProfileError(f"{where}: {origin!r}: {stage!r} is no stage of the flow; {choices(stage, others)}")
        if not output or origin.startswith("/"):
            raise ProfileError(f"{where}: {origin!r} names no output; write STAGE/OUTPUT")

    def _check_outputs(self) -> None:
        for index, output in enumerate(self.outputs):
            where = f"outputs[{index}]"
            if not split_origin(output)[0]:
                raise ProfileError(f"{where}: {output!r} is no output of a stage; write STAGE/OUTPUT")
            self._check_origin(where, output, None)
            if output in self.outputs[:index]:
                raise ProfileError(f"{where}: {output!r} stands twice")
        if self.outputs:
            used = {split_origin(origin)[0] for s in self.stages for origin in s.origins}
            used |= {split_origin(output)[0] for output in self.outputs}
            for index, stage in enumerate(self.stages):
                if stage.name not in used:
                    raise ProfileError(
                        f"stages[{index}]: nothing takes in what the stage {stage.name!r} makes, and `outputs` does "
                        "not name it; leave the stage out, or name its output"
                    )


def stage_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Put stages in an order in which each comes after those it takes something in from; else the file's.

    Raises
    ------
    ProfileError
        If some wait for each other in a circle.
    """
    done: dict[str, Stage] = {}
    left = list(stages)
    while left:
        for stage in left:
            if all(origin in done for origin in _stages_of(stage)):
                done[stage.name] = stage
                left.remove(stage)
                break
        else:
            raise ProfileError(f"stages: {_circle(left)} wait for each other in a circle")
    return tuple(done.values())


def _stages_of(stage: Stage) -> set[str]:
    return {origin for origin, _ in map(split_origin, stage.origins)} - {""}


def _circle(left: Sequence[Stage]) -> str:
    """Follow origins that are not done until a stage comes round again."""
    by_name = {stage.name: stage for stage in left}
    path = [left[0].name]
    while True:
        following = next(name for name in sorted(_stages_of(by_name[path[-1]])) if name in by_name)
        if following in path:
            return ", ".join(map(repr, path[path.index(following) :]))
        path.append(following)
