import numpy as np
import pytest

from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.errors import ProblemError
from placer.measuring.measure import op_seconds, segment_seconds
from placer.models.cut import cut
from placer.models.graph import ModelGraph
from placer.models.read_onnx import read_onnx


@pytest.fixture(scope="module")
def demo() -> ModelGraph:
    return read_onnx(str(MODEL), {INPUT_NAME: INPUT_SHAPE})


def test_every_op_has_seconds_and_convolutions_have_most(demo):
    calls = []
    times = op_seconds(demo, threads=1, runs=5, progress=lambda done, of: calls.append((done, of)))
    assert times.seconds.keys() == {op.name for op in demo.ops}
    assert all(np.isfinite(value) and value >= 0 for value in times.seconds.values())
    convolutions = sum(times.seconds[op.name] for op in demo.ops if op.type == "Conv")
    assert convolutions > 0.5 * sum(times.seconds.values())
    assert all(times.seconds[op.name] > 0 for op in demo.ops if op.type == "Conv" and op.macs > 1_000_000)
    assert calls == [(done, 5) for done in range(1, 6)]
    assert times.runs == 5
    assert "ONNX Runtime" in times.source


def test_fused_activations_take_no_seconds_of_their_own(demo):
    times = op_seconds(demo, threads=1, runs=3)
    normalizations = [op.name for op in demo.ops if op.type == "BatchNormalization"]
    assert all(times.seconds[name] == 0 for name in normalizations)


def test_a_segment_takes_at_least_its_ops(demo):
    names = [op.name for op in demo.ops]
    first, _ = cut(demo, [names[:40], names[40:]])
    segment = segment_seconds(first, threads=1, runs=10)
    assert 0 < segment.p20_s <= segment.median_s
    assert segment.overhead_s >= 0
    assert segment.runs == 10


def test_control_flow_is_measured_as_one_op(small):
    graph = read_onnx(small("loop"))
    times = op_seconds(graph, threads=1, runs=3)
    assert times.seconds["state"] > 0


def test_only_onnx_is_measured_op_by_op(demo):
    changed = ModelGraph(**{field: getattr(demo, field) for field in ("name", "path", "sha256", "numeric", "inputs")},
                         outputs=demo.outputs, ops=demo.ops, tensors=demo.tensors, format="tflite")  # fmt: skip
    with pytest.raises(ProblemError, match="only ONNX models are measured op by op"):
        op_seconds(changed, threads=1)
