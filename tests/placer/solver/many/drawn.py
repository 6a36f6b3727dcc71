"""Random small sites with everything that ties flows together, for tests that enumerate."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.objective import TOTALS
from placer.problem import Problem
from tests.oracles.brute_force import with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placer.problem import Flow, Objective


def drawn_site(seed: int) -> Problem:
    """Two or three flows on two or three devices; some share weights, some are equal, some totals are capped."""
    rng = random.Random(seed)
    flows = rng.choice([2, 2, 3])
    problem = random_problem(
        seed,
        devices=rng.choice([2, 3]),
        ops=2 if flows == 3 else 3,
        flows=flows,
        modes=rng.choice([1, 1, 2]) if flows == 2 else 1,
        shares=rng.random() < 0.4,
    )
    if rng.random() < 0.4:
        problem = msgspec.structs.replace(problem, flows=tuple(_twins(problem, rng)))
    if rng.random() < 0.8:
        problem = with_caps(problem, rng)
    return problem


def _twins(problem: Problem, rng: random.Random) -> Iterator[Flow]:
    """The first flow, again under other names."""
    first = problem.flows[0]
    for i, flow in enumerate(problem.flows):
        yield flow if i == 0 or rng.random() < 0.3 else msgspec.structs.replace(first, name=flow.name)


def capped_site(seed: int) -> Problem:
    """A drawn site that minimizes joules, carbon or cost, with caps on totals and on the site's power that bite."""
    rng = random.Random(seed)
    problem = drawn_site(seed)
    figures = (0.0, 1e-4, 1e-4, 3e-3)
    problem = msgspec.structs.replace(
        problem,
        devices=tuple(
            msgspec.structs.replace(d, carbon_g_per_j=rng.choice(figures), cost_per_j=rng.choice(figures))
            for d in problem.devices
        ),
        links=tuple(
            msgspec.structs.replace(k, carbon_g_per_j=rng.choice(figures), cost_per_j=rng.choice(figures))
            for k in problem.links
        ),
    )
    caps = {field: _reached(problem, objective, rng) for field, objective in TOTALS.items() if rng.random() < 0.4}
    power_w = dict(problem.limits.power_w)
    if rng.random() < 0.4:
        power_w["site"] = _reached(problem, "energy_j", rng)
    objective: Objective = rng.choice(("energy_j", "energy_j", "carbon_g", "cost"))
    limits = msgspec.structs.replace(problem.limits, power_w=power_w, **caps)
    return msgspec.structs.replace(problem, objective=objective, limits=limits)


def _reached(problem: Problem, objective: Objective, rng: random.Random) -> float:
    """A total that some choice of the site reaches, mostly a low one."""
    index = ProblemIndex(msgspec.structs.replace(problem, objective=objective))
    drawn = [tuple(tuple(rng.randrange(len(o)) for o in flow.options) for flow in index.flows) for _ in range(40)]
    return sorted(evaluate(index, choices).objective for choices in drawn)[rng.choice([0, 2, 5, 10])]


def apart(seed: int) -> Problem:
    """Two drawn flows on two devices each, which share nothing but a cap on the site's joules per second."""
    first, second = (random_problem(2 * seed + k, devices=2, ops=3, flows=1) for k in (0, 1))

    def renamed(name: str) -> str:
        return f"{name}-b"

    devices = tuple(msgspec.structs.replace(d, name=renamed(d.name)) for d in second.devices)
    links = tuple(
        msgspec.structs.replace(
            k,
            source=renamed(k.source),
            target=renamed(k.target),
            medium=None if k.medium is None else renamed(k.medium),
        )
        for k in second.links
    )
    flows = tuple(
        msgspec.structs.replace(
            f,
            name=renamed(f.name),
            ops=tuple(
                msgspec.structs.replace(
                    op,
                    weights_id=None if op.weights_id is None else renamed(op.weights_id),
                    options=tuple(msgspec.structs.replace(o, device=renamed(o.device)) for o in op.options),
                )
                for op in f.ops
            ),
            tensors=tuple(msgspec.structs.replace(t, not_on=tuple(map(renamed, t.not_on))) for t in f.tensors),
        )
        for f in second.flows
    )
    problem = Problem(
        devices=first.devices + devices, links=first.links + links, flows=first.flows + flows, limits=first.limits
    )
    rng = random.Random(seed)
    return msgspec.structs.replace(
        problem, limits=msgspec.structs.replace(problem.limits, energy_w=_reached(problem, "energy_j", rng))
    )
