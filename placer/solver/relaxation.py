"""The mixed-integer relaxation of a problem: which option each op takes, and a bound on what that costs.

Every feasible choice is a feasible point of this model with an objective no larger than the true one, so its
optimum is a lower bound; cuts (placer/solver/cuts.py) close the difference where it matters. Symbols are those of
docs/formulation.md: x for options, z for pairs of options, y for tensors sent, f for edges inside a segment.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from ortools.math_opt.python import mathopt

from placer.objective import TOTALS, factors
from placer.solver.alike import alike
from placer.solver.flow_relaxation import FlowRelaxation
from placer.solver.scale import to_thousand
from placer.solver.terms import SLACK, Terms, add_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.index import Choice, FlowIndex, ProblemIndex
    from placer.problem import Objective

_LARGEST = 1e7
"""No coefficient above this: limits and deadlines are scaled to 1,000, so nothing far above matters."""

FINER = 1e6
"""How much finer the units of times and bytes are where every variable is rounded to a whole number."""


def _deadlines_s(index: ProblemIndex, flow: FlowIndex) -> tuple[float, float]:
    """Give a flow's deadlines, with pauses and without; infinite where there is none."""
    after_pauses_s = index.problem.limits.deadline_after_pauses_s.get(flow.name, math.inf)
    return math.inf if flow.flow.deadline_s is None else flow.flow.deadline_s, after_pauses_s


