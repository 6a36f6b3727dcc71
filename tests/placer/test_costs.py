import math
from dataclasses import replace

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from placer.costs import Cost, CostTable, busy, cost_table, fitted, measured, profiled
from placer.errors import ProblemError
from placer.models.read_onnx import read_onnx
from profiles import Device, DeviceProfile, Figure, Mode
from profiles.op_costs import ANY_KIND, KindCost, ModelCost, OpCosts


def figure(value, origin="measured", uncertainty=None, source="paper"):
    return Figure(value=value, source=source, origin=origin, relative_uncertainty=uncertainty)


def device(name="box", numerics=("fp32",), *, idle_w=2.0, pue=1.0, costs="profile", rate=None, power="measured"):
    modes = tuple(
        Mode(
            name=f"cpu{place}-{numeric}",
            numeric=numeric,
            active_w=figure(10.0, origin=power, uncertainty=0.04, source="meter"),
            segment_s=figure(0.001),
            s_per_mac=rate or figure(1e-9, uncertainty=0.03),
        )
        for place, numeric in enumerate(numerics)
    )
    profile = DeviceProfile(id=name, name=name, tier="edge", boundary="board", idle_w=figure(idle_w), modes=modes)
    return Device(
        name=name,
        profile=profile,
        zone="floor",
        tier="edge",
        boundary="board",
        idle_w=figure(idle_w),
        wait_w=None,
        memory_bytes=None,
        always_on=True,
        pue=pue,
        costs=costs,
        modes=modes,
    )


@pytest.fixture(scope="module")
def graph(small):
    return read_onnx(small("if_captures"))


def test_fitted_seconds_are_per_mac_and_joules_above_idle_with_pue(graph):
    table = fitted(graph, device(pue=1.5))
    cost = table.cost("y0", "box", "cpu0-fp32")
    assert cost.seconds == pytest.approx(24e-9)  # the segment's own seconds are not in it
    assert cost.joules == pytest.approx((10 - 2) * 24e-9 * 1.5)
    assert (cost.origin, cost.source) == ("fitted", "paper, meter")
    assert cost.relative_uncertainty == pytest.approx(0.05)
    assert table.cost("y", "box", "cpu0-fp32").seconds == 0


def test_what_multiplies_nothing_runs_in_any_mode_where_none_is_of_its_format(tmp_path):
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("ArgMax", ["x"], ["y"], "largest", axis=1)], "g",
        [info("x", TensorProto.FLOAT, (1, 10))], [info("y", TensorProto.INT64, (1, 1))],
    )  # fmt: skip
    path = tmp_path / "argmax.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    graph = read_onnx(path)
    assert graph.macs == 0
    table = cost_table(graph, [device("two", ("fp32", "int8")), device("own", ("fp32", graph.numeric))])
    assert set(table.rows) == {
        ("largest", "two", "cpu0-fp32"), ("largest", "two", "cpu1-int8"), ("largest", "own", f"cpu1-{graph.numeric}"),
    }  # fmt: skip


def test_an_accelerator_takes_the_power_of_the_whole_model_s_rate(graph):
    box = device()
    (mode,) = box.modes
    mode = msgspec.structs.replace(mode, mac_per_s=figure(1e6), power_exponent=figure(0.1))
    cost = fitted(graph, msgspec.structs.replace(box, modes=(mode,))).cost("y0", "box", "cpu0-fp32")
    macs = sum(op.macs for op in graph.ops)
    power_w = 10 * (macs / (0.001 + 1e-9 * macs) / 1e6) ** 0.1
    assert cost.joules == pytest.approx((power_w - 2) * 24e-9)
    assert 2 < power_w < 10


def test_what_multiplies_nothing_takes_an_accelerator_s_own_power(graph):
    box = device()
    (mode,) = box.modes
    mode = msgspec.structs.replace(mode, mac_per_s=figure(1e6), power_exponent=figure(0.1))
    still = replace(graph, ops=tuple(replace(op, macs=0) for op in graph.ops))
    assert busy(still, box, mode, 1.0) == mode


def test_a_declared_rate_stays_declared(graph):
    rate = figure(1e-9, origin="declared", source="site.yaml")
    cost = fitted(graph, device(rate=rate)).cost("y0", "box", "cpu0-fp32")
    assert (cost.origin, cost.source) == ("declared", "site.yaml, meter, paper")


def test_joules_of_declared_watts_are_declared_however_well_the_seconds_are_known(graph):
    for costs in ("profile", "measured"):
        table = cost_table(graph, [device(costs=costs, power="declared")], runs=3)
        assert table.cost("y0", "box", "cpu0-fp32").origin == "declared"
    idle = msgspec.structs.replace(device(), idle_w=figure(2.0, origin="declared"))
    assert fitted(graph, idle).cost("y0", "box", "cpu0-fp32").origin == "declared"
    assert fitted(graph, device(power="spec")).cost("y0", "box", "cpu0-fp32").origin == "spec"


