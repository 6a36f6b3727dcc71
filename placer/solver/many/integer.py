"""From a mix of columns to a plan: the integer master problem, then single flows moved where that helps.

Nothing here is believed: what it returns is evaluated as a whole before it counts.
"""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING

from ortools.math_opt.python import mathopt

from placer.solver.in_thread import solve_in_thread
from placer.solver.many.stock import Stock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.many.columns import Column
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part

_TIGHT = 1e-7
"""Relative tightening of caps: the MILP solver's tolerances are wider than the referee's."""
_SWEEPS = 20


def weight_sizes(parts: Sequence[Part]) -> dict[str, float]:
    """Bytes of each weights_id of a site."""
    return {op.weights_id: op.weights_bytes for part in parts for op in part.flow.flow.ops if op.weights_id is not None}


def pick_columns(
    stock: Stock,
    cluster: Sequence[int],
    columns: Sequence[Sequence[Column]],
    *,
    gap: float,
    seed: int,
    time_limit_s: float,
) -> list[list[Column]] | None:
    """Choose columns for some parts so that everything shared suffices, at least cost: a MILP over the columns given.

    Parameters
    ----------
    stock
        A plan of the whole site. Its other parts share nothing with these but caps on the site as a whole, of which
        they keep what they hold.
    cluster
        Positions of the parts that choose.
    columns
        For each of them the columns to choose from; those that are not allowed are passed over.
    gap
        Relative gap at which the MILP solver may end.
    seed, time_limit_s
        Of the MILP solver.

    Returns
    -------
    list of list of Column or None
        For each part of the cluster one column per member, or None if none was found.
    """
    parts, coupling = [stock.parts[g] for g in cluster], stock.coupling
    near = {d for part in parts for d, private in zip(part.devices, part.private, strict=True) if not private}
    touched = sorted({r for g in cluster for r in coupling.parts[g].rows})
    left = {r: float(coupling.caps[r]) - _TIGHT * abs(float(coupling.caps[r])) for r in touched}
    for r in coupling.wide & left.keys():
        own = sum(_amount(coupling, g, r, column) for g in cluster for column in stock.picks[g])
        own += sum(
            w for d in near & coupling.on_rows.keys() if stock.users[d] for k, w in coupling.on_rows[d] if k == r
        )
        # Where the others exceed the cap alone, these must not add to it.
        left[r] = max(left[r] - (float(stock.load[r]) - own), min(own, left[r]))
    model = mathopt.Model(name="integer master")
    units = {r: abs(float(coupling.caps[r])) if abs(coupling.caps[r]) > 1e-12 else 1.0 for r in touched}
    rows = {r: model.add_linear_constraint(ub=cap / units[r]) for r, cap in left.items()}
    on = {d: model.add_variable(lb=0.0, ub=1.0, is_integer=True) for d in coupling.switched if d in near}
    for d, variable in on.items():
        model.objective.set_linear_coefficient(variable, coupling.on_cost[d])
        for r, weight in coupling.on_rows[d]:
            rows[r].set_coefficient(variable, weight / units[r])
    memory = {d: model.add_linear_constraint(ub=1.0 - _TIGHT) for d in coupling.crowded if d in near}
    work = {d: model.add_variable(lb=0.0) for d in memory}
    for d, row in memory.items():
        row.set_coefficient(work[d], 1.0)
    picks: list[list[tuple[Column, mathopt.Variable]]] = []
    holders: dict[tuple[int, str], list[tuple[int, int]]] = {}
    taken: dict[int, list[mathopt.Variable]] = {}
    for g, part, some in zip(cluster, parts, columns, strict=True):
        allowed = [column for column in some if column.allowed]
        if not allowed:
            return None
        xs = [model.add_variable(lb=0.0, ub=part.count, is_integer=True) for _ in allowed]
        picks.append(list(zip(allowed, xs, strict=True)))
        model.add_linear_constraint(mathopt.LinearSum(xs) == part.count)
        # Whether any member takes a column: for a single member that is the column itself.
        zs = xs if part.count == 1 else [model.add_variable(lb=0.0, ub=1.0, is_integer=True) for _ in allowed]
        taken[g] = zs
        for k, (column, x, z) in enumerate(zip(allowed, xs, zs, strict=True)):
            model.objective.set_linear_coefficient(x, column.cost)
            if z is not x:
                model.add_linear_constraint(x <= part.count * z)
            for r, amount in zip(coupling.parts[g].rows, column.takes, strict=True):
                if amount:
                    rows[r].set_coefficient(x, amount / units[r])
            for d, size in column.own_bytes.items():
                memory[d].set_coefficient(x, size / (coupling.crowded[d] or 1.0))
            for key in sorted(column.held):
                holders.setdefault(key, []).append((g, k))
            for d in column.workspace_bytes:
                unit = coupling.crowded[d] or 1.0
                model.add_linear_constraint(work[d] >= column.workspace_bytes[d] / unit * z)
        for d in on:
            users = [z for column, z in zip(allowed, zs, strict=True) if d in column.used]
            if len(users) > 1 and part.count == 1:
                model.add_linear_constraint(mathopt.LinearSum(users) <= on[d])
            else:
                for z in users:
                    model.add_linear_constraint(z <= on[d])
    _hold(model, memory, holders, taken, coupling, stock.sizes)
    values = _solve(model, gap, seed, time_limit_s)
    if values is None:
        return None
    found = []
    for part, some_picks in zip(parts, picks, strict=True):
        chosen = [column for column, x in some_picks for _ in range(round(values[x]))]
        if len(chosen) != part.count:
            return None
        found.append(chosen)
    return found


