"""Why there is no plan: rules that cannot hold together, none of which can be left out, and how far each must give."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from placer import rules
from placer.errors import NoPlanFound
from placer.index import ProblemIndex
from placer.solver.find import find
from placer.solver.least import least

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from placer.problem import Problem

_NAMED = 3
"""So many missing links are named; more would bury the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How far one rule of a conflict would have to give, the others kept.

    Parameters
    ----------
    rule
        As named by `placer.rules`.
    limit, unit
        The limit that is given; None and "" for a rule that is no limit of a quantity.
    needed
        The smallest limit with which there is a plan. None if the rule can only be given up as a whole, or no
        plan was found in time.
    bound
        Proven: with a limit below this there is no plan. Equal to `needed` within 1e-6 unless time ran out.
    enough
        Whether this change alone gives the whole problem a plan; else it ends this conflict, but there is another.
    """

    rule: str
    limit: float | None
    unit: str
    needed: float | None
    bound: float | None
    enough: bool

    @property
    def words(self) -> str:
        """Say it for people: `0.02 s given, 0.0341 s would do`; "" where there is nothing to say."""
        if self.limit is None:
            return "enough if given up alone" if self.enough else ""
        if self.needed is None:
            return ""
        # Rounded up: who follows the advice must get a plan.
        digits = 10.0 ** (3 - math.floor(math.log10(self.needed))) if self.needed > 0 else 1.0
        needed = f"{math.ceil(self.needed * digits * (1 - 1e-12)) / digits:g}"
        if self.needed > 1 and rules.is_utilization(self.rule):
            return f"{self.limit:g} given, {needed} would be needed, which no one has: lower rate_hz of a flow there"
        unit = f" {self.unit}" if self.unit else ""
        rest = "would do" if self.enough else "would end this conflict, but there is another"
        return f"{self.limit:g}{unit} given, {needed}{unit} {rest}"


def find_conflict(problem: Problem, *, time_limit_s: float = 30.0) -> tuple[str, ...]:
    """Name a minimal set of rules in conflict, by giving up one after another (deletion filter).

    Parameters
    ----------
    problem
        A problem without a plan.
    time_limit_s
        Seconds for each of the searches; a rule whose search does not end in time is kept in the set.

    Returns
    -------
    tuple of str
        Rules as named by `placer.rules`, or what the devices and links themselves make impossible.
    """
    for flow in problem.flows:
        for op in flow.ops:
            if not op.options:
                return (f"op {op.name!r} of flow {flow.name!r} has no option: no device can run it",)
    every = rules.names(problem)
    if _impossible(rules.without(problem, every), time_limit_s):
        return (_unjoined(problem),)
    kept = list(every)
    # Give up halves first: most rules have nothing to do with the conflict.
    chunk = max(1, len(kept) // 2)
    while chunk:
        position = 0
        while position < len(kept):
            trial = kept[:position] + kept[position + chunk :]
            given_up = set(every) - set(trial)
            if _impossible(rules.without(problem, given_up), time_limit_s):
                kept = trial
            else:
                position += chunk
        chunk = chunk // 2
    return tuple(kept)


def find_amounts(problem: Problem, conflict: Sequence[str], *, time_limit_s: float = 30.0) -> tuple[Amount, ...]:
    """Tell for each rule of a conflict how far it would have to give for a plan to exist.

    Parameters
    ----------
    problem
        A problem without a plan.
    conflict
        What `find_conflict` names for it.
    time_limit_s
        Seconds for all of it, shared out over the rules.
    """
    end_s = time.monotonic() + time_limit_s
    every = set(rules.names(problem))
    named = [rule for rule in conflict if rule in every]
    amounts = []
    for i, rule in enumerate(named):
        left_s = max(0.1, (end_s - time.monotonic()) / (len(named) - i))
        amounts.append(_amount(problem, rule, every - set(conflict), left_s))
    return tuple(amounts)


def links_hint(problem: Problem, conflict: Sequence[str]) -> str:
    """Say which links may do as well, where a rule of places is in conflict and some devices are joined by others only.

    Parameters
    ----------
    problem
        A problem without a plan.
    conflict
        What `find_conflict` names for it.
    """
    of_places = set(rules.names(problem)) - set(rules.limits(problem))
    onward = _onward(problem)
    if of_places.isdisjoint(conflict):
        return ""
    by_others = {(a, c) for a in onward for b in onward[a] for c in onward.get(b, set()) - onward[a] - {a}}
    missing = sorted(by_others & _sendable(problem))
    if not missing:
        return ""
    named = " or ".join(f"from {a!r} to {c!r}" for a, c in missing[:_NAMED])
    more = f" or {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"A link that is missing may do as well, {named}{more}: data go over one link, never on through a third "
        "device, and links are not among the rules tried here"
    )


def _sendable(problem: Problem) -> set[tuple[str, str]]:
    """Return the pairs of devices between which some data could go, were there a link."""
    pairs = set()
    for flow in problem.flows:
        places = {op.name: {o.device for o in op.options} for op in flow.ops}
        for tensor in flow.tensors:
            senders = places[tensor.producer].difference(tensor.not_on)
            receivers = {d for consumer in tensor.consumers for d in places[consumer]}.difference(tensor.not_on)
            pairs |= {(a, c) for a in senders for c in receivers if a != c}
    return pairs


def _unjoined(problem: Problem) -> str:
    """Say which links are missing: where an op can run, some data get nowhere, or no two of them to one place."""
    onward = _onward(problem)
    for flow in problem.flows:
        places = {op.name: {o.device for o in op.options} for op in flow.ops}
        reached = dict(places)
        ways: dict[str, list[str]] = {}
        for tensor in flow.tensors:
            begin = reached[tensor.producer]
            for consumer in tensor.consumers:
                gets_to = places[consumer] & _within(begin, onward)
                if not gets_to:
                    return (
                        f"the links: none lead from {_list(begin)}, where flow {flow.name!r} has {tensor.name!r}, to "
                        f"{_list(places[consumer])}, where {consumer!r} can run"
                    )
                ways.setdefault(consumer, []).append(f"{tensor.name!r} from {_list(begin)} to {_list(gets_to)}")
                reached[consumer] = reached[consumer] & gets_to
                if not reached[consumer]:
                    return (
                        f"the links: they bring what {consumer!r} of flow {flow.name!r} reads to no one device that "
                        f"can run it: {'; '.join(ways[consumer])}"
                    )
    return "the links: no choice of options is joined by them, even with every rule given up"


def _list(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _onward(problem: Problem) -> dict[str, set[str]]:
    """Give for each device with links onward where they lead."""
    onward: dict[str, set[str]] = {}
    for link in problem.links:
        onward.setdefault(link.source, set()).add(link.target)
    return onward


def _within(begin: set[str], onward: Mapping[str, Collection[str]]) -> set[str]:
    """Return every device that data at the first ones can get to."""
    found, waiting = set(begin), list(begin)
    while waiting:
        for device in onward.get(waiting.pop(), ()):
            if device not in found:
                found.add(device)
                waiting.append(device)
    return found


def _amount(problem: Problem, rule: str, innocent: set[str], time_limit_s: float) -> Amount:
    limit, unit = rules.limits(problem).get(rule, (None, ""))
    if limit is None:
        enough = not _impossible(rules.without(problem, {rule}), time_limit_s)
        return Amount(rule=rule, limit=None, unit="", needed=None, bound=None, enough=enough)
    nothing = Amount(rule=rule, limit=limit, unit=unit, needed=None, bound=None, enough=False)
    try:
        found, enough = least(problem, rule, time_limit_s=time_limit_s), True
        if found is None:
            # Another conflict stands in the way: within this one alone there must be an answer.
            found, enough = least(rules.without(problem, innocent), rule, time_limit_s=time_limit_s), False
    except NoPlanFound:
        return nothing
    return nothing if found is None else replace(nothing, needed=found.value, bound=found.bound, enough=enough)


def _impossible(problem: Problem, time_limit_s: float) -> bool:
    """Whether it is proven that there is no plan."""
    # Any plan will do: a gap of 1 ends the search at the first one found.
    return find(ProblemIndex(problem), gap=1.0, time_limit_s=time_limit_s).status == "infeasible"
