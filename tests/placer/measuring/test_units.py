import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.measuring.units import boundary_bytes, random_cuts, share_out, units_of, windows
from placer.models.cut import cut
from placer.models.read_onnx import read_onnx


@pytest.fixture(scope="module")
def demo():
    return read_onnx(str(MODEL), {INPUT_NAME: INPUT_SHAPE})


def test_every_op_is_in_one_unit_and_fused_ops_are_together(demo):
    units = units_of(demo)
    assert sorted(op for unit in units for op in unit.ops) == sorted(op.name for op in demo.ops)
    assert units[0].ops == ("Conv.0", "BatchNormalization.0", "HardSwish.0")
    assert sum(unit.macs for unit in units) == demo.macs


def test_any_run_of_units_can_be_cut_out(demo):
    units = units_of(demo)
    for spans in random_cuts(len(units), 6, seed=3):
        parts = cut(demo, [[op for unit in units[first:last] for op in unit.ops] for first, last in spans])
        assert all(part.inputs and part.outputs for part in parts)
        for part, (first, last) in zip(parts, spans, strict=True):
            ops = [op for unit in units[first:last] for op in unit.ops]
            assert boundary_bytes(demo, ops) == sum(t.bytes for t in (*part.inputs, *part.outputs))


def test_kinds_tell_depthwise_convolutions_from_dense_ones(demo):
    units = units_of(demo)
    assert {unit.kind for unit in units} == {"Conv", "Conv grouped", "MatMul", "other"}
    depthwise = next(unit for unit in units if unit.ops[0] == "Conv.1")
    assert depthwise.kind == "Conv grouped"


def test_a_shape_never_leaves_its_unit(small):
    # Agents warm every part up on zeros, which are no shape.
    graph = read_onnx(small("known_by_a_run"))
    shape = graph.producer("shape")
    (unit,) = (unit for unit in units_of(graph) if shape.name in unit.ops)
    readers = {op.name for op in graph.consumers("shape")}
    assert graph.tensors["shape"].dtype == "int64"
    assert readers
    assert readers <= set(unit.ops)
    assert graph.producer("whole").name in unit.ops  # a number that becomes one, too


def test_every_small_model_has_units_with_ends(each_small):
    graph = read_onnx(each_small, {"x": (2, 3)} if each_small.stem == "shape_chain" else {})
    units = units_of(graph)
    assert sorted(op for unit in units for op in unit.ops) == sorted(op.name for op in graph.ops)
    for part in cut(graph, [unit.ops for unit in units]):
        assert len(units) == 1 or (part.inputs and part.outputs)


def test_a_units_seconds_are_shared_out_whole(demo):
    for unit in units_of(demo):
        shares = share_out(demo, unit, 2.0)
        assert shares.keys() == set(unit.ops)
        assert sum(shares.values()) == pytest.approx(2.0)


@given(st.integers(1, 130))
def test_windows_run_every_unit_alone_once_and_always_the_whole_model(count):
    alone = []
    for spans in windows(count):
        assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])]
        assert spans[-1][1] == count
        alone += [first for first, last in spans if last == first + 1]
    assert set(alone) >= set(range(count))


@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 3))
def test_random_cuts_are_partitions_and_repeat(count, number, seed):
    found = random_cuts(count, number, seed)
    assert found == random_cuts(count, number, seed)
    assert len(set(found)) == len(found) <= number
    for spans in found:
        assert len(spans) >= 2
        assert [place for first, last in spans for place in range(first, last)] == list(range(count))