def _amount(coupling: Coupling, g: int, r: int, column: Column) -> float:
    """Return what a column of part g takes of a row."""
    return float(column.takes[coupling.parts[g].rows.index(r)])


def _hold(
    model: mathopt.Model,
    memory: dict[int, mathopt.LinearConstraint],
    holders: dict[tuple[int, str], list[tuple[int, int]]],
    taken: dict[int, list[mathopt.Variable]],
    coupling: Coupling,
    sizes: dict[str, float],
) -> None:
    """W_d,i >= z_gk for weights i that column k of part g holds on d; weights held by the same columns are one."""
    together: dict[tuple[int, tuple[tuple[int, int], ...]], float] = {}
    for (d, name), who in holders.items():
        key = (d, tuple(who))
        together[key] = together.get(key, 0.0) + sizes[name]
    for (d, columns), size in together.items():
        if size <= 0:
            continue
        held = model.add_variable(lb=0.0, ub=1.0)
        memory[d].set_coefficient(held, size / (coupling.crowded[d] or 1.0))
        for g, k in columns:
            model.add_linear_constraint(held >= taken[g][k])


def _solve(model: mathopt.Model, gap: float, seed: int, time_limit_s: float) -> dict[mathopt.Variable, float] | None:
    """Solve a master of whole numbers; None where no pick was found."""
    parameters = mathopt.SolveParameters(
        relative_gap_tolerance=gap,
        random_seed=seed,
        time_limit=datetime.timedelta(seconds=max(0.1, time_limit_s)),
    )
    try:
        result = solve_in_thread(model, mathopt.SolverType.HIGHS, parameters)
    except Exception:
        # HiGHS 1.12 ends some models with an error, and what MathOpt makes of that varies.
        return None
    return dict(result.variable_values()) if result.has_primal_feasible_solution() else None


def stock_of(parts: Sequence[Part], coupling: Coupling, picks: Sequence[Sequence[Column]]) -> Stock:
    """Count up what a pick of columns takes."""
    stock = Stock(parts, coupling, weight_sizes(parts))
    for g, chosen in enumerate(picks):
        for column in chosen:
            stock.put(g, column)
        stock.picks[g] = list(chosen)
    return stock


def improve(stock: Stock, columns: Sequence[Sequence[Column]], until_s: float) -> None:
    """Move single members to better columns, first to keep every cap, then for less cost, until nothing moves."""
    for _ in range(_SWEEPS):
        moved = False
        for g, member in stock.members():
            if time.monotonic() > until_s:
                return
            moved |= stock.step(g, member, columns[g])
        if not moved:
            return
