from types import SimpleNamespace

import pytest

from benchmarks.cut_times import CutTimes
from benchmarks.unseen_cuts import Errors, errors_of, own_models, predict, rows, spread
from profiles import Figure
from profiles.op_costs import KindCost, ModelCost, OpCosts


def profile_of(graph, *, whole_s: float) -> SimpleNamespace:
    """Return what a prediction reads of a profile: each op a second, 10 s to start, no seconds for bytes."""
    costs = OpCosts(
        source="here",
        s_per_boundary_byte=0.0,
        models=(
            ModelCost(name="m", sha256="", inputs={}, seconds={op.name: 1.0 for op in graph.ops}, relative_error=0),
        ),
        kinds=(KindCost(kind="any", base_s=0, s_per_mac=0, s_per_byte=0),),
    )
    start = Figure(value=10.0, source="here", origin="fitted")
    whole = SimpleNamespace(seconds=Figure(value=whole_s, source="here", origin="measured"))
    return SimpleNamespace(modes=(SimpleNamespace(op_costs=costs, segment_s=start),), benchmarks=(whole,))


def test_each_prediction_uses_what_it_may():
    *_, graph = own_models()
    count = len(graph.ops)
    cut = ((0, 4), (4, count))
    earlier = CutTimes(chain=(5.0, 25.0), again=(99.0, 99.0), alone=(5.0, 31.0), whole_s=99.0)
    now = CutTimes(chain=(10.0, 30.0), again=(10.0, 32.0), alone=(11.0, 31.0), whole_s=24.0)
    known = SimpleNamespace(
        graph=graph, cuts=[cut], profile=profile_of(graph, whole_s=12.0), call_s=6.0, times=[earlier]
    )
    assert predict(known.profile, graph, (0, 4)) == 14.0
    found = errors_of(known, [now])
    assert found.ops == [pytest.approx((count + 20) / 40 - 1)]
    assert found.ops_beside == [pytest.approx((count + 20) * 2 / 40 - 1)]
    assert found.segments == [pytest.approx(30 / 40 - 1)]
    assert found.segments_beside == [pytest.approx(36 / 40 - 1)]
    assert found.machine == [pytest.approx(30 / 40 - 1)]
    assert found.machine_beside == [pytest.approx(42 / 40 - 1)]


def test_errors_are_shown_as_sizes_in_percent():
    assert spread([-0.1] * 9 + [0.2]) == "11.0 / 10.0 / 19.0"
    errors = [0.1, -0.3]
    found = Errors(
        ops=errors, segments=errors, machine=errors, ops_beside=errors, segments_beside=errors, machine_beside=[0.1] * 2
    )
    shown = rows([("m", found)])
    assert shown[-1] == "| mean of the models' means | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 | 10.0 |"
    assert len({line.count("|") for line in shown}) == 1
