"""The parts of the bound against every choice of small problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from placer.index import ProblemIndex
from placer.solver.exact.bound import Bound, Bounder
from placer.solver.exact.choices import ChoiceFinder
from placer.solver.exact.measure import BlockMeter
from placer.solver.exact.numbers import FlowNumbers, build_numbers
from placer.solver.exact.prices import Room
from placer.solver.exact.sharpen import sharpen
from placer.solver.exact.structure import NOWHERE
from tests.oracles.brute_force import all_evaluations
from tests.placer.solver.exact.drawn import drawn_problem, odd_drawn_problem, paused_drawn_problem

if TYPE_CHECKING:
    from placer.evaluate import Evaluation
    from placer.problem import Problem
    from placer.solver.exact.rows import Array

PROBLEMS = [
    *(drawn_problem(seed) for seed in range(24)),
    *(p for seed in range(40) if (p := odd_drawn_problem(seed)) is not None),
    *(p for seed in range(100, 140) if (p := paused_drawn_problem(seed)) is not None),
]


class Parts:
    """A flow, its bounder, and what every allowed choice adds by block and by joint."""

    def __init__(self, problem: Problem) -> None:
        self.index = ProblemIndex(problem)
        self.numbers: FlowNumbers = build_numbers(self.index, self.index.flows[0])
        self.bounder = Bounder(self.numbers)
        n = self.numbers
        self.room = Room(n.available, np.ones(len(self.index.links), dtype=bool))
        meters = [BlockMeter(n, b) for b in self.bounder.blocks]
        at = {place: p for p, place in enumerate(n.places)}
        self.choices: list[tuple[Evaluation, Array, list[tuple[int, int, Array]]]] = []
        for (choice,), judged in all_evaluations(problem):
            chosen = [n.flow.options[v][o] for v, o in enumerate(choice)]
            places = [at[o.device, o.mode] for o in chosen]
            if judged.flows[0].layout.forbidden or not all(n.available[v, p] for v, p in enumerate(places)):
                continue
            blocks = []
            total = np.zeros(n.rows.count)
            for b, meter in zip(self.bounder.blocks, meters, strict=True):
                a = NOWHERE if b.entry == NOWHERE else places[b.entry]
                z = NOWHERE if b.exit == NOWHERE else places[b.exit]
                rows = meter.rows(a, [places[v] for v in b.inner], z)
                assert rows is not None
                blocks.append((a, z, rows))
                total += rows
            for i, v in enumerate(self.bounder.joints):
                if v != NOWHERE:
                    p = places[v]
                    total += n.op_rows[v, p] + n.rows.latency * n.seconds[v, p]
                    if i == 0 and not n.flow.is_endpoint[v]:
                        total += n.flow.share[v] * n.segment_share_rows[p] + n.segment_busy_rows[p]
                        total += n.rows.latency * n.segment_s[p]
            self.choices.append((judged, total, blocks))

    def bounds(self, seed: int) -> list[Bound]:
        """Bounds at a few multipliers: the objective alone, and random prices on the limits."""
        rows = self.numbers.rows.count
        rng = np.random.default_rng(seed)
        drawn = [np.append([1.0], rng.exponential(1.0, rows - 1) * (rng.random(rows - 1) < 0.5)) for _ in range(2)]
        return [self.bounder.at(self.room, m, np.zeros(rows)) for m in (np.eye(rows)[0], *drawn)]


@pytest.fixture(scope="module", params=range(len(PROBLEMS)))
def parts(request: pytest.FixtureRequest) -> Parts:
    return Parts(PROBLEMS[request.param])


def test_blocks_and_joints_add_up_to_the_whole(parts: Parts) -> None:
    """The makespan, and with it every row, is a sum over blocks: what the whole solver stands on."""
    n = parts.numbers
    for judged, total, _ in parts.choices:
        rows = total.copy()
        rows += sum((n.rows.idle_rows[d] for d, w in enumerate(judged.idle_w) if w > 0), np.zeros(len(rows)))
        used = {x.link for x in judged.flows[0].layout.transfers}
        rows += sum((n.rows.tail_rows[k] for k in used), np.zeros(len(rows)))
        shares = {n.flow.share[v] for v in range(n.flow.size)}
        if len(shares) == 1:
            assert rows[0] == pytest.approx(judged.objective, rel=1e-9, abs=1e-15)
        else:
            # A segment over several blocks may count for more than its share at the entry.
            assert rows[0] <= judged.objective * (1 + 1e-9) + 1e-15
        (r,) = np.flatnonzero(n.rows.paused) if n.rows.paused.any() else (None,)
        paused = judged.flows[0].paused
        if r is not None and paused is not None:
            assert rows[r] == pytest.approx(paused.latency_s, rel=1e-9, abs=1e-15)
        if judged.feasible:
            assert (rows <= n.rows.limit).all()


def test_no_block_costs_less_than_its_bound(parts: Parts) -> None:
    count = len(parts.numbers.places)
    for bound in parts.bounds(1):
        for _, _, blocks in parts.choices:
            for i, (a, z, rows) in enumerate(blocks):
                low = bound.blocks[i, a if a != NOWHERE else count, z if z != NOWHERE else count]
                price = float(rows @ bound.multipliers)
                assert low <= price + 1e-9 * max(1.0, abs(price))


def test_listed_choices_are_the_best_of_each_block(parts: Parts) -> None:
    """Up to a price, whatever is not listed is no better than something listed, in every row."""
    n = parts.numbers
    finder = ChoiceFinder(parts.bounder)
    # Seconds weigh most, so that ways side by side are among the best.
    heavy = np.where(n.rows.latency > 0, 100.0, 0.01)
    bound = parts.bounder.at(parts.room, heavy, np.zeros(n.rows.count))
    count = len(n.places)
    for i in range(len(parts.bounder.blocks)):
        met = {(blocks[i][0], blocks[i][1]) for _, _, blocks in parts.choices}
        for a, z in met:
            true = np.array([b[i][2] for _, _, b in parts.choices if (b[i][0], b[i][1]) == (a, z)])
            prices = true @ bound.multipliers
            limit = float(np.median(prices)) + 1e-9
            finder.budget = 10**6
            listed = finder.find(bound, i, a if a != NOWHERE else count, z if z != NOWHERE else count, limit)
            assert listed.complete
            for listed_rows, places in zip(listed.rows, listed.places, strict=True):
                measured = finder.meter(i).rows(a, places, z)
                assert measured is not None
                assert listed_rows == pytest.approx(measured, rel=1e-9, abs=1e-12)
            for rows in true[prices <= limit - 2e-9]:
                slack = 1e-9 * np.maximum(1.0, np.abs(rows))
                assert (listed.rows <= rows + slack).all(axis=1).any()


def test_sharpened_bounds_stay_below_every_choice(parts: Parts) -> None:
    finder = ChoiceFinder(parts.bounder)
    for bound in parts.bounds(3):
        if not np.isfinite(bound.value):
            continue
        closer = sharpen(bound, finder, np.inf, abs(bound.value) + 1.0, lambda: False)
        assert closer.value >= bound.value
        for _, total, _ in parts.choices:
            price = float(total @ bound.multipliers) + bound.offset
            assert closer.value <= price + 1e-8 * max(1.0, abs(price), abs(bound.offset))
