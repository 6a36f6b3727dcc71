"""The linear master problem: the best mix of known columns, and the prices that it puts on what flows share.

Symbols are those of placer/solver/many/prices.py; l_gk is how many members of part g take column k:

    min  sum_gk cost_k l_gk + sum_d on_cost_d on_d + penalty sum_r over_r
    s.t. sum_k l_gk = count_g,  and the lines of prices.py with over_r allowed beyond each cap

Its prices only steer: no claim rests on what this solver says, since the bound is computed from any prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ortools.math_opt.python import mathopt

from placer.solver.many.prices import Prices

if TYPE_CHECKING:
    from placer.index import Choice
    from placer.solver.many.columns import Column
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part


@dataclass(frozen=True, slots=True)
class Mix:
    """A solution of the master problem."""

    objective: float
    over: float
    """By how much caps are exceeded in all, each in units of itself; 0 where the columns can keep them."""
    shares: tuple[tuple[float, ...], ...]
    """For each part and column, how many members take it."""
    prices: Prices


class Master:
    """The columns known so far, and a linear program over them that grows with them."""

    def __init__(self, parts: tuple[Part, ...], coupling: Coupling) -> None:
        self.parts, self.coupling = parts, coupling
        self.columns: list[list[Column]] = [[] for _ in parts]
        self._known: list[set[Choice]] = [set() for _ in parts]
        self._model = mathopt.Model(name="master")
        self._model.objective.is_maximize = False
        self._unit = np.array([abs(c) if abs(c) > 1e-12 else 1.0 for c in coupling.caps])
        self._costs: dict[mathopt.Variable, float] = {}
        self._over: list[mathopt.Variable] = []
        self._picks: list[list[mathopt.Variable]] = [[] for _ in parts]
        self._one = [self._model.add_linear_constraint(lb=p.count, ub=p.count) for p in parts]
        self._rows = [self._elastic(c / u) for c, u in zip(coupling.caps, self._unit, strict=True)]
        self._memory = {d: self._elastic(1.0) for d in coupling.crowded}
        self._on: dict[int, mathopt.Variable] = {}
        for d in coupling.switched:
            self._on[d] = on = self._model.add_variable(lb=0.0, ub=1.0)
            self._costs[on] = coupling.on_cost[d]
            for r, weight in coupling.on_rows[d]:
                self._rows[r].set_coefficient(on, weight / self._unit[r])
        self._bundles = []
        for bundle in coupling.bundles:
            # In units of the device's memory, so that bytes and shares are of one size.
            size = bundle.bytes / self._memory_unit(bundle.device)
            self._bundles.append(self._model.add_variable(lb=0.0, ub=size))
            self._memory[bundle.device].set_coefficient(self._bundles[-1], 1.0)
        self._uses: dict[tuple[int, int], mathopt.LinearConstraint] = {}
        self._holds: dict[tuple[int, int], mathopt.LinearConstraint] = {}
        self._solver: mathopt.IncrementalSolver | None = None
        self._scale = 1.0
        self.penalty = 1.0
        """What exceeding a cap by its own size costs, in units of the dearest plan known."""

    def _memory_unit(self, device: int) -> float:
        return self.coupling.crowded[device] or 1.0

    def _elastic(self, upper: float) -> mathopt.LinearConstraint:
        row = self._model.add_linear_constraint(ub=upper)
        self._over.append(self._model.add_variable(lb=0.0))
        row.set_coefficient(self._over[-1], -1.0)
        return row

    def add(self, g: int, column: Column) -> bool:
        """Add a column of part g; return whether it is new."""
        if column.choice in self._known[g]:
            return False
        self._known[g].add(column.choice)
        self.columns[g].append(column)
        pick = self._model.add_variable(lb=0.0)
        self._picks[g].append(pick)
        self._costs[pick] = column.cost
        self._one[g].set_coefficient(pick, 1.0)
        for r, amount in zip(self.coupling.parts[g].rows, column.takes, strict=True):
            if amount:
                self._rows[r].set_coefficient(pick, amount / self._unit[r])
        for d in sorted(column.used & self._on.keys()):
            if (g, d) not in self._uses:
                self._uses[g, d] = row = self._model.add_linear_constraint(ub=0.0)
                row.set_coefficient(self._on[d], -self.parts[g].count)
            self._uses[g, d].set_coefficient(pick, 1.0)
        for b, size in column.bundle_bytes.items():
            if (g, b) not in self._holds:
                self._holds[g, b] = row = self._model.add_linear_constraint(ub=0.0)
                row.set_coefficient(self._bundles[b], -self.parts[g].count)
            self._holds[g, b].set_coefficient(pick, size / self._memory_unit(self.coupling.bundles[b].device))
        for d, size in column.own_bytes.items():
            self._memory[d].set_coefficient(pick, size / self._memory_unit(d))
        return True

    def _solved(self) -> mathopt.SolveResult:
        """Solve the model from the last basis, and where rounding has spoilt that, anew."""
        if self._solver is None:
            self._solver = mathopt.IncrementalSolver(self._model, mathopt.SolverType.GLOP)
        result = self._solver.solve()
        for solver in (mathopt.SolverType.GLOP, mathopt.SolverType.HIGHS):
            if result.termination.reason == mathopt.TerminationReason.OPTIMAL:
                return result
            self._solver = None
            result = mathopt.solve(self._model, solver)
        if result.termination.reason != mathopt.TerminationReason.OPTIMAL:
            raise RuntimeError(f"the master problem was not solved: {result.termination}")
        return result

    def knows(self, g: int, choice: Choice) -> bool:
        """Tell whether a choice is a column of part g already."""
        return choice in self._known[g]

    def solve(self, base: float = 1.0) -> Mix:
        """Solve the linear program.

        Parameters
        ----------
        base
            1 to minimize the objective, 0 to minimize only what exceeds the caps.

        Raises
        ------
        RuntimeError
            The LP solver failed; with penalties there is always a solution.
        """
        dearest = sum(p.count * max(c.cost for c in cs) for p, cs in zip(self.parts, self.columns, strict=True))
        dearest += sum(self.coupling.on_cost.values())
        # Costs near 1 for the solver's tolerances; powers of ten, so that equal problems stay equal.
        self._scale = float(10.0 ** -np.floor(np.log10(dearest))) if dearest > 0 and base else 1.0
        for variable, cost in self._costs.items():
            self._model.objective.set_linear_coefficient(variable, base * cost * self._scale)
        penalty = self.penalty * dearest * self._scale if base and dearest > 0 else 1.0
        for variable in self._over:
            self._model.objective.set_linear_coefficient(variable, penalty)
        result = self._solved()
        values, duals = result.variable_values(), result.dual_values()

        def price(row: mathopt.LinearConstraint, unit: float) -> float:
            return max(0.0, -float(duals[row])) / (unit * self._scale)

        prices = Prices(
            rows=np.array([price(row, u) for row, u in zip(self._rows, self._unit, strict=True)]),
            on={key: price(row, 1.0) for key, row in self._uses.items()},
            weights={
                (g, b): price(row, self._memory_unit(self.coupling.bundles[b].device))
                for (g, b), row in self._holds.items()
            },
            memory={d: price(row, self._memory_unit(d)) for d, row in self._memory.items()},
            base=base,
        )
        return Mix(
            objective=result.objective_value() / self._scale,
            over=float(sum(values[v] for v in self._over)),
            shares=tuple(tuple(values[v] for v in picks) for picks in self._picks),
            prices=prices,
        )


def column_price(coupling: Coupling, g: int, column: Column, prices: Prices) -> float:
    """Return what a column of part g costs one member at given prices: the bound's inner term."""
    rows = coupling.parts[g].rows
    return (
        prices.base * column.cost
        + float(prices.rows[list(rows)] @ column.takes)
        + sum(prices.on.get((g, d), 0.0) for d in column.used)
        + sum(prices.weights.get((g, b), 0.0) * size for b, size in column.bundle_bytes.items())
        + sum(prices.memory.get(d, 0.0) * size for d, size in column.own_bytes.items())
    )
