from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.many.columns import make_column
from placer.solver.many.coupling import couple
from placer.solver.many.master import column_price
from placer.solver.many.parts import make_parts
from placer.solver.many.prices import Prices, no_prices, offset, priced
from tests.oracles.brute_force import all_evaluations
from tests.placer.solver.many.drawn import drawn_site

if TYPE_CHECKING:
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part


def _any_prices(coupling: Coupling, parts: tuple[Part, ...], rng: random.Random) -> Prices:
    def some() -> float:
        return rng.choice([0.0, rng.random(), 10 * rng.random()])

    return Prices(
        rows=np.array([some() / max(abs(c), 1e-3) for c in coupling.caps]),
        on={(g, d): some() for g, p in enumerate(parts) for d in p.devices if d in coupling.on_cost},
        weights={(g, b): some() * 1e-6 for b, bundle in enumerate(coupling.bundles) for g in bundle.parts},
        memory={d: some() * 1e-6 for d in coupling.crowded},
        base=rng.choice([1.0, 1.0, 0.0]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_bound_holds_at_any_prices(seed: int) -> None:
    problem = drawn_site(seed)
    index = ProblemIndex(problem)
    parts = make_parts(index)
    coupling = couple(index, parts)
    feasible = [e.objective for _, e in all_evaluations(problem) if e.feasible]
    best = min(feasible, default=math.inf)
    for prices in (no_prices(coupling), _any_prices(coupling, parts, random.Random(seed))):
        minima = []
        for g, part in enumerate(parts):
            own = priced(part, coupling.parts[g], g, prices)
            every = [evaluate(own, (c,)) for c in itertools.product(*(range(len(o)) for o in part.flow.options))]
            minima.append(min((e.objective for e in every if e.feasible), default=math.inf))
        value = sum(p.count * z for p, z in zip(parts, minima, strict=True))
        value += offset(coupling, tuple(p.count for p in parts), prices)
        target = best if prices.base else 0.0 if feasible else math.inf
        assert value <= target * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_a_priced_problem_never_charges_more_than_the_column_is_charged(seed: int) -> None:
    rng = random.Random(seed)
    index = ProblemIndex(drawn_site(seed))
    parts = make_parts(index)
    coupling = couple(index, parts)
    prices = _any_prices(coupling, parts, rng)
    for g, part in enumerate(parts):
        own = priced(part, coupling.parts[g], g, prices)
        for _ in range(10):
            choice = tuple(rng.randrange(len(o)) for o in part.flow.options)
            column = make_column(part, coupling.parts[g], choice)
            charged = evaluate(own, (choice,)).objective
            assert charged <= column_price(coupling, g, column, prices) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("seed", range(40))
def test_columns_add_up_to_the_whole_plan(seed: int) -> None:
    rng = random.Random(seed)
    index = ProblemIndex(drawn_site(seed))
    parts = make_parts(index)
    coupling = couple(index, parts)
    choices: list[tuple[int, ...]] = [()] * len(index.flows)
    total, used = 0.0, set()
    for g, part in enumerate(parts):
        for f in part.members:
            choices[f] = tuple(rng.randrange(len(o)) for o in part.flow.options)
            column = make_column(part, coupling.parts[g], choices[f])
            total += column.cost
            used |= column.used
    total += sum(cost for d, cost in coupling.on_cost.items() if d in used)
    assert total == pytest.approx(evaluate(index, choices).objective, rel=1e-12)
