from __future__ import annotations

import msgspec

from benchmarks.site_instances import site
from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex
from placer.solver.many.coupling import couple
from placer.solver.many.parts import make_parts
from placer.solver.many.prices import no_prices
from placer.solver.many.pricing import Pricing


def test_flows_that_differ_in_their_camera_alone_are_one_part() -> None:
    index = ProblemIndex(site(60, alike=True))
    parts = make_parts(index)
    assert len(parts) < 60
    assert sorted(f for part in parts for f in part.members) == list(range(60))
    for part in parts:
        choice = tuple(len(options) - 1 for options in part.flow.options)
        costs = {evaluate_flow(index, index.flows[f], choice).energy_j for f in part.members}
        assert len(costs) == 1


def test_different_rates_radios_and_limits_make_different_parts() -> None:
    problem = site(40, alike=True)
    members = max(make_parts(ProblemIndex(problem)), key=lambda part: part.count).members
    name = problem.flows[members[1]].name
    for cap in ({"flow_energy_j": {name: 5.0}}, {"deadline_after_pauses_s": {name: 5.0}}):
        limits = msgspec.structs.replace(problem.limits, **cap)
        parts = make_parts(ProblemIndex(msgspec.structs.replace(problem, limits=limits)))
        assert next(part.members for part in parts if members[1] in part.members) == (members[1],)


def test_what_one_flow_alone_can_use_is_private() -> None:
    index = ProblemIndex(site(3))
    for part in make_parts(index):
        private = [index.devices[d].name for d, own in zip(part.devices, part.private, strict=True) if own]
        assert private == [f"camera-{part.members[0]}"]


def test_answers_do_not_depend_on_the_number_of_processes() -> None:
    index = ProblemIndex(site(6))
    parts = make_parts(index)
    coupling = couple(index, parts)
    found = []
    for processes in (1, 2):
        with Pricing(parts, coupling, processes) as pricing:
            found.append(pricing.price(range(6), no_prices(coupling), float("inf")))
    assert found[0] == found[1]
