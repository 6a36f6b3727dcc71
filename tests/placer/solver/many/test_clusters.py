from __future__ import annotations

import msgspec

from benchmarks.site_instances import site
from placer.index import ProblemIndex
from placer.solver.many.clusters import clusters
from placer.solver.many.coupling import couple
from placer.solver.many.parts import make_parts


def test_halls_that_share_nothing_are_clusters_of_their_own() -> None:
    parts = make_parts(ProblemIndex(site(110)))
    found = clusters(parts, couple(ProblemIndex(site(110)), parts))
    halls = [sorted(f for g in cluster for f in parts[g].members) for cluster in found]
    assert halls == [list(range(100)), list(range(100, 110))]


def test_a_cap_on_the_whole_site_joins_no_clusters() -> None:
    problem = site(110)
    limits = msgspec.structs.replace(problem.limits, power_w={"site": 1e6}, energy_w=1e5)
    index = ProblemIndex(msgspec.structs.replace(problem, limits=limits))
    parts = make_parts(index)
    assert len(clusters(parts, couple(index, parts))) == 2


def test_flows_with_nothing_in_common_are_alone() -> None:
    problem = site(40)
    flows = (problem.flows[0], problem.flows[39])
    own = {name: name for flow in flows for name in [flow.ops[0].options[0].device]}
    alone = tuple(
        msgspec.structs.replace(
            flow,
            ops=tuple(
                msgspec.structs.replace(op, options=tuple(o for o in op.options if o.device in own)) for op in flow.ops
            ),
        )
        for flow in flows
    )
    index = ProblemIndex(msgspec.structs.replace(problem, flows=alone))
    parts = make_parts(index)
    assert clusters(parts, couple(index, parts)) == [(0,), (1,)]
