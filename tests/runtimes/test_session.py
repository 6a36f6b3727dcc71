"""Sessions: both runtimes give what they give alone, and wrong models and missing packages are refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtimes.errors import BadManifest, DeadlineExceeded
from runtimes.session import InProcessSession, open_session
from runtimes.specs import SegmentSpec, TensorSpec
from tests.runtimes.plans import endless, operator_model, tensor

BASIC_PITCH = Path(__file__).parent.parent / "data" / "basic_pitch.tflite"


def segment(model: bytes, inputs, outputs, runtime="onnx", threads=1) -> SegmentSpec:
    return SegmentSpec(
        name="flow/0",
        flow="flow",
        runtime=runtime,
        blob=hashlib.sha256(model).hexdigest(),
        blob_bytes=len(model),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        threads=threads,
    )


NEG = operator_model("Neg", ("x",), ("y",))


def test_onnx_runs():
    session = open_session(segment(NEG, [tensor("x")], [tensor("y")]), NEG, 1)
    session.warm_up(10)
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(session.run({"x": x, "other": x})["y"], -x)


def test_an_executor_gets_what_lies_at_an_odd_place_at_an_aligned_one():
    from runtimes.executors.onnx import OnnxExecutor

    fed = []

    class Noting(OnnxExecutor):
        def run(self, feeds, outputs):
            fed.extend(array.ctypes.data % 16 for array in feeds.values())
            return super().run(feeds, outputs)

    shape = (1, 1 << 14)
    model = operator_model("Neg", ("x",), ("y",), shape=shape)
    session = InProcessSession(segment(model, [tensor("x", shape)], [tensor("y", shape)]), Noting(model, threads=1))
    x = np.ones(shape, np.float32)
    for shift in range(16):
        odd = np.frombuffer(bytes(shift) + x.tobytes(), np.float32, offset=shift).reshape(shape)
        np.testing.assert_array_equal(session.run({"x": odd})["y"], -x)
    assert fed == [0] * 16


def test_ports_may_be_named_otherwise_than_tensors():
    spec = segment(
        NEG,
        [TensorSpec(name="camera/x", port="x", dtype="FP32", shape=(1, 4))],
        [TensorSpec(name="box/y", port="y", dtype="FP32", shape=(1, 4))],
    )
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(open_session(spec, NEG, 1).run({"camera/x": x})["box/y"], -x)


def test_tflite_runs_as_litert_alone():
    from ai_edge_litert.interpreter import Interpreter

    model = BASIC_PITCH.read_bytes()
    inputs = [TensorSpec(name="audio", port="serving_default_input_2:0", dtype="FP32", shape=(1, 43844, 1))]
    outputs = [
        TensorSpec(name="note", port="StatefulPartitionedCall:1", dtype="FP32", shape=(1, 172, 88)),
        TensorSpec(name="contour", port="StatefulPartitionedCall:0", dtype="FP32", shape=(1, 172, 264)),
    ]
    session = open_session(segment(model, inputs, outputs, "tflite"), model, 1)
    session.warm_up(30)
    audio = np.random.default_rng(0).normal(scale=0.1, size=(1, 43844, 1)).astype(np.float32)
    first, again = session.run({"audio": audio}), session.run({"audio": 0 * audio})
    assert not np.array_equal(first["note"], again["note"])
    alone = Interpreter(model_content=model, num_threads=1)
    alone.allocate_tensors()
    alone.set_tensor(alone.get_input_details()[0]["index"], audio)
    alone.invoke()
    for port in alone.get_output_details():
        for spec in outputs:
            if spec.port == port["name"]:
                np.testing.assert_array_equal(first[spec.name], alone.get_tensor(port["index"]))


def test_warming_up_leaves_no_trace_in_a_streaming_model():
    from ai_edge_litert.interpreter import Interpreter

    model = BASIC_PITCH.with_name("wake_word.tflite").read_bytes()
    heard = TensorSpec(name="audio", port="serving_default_input_audio:0", dtype="INT8", shape=(1, 3, 40))
    said = TensorSpec(name="said", port="StatefulPartitionedCall:0", dtype="UINT8", shape=(1, 1))
    session = open_session(segment(model, [heard], [said], "tflite"), model, 1)
    session.warm_up(30)
    alone = Interpreter(model_content=model, num_threads=1)
    alone.allocate_tensors()
    # With this noise the model answers otherwise, some windows later, if it has heard silence before.
    rng = np.random.default_rng(27)
    for _ in range(30):
        audio = rng.integers(-128, 128, (1, 3, 40)).astype(np.int8)
        alone.set_tensor(alone.get_input_details()[0]["index"], audio)
        alone.invoke()
        expected = alone.get_tensor(alone.get_output_details()[0]["index"])
        np.testing.assert_array_equal(session.run({"audio": audio})["said"], expected)


def test_tflite_takes_the_shape_that_was_planned():
    model = BASIC_PITCH.read_bytes()
    inputs = [TensorSpec(name="audio", port="serving_default_input_2:0", dtype="FP32", shape=(2, 43844, 1))]
    outputs = [TensorSpec(name="note", port="StatefulPartitionedCall:1", dtype="FP32", shape=(2, 172, 88))]
    session = open_session(segment(model, inputs, outputs, "tflite"), model, 1)
    assert session.run({"audio": np.zeros((2, 43844, 1), np.float32)})["note"].shape == (2, 172, 88)


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ([tensor("z")], [tensor("y")], r"input ports \['z'\] are not in the model, which has \['x'\]"),
        ([tensor("x"), tensor("z")], [tensor("y")], r"\['z'\] are not in the model"),
        ([tensor("x")], [tensor("z")], r"output ports \['z'\]"),
        ([tensor("x", (1, 5))], [tensor("y")], r"FP32\[1, 4\] in the model and FP32\[1, 5\]"),
        ([tensor("x", (4,))], [tensor("y")], r"FP32\[1, 4\] in the model and FP32\[4\]"),
        ([tensor("x", dtype="FP64")], [tensor("y")], r"FP32\[1, 4\] in the model and FP64"),
    ],
)
def test_specs_that_are_not_the_models_are_refused(inputs, outputs, says):
    with pytest.raises(BadManifest, match=says):
        open_session(segment(NEG, inputs, outputs), NEG, 1)


def test_an_input_that_nobody_feeds_is_refused():
    model = operator_model("Add", ("x", "z"), ("y",))
    with pytest.raises(BadManifest, match=r"input ports \['z'\] of the model are not in the segment"):
        open_session(segment(model, [tensor("x")], [tensor("y")]), model, 1)


@pytest.mark.parametrize(("runtime", "says"), [("onnx", "it is no ONNX file"), ("tflite", "LiteRT cannot load it")])
def test_noise_is_no_model(runtime, says):
    with pytest.raises(BadManifest, match=says):
        open_session(segment(b"noise", [tensor("x")], [tensor("y")], runtime), b"noise", 1)


def test_external_data_are_refused(tmp_path, monkeypatch):
    (tmp_path / "w.bin").write_bytes(np.ones(4, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = model.SerializeToString()
    with pytest.raises(BadManifest, match="'w' has its data in another file"):
        open_session(segment(data, [tensor("x")], [tensor("y")]), data, 1)


def test_a_warm_up_without_end_is_stopped():
    model = onnx.load_from_string(endless())
    model.graph.node[1].CopyFrom(helper.make_node("Cast", ["one"], ["begin"], to=TensorProto.BOOL))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    data = model.SerializeToString()
    session = open_session(
        segment(data, [TensorSpec(name="x", port="a", dtype="FP32", shape=(1, 4))], [tensor("y")]), data, 1
    )
    with pytest.raises(DeadlineExceeded):
        session.warm_up(0.2)


@pytest.mark.parametrize(
    ("runtime", "absent", "says"),
    [
        ("onnx", ["onnxruntime"], "pip install 'placer-joules[onnx]'"),
        ("tflite", ["ai_edge_litert", "tflite_runtime"], "pip install 'placer-joules[tflite]'"),
    ],
)
def test_a_missing_package_is_named(runtime, absent, says):
    # Another process, where the packages cannot be imported: one extra must do without the other.
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import runtimes.server, runtimes.__main__
from runtimes.errors import MissingExtra
from runtimes.session import open_session
from tests.runtimes.test_session import segment, tensor
try:
    open_session(segment(b"m", [tensor("x")], [tensor("y")], {runtime!r}), b"m", 1)
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert says in done.stdout
