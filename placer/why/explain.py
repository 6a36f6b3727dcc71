"""Why a plan is as it is: what keeping each segment off its device would cost, and what each rule costs.

Every figure is the difference between two optima, each found and proven by the same solver as the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from placer import rules
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.asked import check_asked
from placer.solver.conflict import find_conflict
from placer.solver.find import find
from placer.solver.least import STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from placer.plan import Plan, Segment
    from placer.problem import Objective, Op, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """The best plan in which a segment's ops run anywhere but on its device.

    Parameters
    ----------
    objective
        What that plan costs, in the unit of the plan's objective; None if there is none.
    extra
        How much more that is than the plan explained.
    devices
        Where the segment's ops run then, in the order of the file.
    moved_ops
        How many ops of other segments change their device or mode as well.
    proven
        Whether no cheaper one exists (within 1e-6), or, without an objective, whether there is none; neither is told
        where an op without work is left a single option, for it would count as a source or sink.
    conflict
        The rules that leave no other place; empty where there is one.
    """

    objective: float | None
    extra: float | None
    devices: tuple[str, ...]
    moved_ops: int
    proven: bool
    conflict: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReason:
    """What it costs to keep a segment off its device.

    Parameters
    ----------
    all_free
        With every other op free to move as well: what the device is worth to the segment.
    rest_fixed
        With every other op where the plan has it: what a neighbour's view of the segment's place is worth.
    """

    flow: str
    segment: str
    device: str
    mode: str
    ops: int
    all_free: Instead
    rest_fixed: Instead


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCost:
    """What a rule costs: without it, and all others kept, a plan saves so much."""

    rule: str
    saved: float
    """In the unit of the objective; above 0."""
    proven: bool
    """Whether no plan saves more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a plan is as it is.

    Parameters
    ----------
    objective, value
        What the plan minimizes, and its value.
    segments
        One reason for each segment.
    rules
        The rules that cost something alone, the dearest first. Rules not named cost nothing alone, proven
        unless `proven` is False.
    together
        A minimal set of rules without which a plan is as cheap as without any rule.
    together_saved
        What giving up all of `together` saves; more than the sum of `rules` where rules cover for each other.
    proven
        Whether all searches for the rules ended with a proof.
    """

    objective: Objective
    value: float
    segments: tuple[SegmentReason, ...]
    rules: tuple[RuleCost, ...]
    together: tuple[str, ...]
    together_saved: float
    proven: bool


def posed(plan: Plan) -> Problem:
    """Return what a plan answers: one of a site keeps every deadline after pauses, though its problem names few."""
    every = [f.name for f in plan.problem.flows]
    return rules.with_deadlines_after_pauses(plan.problem, every) if plan.models else plan.problem


def explain(
    plan: Plan, *, time_limit_s: float = 60.0, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Explanation:
    """Explain a plan by solving its problem again with one thing changed at a time.

    Parameters
    ----------
    plan
        A plan; if it is not optimal itself, differences contain its gap.
    time_limit_s
        Seconds for each of the searches.
    seed
        As `placer.solve`.
    progress
        Called with a line of text before each search.

    Raises
    ------
    ProblemError
        `time_limit_s` or `seed` is out of its range.
    """
    check_asked(time_limit_s=time_limit_s, seed=seed)
    asker = _Asker(plan, time_limit_s, seed, progress or (lambda _: None))
    segments = tuple(asker.reason(flow.name, segment) for flow in plan.flows for segment in flow.segments)
    costs, together, saved = asker.costs()
    return Explanation(
        objective=plan.problem.objective,
        value=plan.objective,
        segments=segments,
        rules=costs,
        together=together,
        together_saved=saved,
        proven=asker.proven,
    )


class _Asker:
    """Solves a plan's problem with one thing changed."""

    def __init__(self, plan: Plan, time_limit_s: float, seed: int, tell: Callable[[str], None]) -> None:
        self.plan, self.problem = plan, posed(plan)
        self.index = ProblemIndex(self.problem)
        self.time_limit_s, self.seed, self.tell = time_limit_s, seed, tell
        self.proven = True
        self._known: dict[frozenset[str], tuple[float, bool]] = {}

    def reason(self, flow: str, segment: Segment) -> SegmentReason:
        """Keep a segment off its device, with the rest free and with the rest fixed."""
        self.tell(f"keeping {segment.name} off {segment.device}")
        return SegmentReason(
            flow=flow,
            segment=segment.name,
            device=segment.device,
            mode=segment.mode,
            ops=len(segment.ops),
            all_free=self._instead(flow, segment, _barred(self.problem, flow, segment)),
            rest_fixed=self._instead(flow, segment, _barred(self._fixed(flow, segment.ops), flow, segment)),
        )

    def _fixed(self, name: str, free: Collection[str]) -> Problem:
        """Leave every op but the free ones of one flow only the option that the plan has for it."""

        def fix(flow: str, op: Op) -> Op:
            if flow == name and op.name in free:
                return op
            chosen = self.plan.flow(flow).assignment[op.name]
            return msgspec.structs.replace(op, options=tuple(o for o in op.options if (o.device, o.mode) == chosen))

        return msgspec.structs.replace(
            self.problem,
            flows=tuple(
                msgspec.structs.replace(f, ops=tuple(fix(f.name, op) for op in f.ops)) for f in self.problem.flows
            ),
        )

    def _instead(self, flow: str, segment: Segment, problem: Problem) -> Instead:
        nothing = Instead(objective=None, extra=None, devices=(), moved_ops=0, proven=False, conflict=())
        stuck = next((op for f in problem.flows for op in f.ops if not op.options), None)
        if stuck is not None:
            only = f"only {segment.device!r} can run op {stuck.name!r} of flow {flow!r}"
            return replace(nothing, proven=True, conflict=(only,))
        index = ProblemIndex(problem)
        outcome = find(index, time_limit_s=self.time_limit_s, seed=self.seed)
        # An op without work that is left one option would count as a source or sink: another problem's proof.
        same = all(a.is_endpoint == b.is_endpoint for a, b in zip(index.flows, self.index.flows, strict=True))
        if outcome.status == "infeasible" and same:
            return replace(nothing, proven=True, conflict=find_conflict(problem, time_limit_s=self.time_limit_s))
        if outcome.choices is None:
            return nothing
        where = [index.assignment_of(f, choice) for f, choice in enumerate(outcome.choices)]
        judged = evaluate(self.index, [self.index.choice_of(f, w) for f, w in enumerate(where)])
        if not judged.feasible:
            return nothing
        names = [f.name for f in self.problem.flows]
        moved = sum(
            w[op] != place
            for name, w in zip(names, where, strict=True)
            for op, place in self.plan.flow(name).assignment.items()
            if not (name == flow and op in segment.ops)
        )
        return Instead(
            objective=judged.objective,
            extra=judged.objective - self.plan.objective,
            devices=tuple(dict.fromkeys(where[names.index(flow)][op][0] for op in segment.ops)),
            moved_ops=moved,
            proven=outcome.status == "optimal" and same,
            conflict=(),
        )

    def costs(self) -> tuple[tuple[RuleCost, ...], tuple[str, ...], float]:
        """Find what each rule costs alone, and a minimal set that costs as much as all rules together."""
        every = rules.names(self.problem)
        alone = sorted(self._alone(every), key=lambda cost: -cost.saved)
        most, _ = self._without(every)
        if most == 0:
            return (), (), 0.0
        enough = most - STEP * self.plan.objective
        together = [alone[0].rule] if alone and alone[0].saved >= enough else list(every)
        chunk = len(together) // 2
        while chunk:
            position = 0
            while position < len(together):
                trial = together[:position] + together[position + chunk :]
                if self._without(trial)[0] >= enough:
                    together = trial
                else:
                    position += chunk
            chunk //= 2
        return tuple(alone), tuple(together), self._without(together)[0]

    def _alone(self, names: Sequence[str]) -> list[RuleCost]:
        """Find the rules that cost something alone: where a group costs nothing, none of it does."""
        saved, proven = self._without(names)
        if not names or (saved == 0 and proven):
            return []
        if len(names) == 1:
            return [RuleCost(rule=names[0], saved=saved, proven=proven)] if saved else []
        middle = len(names) // 2
        return self._alone(names[:middle]) + self._alone(names[middle:])

    def _without(self, names: Sequence[str]) -> tuple[float, bool]:
        """Return how much a plan saves without some rules, and whether none saves more.

        Differences within twice the tolerance of a proof count as 0.
        """
        dropped = frozenset(names)
        if dropped not in self._known:
            self.tell(f"planning without {names[0]}" if len(names) == 1 else f"planning without {len(names)} rules")
            trial = ProblemIndex(rules.without(self.problem, dropped))
            outcome = find(trial, time_limit_s=self.time_limit_s, seed=self.seed)
            value = outcome.evaluation.objective if outcome.evaluation is not None else self.plan.objective
            saved, proven = self.plan.objective - value, outcome.status == "optimal"
            self.proven = self.proven and proven
            self._known[dropped] = (saved if saved > 2 * STEP * self.plan.objective else 0.0, proven)
        return self._known[dropped]


def _barred(problem: Problem, name: str, segment: Segment) -> Problem:
    """Take from a segment's ops the options on its device."""
    ops = set(segment.ops)

    def bar(op: Op) -> Op:
        if op.name not in ops:
            return op
        return msgspec.structs.replace(op, options=tuple(o for o in op.options if o.device != segment.device))

    return msgspec.structs.replace(
        problem,
        flows=tuple(
            msgspec.structs.replace(f, ops=tuple(bar(op) for op in f.ops)) if f.name == name else f
            for f in problem.flows
        ),
    )