def test_every_fitting_mode_is_an_option_and_no_other(graph):
    table = cost_table(graph, [device("a", ("fp32", "int8")), device("b", ("fp32", "fp32")), device("c", ("int8",))])
    assert [(name, mode) for name, mode, _ in table.options("y0")] == [
        ("a", "cpu0-fp32"),
        ("b", "cpu0-fp32"),
        ("b", "cpu1-fp32"),
    ]


def test_a_numeric_format_nobody_computes_in_is_refused(graph):
    with pytest.raises(ProblemError, match=r"computes in fp32, but device 'npu' has only cpu0-int8 \(int8\)"):
        fitted(graph, device("npu", ("int8",)))
    with pytest.raises(ProblemError, match=r"no device has a mode for that: 'npu' has only cpu0-int8 \(int8\)"):
        cost_table(graph, [device("npu", ("int8",))])


def test_measured_seconds_come_from_this_host(graph):
    table = cost_table(graph, [device(costs="measured")], runs=3)
    cost = table.cost("y0", "box", "cpu0-fp32")
    assert cost.origin == "measured"
    assert cost.seconds > 0
    assert cost.joules == pytest.approx(8 * cost.seconds)
    assert "3 runs" in cost.source


def test_this_host_measures_one_mode(graph):
    with pytest.raises(ProblemError, match="several fp32 modes"):
        measured(graph, device(numerics=("fp32", "fp32"), costs="measured"))


def test_a_missing_row_and_an_impossible_cost_are_refused(graph):
    with pytest.raises(ProblemError, match="no cost of op 'y0' on 'gpu'"):
        fitted(graph, device()).cost("y0", "gpu", "cuda")
    with pytest.raises(ProblemError, match="finite and not negative"):
        Cost(seconds=float("nan"), joules=0, origin="spec", source="s", relative_uncertainty=None)
    with pytest.raises(TypeError):
        CostTable(rows={}).rows["a", "b", "c"] = None


def test_seconds_of_another_device_are_a_fit_with_the_error_of_their_scale(graph):
    inputs = {tensor.name: tensor.shape for tensor in graph.inputs}
    known = OpCosts(
        source="box",
        s_per_boundary_byte=0.0,
        models=(
            ModelCost(
                name="m",
                sha256=graph.sha256,
                inputs=inputs,
                seconds={op.name: 0.5 for op in graph.ops},
                relative_error=0.03,
            ),
        ),
        kinds=(KindCost(kind=ANY_KIND, base_s=1e-6, s_per_mac=0.0, s_per_byte=0.0),),
        unseen_relative_error=0.4,
    )
    other = msgspec.structs.replace(known, models=())
    for costs, origin, own in ((known, "measured", 0.03), (other, "fitted", 0.4)):
        for scale, expected in ((None, origin), (0.27, "fitted")):
            scaled = msgspec.structs.replace(costs, scale_relative_error=scale, origin=expected)
            box = device()
            mode = msgspec.structs.replace(box.modes[0], op_costs=scaled)
            cost = profiled(graph, msgspec.structs.replace(box, modes=(mode,))).cost("y0", "box", "cpu0-fp32")
            assert cost.origin == expected
            assert cost.relative_uncertainty == pytest.approx(math.hypot(own, scale or 0.0, 0.04))


def test_a_kind_that_does_not_grow_with_macs_stands_for_small_ops_and_the_line_for_larger_ones(graph):
    def predicted(**kind):
        costs = OpCosts(
            source="box", s_per_boundary_byte=0.0, models=(),
            kinds=(KindCost(**{"kind": ANY_KIND, "s_per_mac": 0.0, "s_per_byte": 0.0} | kind),),
        )  # fmt: skip
        box = device()
        mode = msgspec.structs.replace(box.modes[0], op_costs=costs)
        return profiled(graph, msgspec.structs.replace(box, modes=(mode,))).cost("y0", "box", "cpu0-fp32").seconds

    line_s = fitted(graph, device()).cost("y0", "box", "cpu0-fp32").seconds
    assert line_s == pytest.approx(24e-9)
    assert predicted(base_s=1e-9) == pytest.approx(line_s)
    assert predicted(base_s=1e-6) == pytest.approx(1e-6)
    # Where a fit has a slope, it knows ops of this kind better than the line, which holds for all.
    assert predicted(base_s=1e-9, s_per_mac=1e-12) == pytest.approx(1e-9 + 24e-12)
    # Bytes that two or three small ops differ by do not stand for MACs.
    assert predicted(base_s=1e-9, s_per_byte=1e-15) == pytest.approx(line_s)
    assert predicted(base_s=1e-9, s_per_byte=1e-6) > line_s
