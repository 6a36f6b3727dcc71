from __future__ import annotations

import itertools

import pytest

from benchmarks.site_instances import site
from placer.index import ProblemIndex
from placer.solver.many.parts import make_parts
from placer.solver.many.prefixes import prefixes


@pytest.mark.parametrize("number", range(5))
def test_each_prefix_sends_less_than_the_shorter_ones(number: int) -> None:
    part = make_parts(ProblemIndex(site(5)))[number]
    flow = part.flow
    (home,) = flow.source_devices
    away = next(i for i in range(len(part.devices)) if i != home)
    sent = []
    for choice in prefixes(flow, [away]):
        at = [options[o].device for options, o in zip(flow.options, choice, strict=True)]
        here = {v for v in range(flow.size) if at[v] == home and not flow.is_sink[v]}
        assert all(set(flow.predecessors[v]) <= here for v in here)
        sent.append(
            sum(
                t.bytes
                for t in flow.tensors
                if t.producer in here and any(c not in here and not flow.is_sink[c] for c in t.consumers)
            )
        )
    assert len(sent) > 1
    assert all(a > b for a, b in itertools.pairwise(sent)) or sent[-1] == 0.0


def test_a_flow_that_no_single_device_can_run_has_none() -> None:
    part = make_parts(ProblemIndex(site(1)))[0]
    assert list(prefixes(part.flow, [])) == []
