"""The bound of queues against every plan of small sites, at any prices and however low the parts' floors are."""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest

from benchmarks.site_instances import site
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.many import queues
from placer.solver.many.answers import solve_alone
from placer.solver.many.best import Best
from placer.solver.many.columns import make_column
from placer.solver.many.coupling import couple
from placer.solver.many.integer import stock_of
from placer.solver.many.parts import make_parts
from placer.solver.many.pool import Pool
from placer.solver.many.prices import Prices, offset, priced
from placer.solver.many.pricing import Pricing
from placer.solver.many.queues import Queues
from placer.solver.many.solve import solve_flows
from tests.oracles.bad_scales import stretched
from tests.oracles.brute_force import all_evaluations
from tests.placer.solver.many.drawn import capped_site, drawn_site


def _check(problem: Problem, seed: int) -> bool:
    """Lift the bound of a small site from the dearest plan; tell whether that raised it."""
    plans = sorted((e.objective, choices) for choices, e in all_evaluations(problem) if e.feasible)
    if not plans or plans[-1][0] <= 0:
        return False
    rng = random.Random(seed)
    index = ProblemIndex(problem)
    parts = make_parts(index)
    coupling = couple(index, parts)

    def some(cap: float) -> float:
        return rng.choice([0.0, 0.1, 0.5, 1.0]) * plans[-1][0] / max(abs(cap), 1e-12)

    on = {(g, d): w for g, p in enumerate(parts) for d, w in coupling.on_cost.items() if d in p.devices}
    prices = Prices(
        rows=np.array([some(cap) for cap in coupling.caps]),
        on={(g, d): rng.random() * w / parts[g].count for (g, d), w in on.items()},
        weights={},
        memory={},
    )
    least = [solve_alone(priced(p, coupling.parts[g], g, prices), 60.0) for g, p in enumerate(parts)]
    if not all(np.isfinite(answer.bound) for answer in least):
        return False
    floors = [answer.bound * rng.choice([1.0, 1.0, 0.9]) for answer in least]
    counts = tuple(p.count for p in parts)
    bound = sum(c * low for c, low in zip(counts, floors, strict=True)) + offset(coupling, counts, prices)
    best = Best(index, gap=0.0, started_s=time.monotonic(), time_limit_s=600.0, progress=None)
    pool = Pool(parts, coupling)
    pool.begin()
    dearest = plans[-1][1]
    picks = [[make_column(part, coupling.parts[g], dearest[f]) for f in part.members] for g, part in enumerate(parts)]
    best.offer(parts, stock_of(parts, coupling, picks))
    if best.objective == np.inf:
        # The plan fills a cap to its last digit, which is not offered.
        return False
    with Pricing(parts, coupling, 1) as pricing:
        Queues(pool, best, pricing).lift(prices, floors, bound, 0.0)
    assert best.bound <= plans[0][0] * (1 + 1e-9)
    return best.bound > max(bound, 0.0) + 1e-6 * plans[0][0]


def _crowded(seed: int) -> Problem:
    """Three cameras that would all like to send over one radio, and to use one server, which hold two of them or so."""
    rng = random.Random(seed)
    time_, energy = 10.0 ** rng.choice([-6, 0, 0, 0, 3]), 10.0 ** rng.choice([-6, 0, 0, 3])

    def number() -> float:
        return float(rng.randrange(1, 5)) if seed % 2 else rng.uniform(0.5, 5.0)

    cameras = [f"camera-{i}" for i in range(3)]
    devices = [Device(name=name, tier="sensor", idle_w=1.0) for name in cameras]
    devices.append(
        Device(
            name="server",
            tier="cloud",
            idle_w=energy / time_ * number(),
            always_on=rng.random() < 0.7,
            max_utilization=rng.choice([1.0, 0.5]),
            segment_s=0.02 * time_ * number(),
        )
    )
    links = [
        Link(
            source=a,
            target=b,
            medium="air",
            latency_s=0.0,
            bytes_per_s=100.0 / time_,
            energy_j_per_byte=0.01 * energy * number(),
            max_utilization=rng.choice([0.3, 0.5, 0.7]),
        )
        for name in cameras
        for a, b in ((name, "server"), ("server", name))
    ]
    flows = []
    for i, name in enumerate(cameras):
        io = (Option(device=name, mode="io", seconds=0.0, joules=0.0),)
        ops = [Op(name="source", options=io)]
        for k in range(2):
            seconds, joules = 0.1 * time_ * number(), energy * number()
            ops.append(
                Op(
                    name=f"op{k}",
                    options=(
                        Option(device=name, mode="m", seconds=seconds, joules=4 * joules),
                        Option(device="server", mode="m", seconds=0.3 * seconds, joules=joules * rng.random()),
                    ),
                )
            )
        ops.append(Op(name="sink", options=io))
        names = [op.name for op in ops]
        tensors = tuple(
            Tensor(name=f"t{k}", bytes=5.0 * number(), producer=a, consumers=(b,))
            for k, (a, b) in enumerate(itertools.pairwise(names))
        )
        flows.append(Flow(name=f"flow-{i}", rate_hz=0.4 * number() / time_, ops=tuple(ops), tensors=tensors))
    return Problem(devices=tuple(devices), links=tuple(links), flows=tuple(flows))


def test_the_lifted_bound_holds_where_a_queue_is_crowded() -> None:
    assert sum(_check(_crowded(seed), seed) for seed in range(40)) >= 10


def test_the_lifted_bound_holds_where_fronts_reach_less_than_was_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "_SHARES", (0.3,))
    assert sum(_check(_crowded(seed), seed) for seed in range(40)) >= 10


def test_the_lifted_bound_holds_on_small_sites() -> None:
    for seed in range(8):
        _check(drawn_site(seed), seed)


def test_the_lifted_bound_holds_under_caps_on_the_whole_site() -> None:
    for seed in range(8):
        _check(capped_site(seed), seed)


def test_the_lifted_bound_holds_on_badly_scaled_sites() -> None:
    for seed in range(8):
        _check(stretched(drawn_site(seed), random.Random(seed)), seed)


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 1500, 50))
def test_the_lifted_bound_holds_on_many_small_sites(start: int) -> None:
    for seed in range(start, start + 50):
        _check(_crowded(seed), seed)
        _check(drawn_site(seed), seed)
        _check(capped_site(seed), seed)
        _check(stretched(drawn_site(seed), random.Random(seed)), seed)


@pytest.mark.long
def test_a_group_of_cameras_is_proven_closer_than_prices_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    def proven() -> float:
        gap = solve_flows(ProblemIndex(site(20)), gap=1e-3, time_limit_s=300, processes=1).gap
        assert gap is not None
        return gap

    whole = proven()
    monkeypatch.setattr(Queues, "lift", lambda *_: None)
    # 0.14 % and 0.36 %.
    assert whole <= 0.5 * proven()