class Relaxation:
    """A MathOpt model of a whole problem and the expressions that cuts refer to."""

    def __init__(self, index: ProblemIndex, *, horizon_s: float = math.inf, whole: bool = False) -> None:
        self.index = index
        self.whole = whole
        """Whether the solver rounds every variable to a whole number, as CP-SAT does: see `_in_whole_numbers`."""
        self.finer = FINER if whole else 1.0
        self._amounts: set[mathopt.Variable] = set()
        self.horizon_s = horizon_s
        """Seconds beyond which no latency is worth anything; deadlines are horizons too."""
        self.model = mathopt.Model(name="placement")
        self.flows = [FlowRelaxation(self, f, min(horizon_s, *_deadlines_s(index, f))) for f in index.flows]
        if whole:
            # HiGHS looks for symmetries itself, and its bounds rise more slowly with these rows.
            self._order_alike()
        self._switch_on()
        self._memory()
        self._utilization()
        self._power()
        self._totals()
        self.objective: Terms = {}
        """What is minimized, in the problem's own unit."""
        if index.problem.objective == "latency_s":
            first = self.flows[0]
            add_to(self.objective, first.latency.items(), 1.0 / first.scale.time)
        else:
            self.objective = self.total(index.problem.objective)
        self.objective_scale = 0.0
        """Factor between the model's objective and the problem's."""
        self._goal = self.model.add_linear_constraint(lb=-math.inf, ub=math.inf, name="better than the incumbent")
        self.aim(math.inf)
        if whole:
            for variable in self.model.variables():
                variable.integer = True

    def amount(self) -> mathopt.Variable:
        """Make a variable for a quantity, a time or bytes; the others are 0 or 1 wherever the options are."""
        variable = self.model.add_variable(lb=0.0)
        self._amounts.add(variable)
        return variable

    def row(self, terms: Terms, lower: float = -math.inf, upper: float = math.inf, name: str = "") -> None:
        """Add the constraint `lower <= terms <= upper`."""
        largest = _LARGEST
        if self.whole and any(v in self._amounts for v in terms):
            found = self._in_whole_numbers(terms, lower, upper)
            if found is None:
                return
            terms, lower, upper = found
            largest *= self.finer
        if lower < upper and any(abs(c) > largest for c in terms.values()):
            # All variables are 0 or more: what asks too much may ask less and the row stays valid.
            sign = 1.0 if upper < math.inf else -1.0
            if any(c * sign < -largest for c in terms.values()):
                return
            terms = {v: sign * min(c * sign, largest) for v, c in terms.items()}
        constraint = self.model.add_linear_constraint(lb=lower, ub=upper, name=name)
        for variable, coefficient in terms.items():
            if coefficient:
                constraint.set_coefficient(variable, coefficient)

    def _in_whole_numbers(self, terms: Terms, lower: float, upper: float) -> tuple[Terms, float, float] | None:
        """Loosen a row with amounts so that it holds when each amount is rounded down; None if it cannot be said.

        Each amount loses less than 1. Coefficients are rounded to whole numbers towards the loose side, so that
        nothing is left for the solver to round. An amount of another coefficient than 1 or -1 is left out.
        """
        sign = 1.0 if upper < math.inf else -1.0
        loose: Terms = {}
        rounded = 0
        for variable, coefficient in terms.items():
            if variable not in self._amounts:
                loose[variable] = sign * math.floor(sign * coefficient)
            elif abs(coefficient) == 1.0:
                loose[variable] = coefficient
                rounded += 1
            elif coefficient * sign < 0:
                return None
        if upper < math.inf:
            return loose, lower, math.ceil(upper) + rounded
        return loose, math.floor(lower) - rounded, upper

    def aim(self, worth: float) -> None:
        """Ask for something of objective at most `worth`, and scale the objective so that this is some 1,000.

        The solver prunes by absolute tolerances, so an objective that is small beside its largest coefficient
        would be rounded away. Coefficients far above `worth` are lowered: they still are out of the question.
        """
        if 0 < worth < math.inf and not (self.whole and self.index.problem.objective == "latency_s"):
            scale = to_thousand([worth])
        elif self.index.problem.objective == "latency_s":
            scale = self.flows[0].scale.time
        else:
            scale = to_thousand([abs(c) for c in self.objective.values()])
        if scale != self.objective_scale:
            self.objective_scale = scale
            for variable, coefficient in self.objective.items():
                rounded = self.whole and variable in self._amounts
                # An amount of the horizon's length is some 1e9: at 1 it is out of the question too.
                scaled = min(coefficient * scale, 1.0 if rounded else _LARGEST)
                self.model.objective.set_linear_coefficient(variable, scaled)
                # Of a fraction of a rounded amount nothing can be said in whole numbers; 0 is less.
                self._goal.set_coefficient(variable, 0.0 if rounded and scaled != 1.0 else scaled)
        self._goal.upper_bound = worth * scale

    def choices(self, values: Mapping[mathopt.Variable, float]) -> tuple[Choice, ...]:
        """Read the chosen options off a solution."""
        return tuple(
            tuple(max(range(len(xs)), key=lambda o, xs=xs: values.get(xs[o], 0.0)) for xs in flow.x)  # type: ignore[misc]
            for flow in self.flows
        )

    def _order_alike(self) -> None:
        """x_vo <= any_u,c for o on d, ops u before v, and c the device before d of those alike: taken in order.

        any_v,d <= any_u,d + sum_{o on d} x_vo with u the op right before v; a first op has none before it.
        """
        for devices in alike(self.index):
            taken: dict[int, mathopt.Variable] = {}
            for flow in self.flows:
                for v in flow.index.topological:
                    here = {d: flow.on_device(v, d) for d in devices}
                    if not any(here.values()):
                        continue
                    for before, d in itertools.pairwise(devices):
                        for x in here[d]:
                            self.row({x: 1.0, **({taken[before]: -1.0} if before in taken else {})}, upper=0.0)
                    for d in devices[:-1]:
                        any_ = self.model.add_variable(lb=0.0, ub=1.0)
                        terms: Terms = {any_: 1.0, **dict.fromkeys(here[d], -1.0)}
                        if d in taken:
                            terms[taken[d]] = -1.0
                        self.row(terms, upper=0.0)
                        taken[d] = any_

    def _switch_on(self) -> None:
        """On_d >= sum_{o on d, s > 0} x_vo: a device that works is on and pays its idle power."""
        self.on: dict[int, mathopt.Variable] = {}
        for d, device in enumerate(self.index.devices):
            if device.always_on:
                continue
            self.on[d] = on = self.model.add_variable(lb=0.0, ub=1.0)
            for flow in self.flows:
                for xs, options in zip(flow.x, flow.index.options, strict=True):
                    terms: Terms = {
                        x: -1.0 for x, o in zip(xs, options, strict=True) if o.device == d and o.seconds > 0
                    }
                    if terms:
                        self.row({on: 1.0, **terms}, lower=0.0)

    def total(self, objective: Objective) -> Terms:
        """sum_f rate_f (sum_d count_d energy_fd + sum_k count_k network_fk) + sum_d count_d idle_d on_d."""
        counts = factors(self.index.problem, objective)
        terms: Terms = {}
        for flow in self.flows:
            rate_hz = flow.index.flow.rate_hz / flow.scale.energy
            for d, count in enumerate(counts.device):
                add_to(terms, flow.energy[d].items(), rate_hz * count)
            for k, network in flow.network.items():
                add_to(terms, network.items(), rate_hz * counts.link[k])
        for d, on in self.on.items():
            add_to(terms, [(on, (self.index.devices[d].idle_w or 0.0) * counts.device[d])])
        return terms

    def _totals(self) -> None:
        """Sum as in `total` <= limit, for energy, carbon and cost of the whole plan."""
        for field, objective in TOTALS.items():
            limit = getattr(self.index.problem.limits, field)
            if limit is not None:
                self.cap(self.total(objective), limit)

    def _memory(self) -> None:
        """sum_i weights_i w_di + W_d <= memory_d, with w_di >= x_vo and W_d >= workspace_v x_vo."""
        for d, device in enumerate(self.index.devices):
            if device.memory_bytes is None:
                continue
            k = to_thousand([device.memory_bytes]) * self.finer
            total: Terms = {}
            held: dict[str, mathopt.Variable] = {}
            workspace = self.amount()
            total[workspace] = 1.0
            for flow in self.flows:
                for op, xs, options in zip(flow.index.flow.ops, flow.x, flow.index.options, strict=True):
                    here = [(x, 1.0) for x, o in zip(xs, options, strict=True) if o.device == d]
                    if not here:
                        continue
                    if op.workspace_bytes:
                        need: Terms = {workspace: 1.0}
                        add_to(need, here, -op.workspace_bytes * k)
                        self.row(need, lower=0.0)
                    if op.weights_id is None:
                        add_to(total, here, op.weights_bytes * k)
                    elif op.weights_bytes:
                        if op.weights_id not in held:
                            held[op.weights_id] = self.model.add_variable(lb=0.0, ub=1.0)
                            total[held[op.weights_id]] = op.weights_bytes * k
                        keep: Terms = {held[op.weights_id]: 1.0}
                        add_to(keep, here, -1.0)
                        self.row(keep, lower=0.0)
            self.row(total, upper=device.memory_bytes * k * (1 + SLACK))

    def _utilization(self) -> None:
        """sum_f rate_f busy_fd <= max_utilization_d, and likewise for each link's queue."""
        for d, device in enumerate(self.index.devices):
            load: Terms = {}
            for flow in self.flows:
                add_to(load, flow.device_s[d].items(), flow.index.flow.rate_hz / flow.scale.time)
            self.cap(load, device.max_utilization)
        for m in range(len(self.index.media)):
            load = {}
            for flow in self.flows:
                add_to(load, flow.medium_s[m].items(), flow.index.flow.rate_hz / flow.scale.time)
            caps = [
                k.max_utilization
                for k, medium in zip(self.index.links, self.index.medium_of, strict=True)
                if medium == m
            ]
            self.cap(load, min(caps))

    def _power(self) -> None:
        """sum_f rate_f energy_fd + idle_d on_d <= power_w_d, for a device and for the site."""
        site: Terms = {}
        always_w = 0.0
        for d in range(-1, len(self.index.devices)):
            drawn: Terms = {}
            for flow in self.flows:
                add_to(drawn, flow.energy[d].items(), flow.index.flow.rate_hz / flow.scale.energy)
            idle_w = 0.0
            if d >= 0:
                device = self.index.devices[d]
                if d in self.on:
                    add_to(drawn, [(self.on[d], device.idle_w or 0.0)])
                else:
                    idle_w = device.idle_w or 0.0
                limit = self.index.problem.limits.power_w.get(device.name)
                if limit is not None:
                    self.cap(drawn, limit, idle_w)
            add_to(site, drawn.items())
            always_w += idle_w
        limit = self.index.problem.limits.power_w.get("site")
        if limit is not None:
            self.cap(site, limit, always_w)

    def cap(self, terms: Terms, limit: float, constant: float = 0.0) -> None:
        """Add `terms + constant <= limit`, scaled so that the limit is 1,000."""
        if limit >= 1e15:
            return
        factor = 1e3 / limit if limit > 0 else 1e3
        self.row({v: c * factor for v, c in terms.items()}, upper=(limit * (1 + SLACK) - constant) * factor)
