"""A segment's process computes what the same model computes here; whatever becomes of it is said and mended."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from runtimes.errors import BadRequest, DeadlineExceeded, Exhausted, Failed, Unreachable
from runtimes.isolation import process
from runtimes.isolation.frames import STOP
from runtimes.isolation.limits import Limits
from runtimes.session import open_session
from runtimes.specs import TensorSpec
from tests.runtimes.isolation.models import LIMITS, NEG, NEG_SPEC, ONES, ZEROS, Opened, endless_from, greedy
from tests.runtimes.plans import operator_model, tensor
from tests.runtimes.test_session import BASIC_PITCH, segment


def test_it_computes_what_the_model_computes_in_this_process():
    model = BASIC_PITCH.read_bytes()
    inputs = [TensorSpec(name="audio", port="serving_default_input_2:0", dtype="FP32", shape=(1, 43844, 1))]
    outputs = [
        TensorSpec(name="note", port="StatefulPartitionedCall:1", dtype="FP32", shape=(1, 172, 88)),
        TensorSpec(name="contour", port="StatefulPartitionedCall:0", dtype="FP32", shape=(1, 172, 264)),
    ]
    spec = segment(model, inputs, outputs, "tflite")
    here, there = open_session(spec, model, 1), Opened(spec, model)
    for seed in range(3):
        audio = np.random.default_rng(seed).normal(scale=0.1, size=(1, 43844, 1)).astype(np.float32)
        expected, got = here.run({"audio": audio}), there.run(audio)
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array)


def test_results_stay_what_they_were():
    opened = Opened(NEG_SPEC, NEG)
    first = opened.run(ONES)["y"]
    opened.run(ZEROS)
    np.testing.assert_array_equal(first, -ONES)


def test_large_results_stay_what_they_were_too():
    model = operator_model("Neg", ("x",), ("y",), shape=(1, 1 << 15))
    opened = Opened(segment(model, [tensor("x", (1, 1 << 15))], [tensor("y", (1, 1 << 15))]), model)
    kept = [opened.run(np.full((1, 1 << 15), value, np.float32))["y"] for value in range(4)]
    for value, array in enumerate(kept):
        np.testing.assert_array_equal(array, -value)


def test_inputs_at_odd_places_are_read_as_they_are():
    shape = (1, 1 << 15)
    model = operator_model("Neg", ("x",), ("y",), shape=shape)
    opened = Opened(segment(model, [tensor("x", shape)], [tensor("y", shape)]), model)
    x = np.arange(1 << 15, dtype=np.float32).reshape(shape)
    for shift in range(16):
        odd = np.frombuffer(bytes(shift) + x.tobytes(), np.float32, offset=shift).reshape(shape)
        np.testing.assert_array_equal(opened.run(odd)["y"], -x)


def test_an_output_that_is_an_input_or_a_constant_is_what_it_is():
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y", "k")]
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])], "g", ends[:1], [ends[0], ends[2], ends[1]],
        [helper.make_tensor("k", TensorProto.FLOAT, [1, 4], [1.0, 2.0, 3.0, 4.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    opened = Opened(
        segment(
            model, [tensor("x")], [TensorSpec(name=n, port=n[0], dtype="FP32", shape=(1, 4)) for n in ("xx", "k", "y")]
        ),
        model,
    )
    for x in (ONES, ZEROS, 2 * ONES):
        got = opened.run(x)
        np.testing.assert_array_equal(got["xx"], x)
        np.testing.assert_array_equal(got["k"], [[1, 2, 3, 4]])
        np.testing.assert_array_equal(got["y"], -x)


def test_an_output_of_another_shape_than_planned_is_a_failure():
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    made = [helper.make_tensor_value_info("y", TensorProto.INT64, [2, None])]
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", ends, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    opened = Opened(segment(model, [tensor("x")], [tensor("y", (2, 0), "INT64")]), model)
    with pytest.raises(Failed, match="shape"):
        opened.run(ONES)
    assert opened.run(ZEROS)["y"].shape == (2, 0)


def test_strings_and_empty_tensors_pass():
    ends = [helper.make_tensor_value_info(n, TensorProto.STRING, [2]) for n in ("x", "y")]
    ends += [helper.make_tensor_value_info(n, TensorProto.INT64, [0, 3]) for n in ("e", "f")]
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["e"], ["f"])]
    graph = helper.make_graph(nodes, "g", [ends[0], ends[2]], [ends[1], ends[3]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    spec = segment(
        model,
        [tensor("x", (2,), "BYTES"), tensor("e", (0, 3), "INT64")],
        [tensor("y", (2,), "BYTES"), tensor("f", (0, 3), "INT64")],
    )
    words = np.array(["Grüße".encode(), b""], dtype=object)
    for session in (open_session(spec, model, 1), Opened(spec, model).session):
        got = session.run({"x": words, "e": np.empty((0, 3), np.int64)})
        assert list(got["y"]) == list(words)
        assert got["f"].shape == (0, 3)
        with pytest.raises(Failed, match="no UTF-8"):
            session.run({"x": np.array([b"\xff", b""], dtype=object), "e": np.empty((0, 3), np.int64)})


@pytest.mark.parametrize(
    ("spec", "model", "error", "says"),
    [
        (NEG_SPEC, b"noise", BadRequest, "no ONNX file"),
        (segment(NEG, [tensor("z")], [tensor("y")]), NEG, BadRequest, r"input ports \['z'\] are not in the model"),
    ],
)
def test_what_is_wrong_with_a_model_is_said_as_it_is_here(spec, model, error, says):
    with pytest.raises(error, match=says):
        Opened(spec, model)


def test_an_execution_that_can_be_stopped_ends_by_its_deadline_and_costs_no_process():
    opened = Opened(*endless_from())
    before = opened.session.process_id
    stopper = threading.Timer(0.3, opened.session.stop)
    stopper.start()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="stopped at its deadline"):
        opened.run(ONES, within_s=20)
    assert time.monotonic() - started < 10
    stopper.join()
    np.testing.assert_array_equal(opened.run(ZEROS)["y"], 0)
    assert opened.session.process_id == before


def test_whoever_waits_is_answered_by_the_deadline_even_if_nobody_stops_the_execution():
    opened = Opened(*endless_from())
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not stop at its deadline"):
        opened.run(ONES, within_s=0.3)
    assert time.monotonic() - started < 1.3
    # It was asked to end afterwards, and the process serves on.
    np.testing.assert_array_equal(opened.run(ZEROS)["y"], 0)


def test_an_execution_is_begun_by_one_thread_and_ended_by_another():
    spec, model = endless_from()
    session, name = Opened(spec, model).session, spec.inputs[0].name
    deadline = time.monotonic() + 60
    end = session.begin({name: ONES}, deadline)
    # One at a time, whoever waits for it.
    assert session.begin({name: ZEROS}, deadline) is None
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end)
        while not ended.done():
            session.stop()
            time.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match="stopped at its deadline"):
            ended.result()
    np.testing.assert_array_equal(session.begin({name: ZEROS}, deadline)()["y"], 0)


def test_what_goes_wrong_with_an_execution_is_for_whoever_waits_for_its_end():
    opened = Opened(NEG_SPEC, NEG)
    deadline = time.monotonic() + 60
    end = opened.session.begin({"x": np.ones((1, 5), np.float32)}, deadline)
    with pytest.raises(ValueError, match="broadcast"):
        end()
    process_id = opened.session.process_id
    os.kill(process_id, signal.SIGSTOP)
    end = opened.session.begin({"x": ONES}, deadline)
    os.kill(process_id, signal.SIGKILL)
    with pytest.raises(Unreachable, match="was ended by SIGKILL while it ran"):
        end()
    opened.wait_for_another(process_id)
    np.testing.assert_array_equal(opened.session.begin({"x": ONES}, deadline)()["y"], -ONES)


def test_a_late_stop_ends_no_other_execution():
    opened = Opened(*endless_from())
    opened.run(ZEROS)
    # The first execution's stop arrives in the middle of the second one.
    stops = opened.session._keeper.process._stops
    late = threading.Timer(0.2, stops.send, (STOP.pack(1),))
    late.start()
    with pytest.raises(DeadlineExceeded, match="did not stop at its deadline"):
        opened.run(ONES, within_s=0.6)
    late.join()


def test_the_devices_limit_ends_what_no_deadline_does():
    opened = Opened(*endless_from(), limits=Limits(memory_bytes=LIMITS.memory_bytes, run_s=0.3))
    before = opened.session.process_id
    with pytest.raises(DeadlineExceeded, match=r"was ended, since it ran longer than this device's limit of 0\.3 s"):
        opened.run(ONES)
    opened.wait_for_another(before)
    np.testing.assert_array_equal(opened.run(ZEROS)["y"], 0)


def test_a_frozen_process_is_replaced():
    opened = Opened(NEG_SPEC, NEG)
    frozen = opened.session.process_id
    os.kill(frozen, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not stop"):
        opened.run(ONES, within_s=0.3)
    assert time.monotonic() - started < 1.3
    opened.wait_for_another(frozen)
    np.testing.assert_array_equal(opened.run(ONES)["y"], -ONES)


def test_a_killed_process_is_named_and_replaced():
    opened = Opened(NEG_SPEC, NEG)
    killed = opened.session.process_id
    os.kill(killed, signal.SIGKILL)
    opened.wait_until_down()
    with pytest.raises(Unreachable, match="its process was ended by SIGKILL; it is started again"):
        opened.run(ONES)
    opened.wait_for_another(killed)
    np.testing.assert_array_equal(opened.run(ONES)["y"], -ONES)


def test_a_process_killed_while_it_runs_is_said_at_once():
    opened = Opened(*endless_from())
    killed = opened.session.process_id
    killer = threading.Timer(0.3, os.kill, (killed, signal.SIGKILL))
    killer.start()
    with pytest.raises(Unreachable, match="was ended by SIGKILL while it ran"):
        opened.run(ONES)
    killer.join()
    opened.wait_for_another(killed)
    np.testing.assert_array_equal(opened.run(ZEROS)["y"], 0)


def test_it_is_started_ever_later_when_it_does_not_start(monkeypatch, caplog):
    opened = Opened(NEG_SPEC, NEG)
    monkeypatch.setattr(process, "python_module", lambda _: (["/bin/false"], {}))
    os.kill(opened.session.process_id, signal.SIGKILL)
    waits: list[str] = []
    deadline = time.monotonic() + 20
    while len(waits) < 4 and time.monotonic() < deadline:
        waits = [r.args[-1] for r in caplog.records if "a new one in" in r.msg]
        time.sleep(0.01)
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    with pytest.raises(Unreachable, match="does not start: its process ended with exit code 1"):
        opened.run(ONES)
    monkeypatch.undo()
    opened.wait_for_another(None)
    np.testing.assert_array_equal(opened.run(ONES)["y"], -ONES)


def test_memory_beyond_the_limit_is_refused_and_the_process_serves_on():
    opened = Opened(*greedy())
    before = opened.session.process_id
    with pytest.raises(Exhausted, match="not enough memory to run it"):
        opened.run(ONES)
    np.testing.assert_array_equal(opened.run(ZEROS)["y"], 0)
    assert opened.session.process_id == before


def test_a_session_that_nobody_holds_leaves_no_process():
    opened = Opened(NEG_SPEC, NEG)
    status = Path(f"/proc/{opened.session.process_id}")
    opened.run(ONES)
    del opened
    gc.collect()
    deadline = time.monotonic() + 10
    while status.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not status.exists()


def test_loading_is_limited_in_time():
    spec, model = endless_from()
    # Its warm-up on zeros would end; but to load it at all takes longer than this.
    with pytest.raises(DeadlineExceeded, match=r"did not load within 0\.01 s"):
        Opened(spec, model, timeout_s=0.01)


# What a process says when its model has taken it over, given the number of the execution.
_LIES = {
    "another execution": "pack(5, 0, number + 1, 0)",
    "another kind": "pack(3, 0, number, 0)",
    "more than there is": "pack(5, 0, number, 1 << 60)",
    "an error that is none": "pack(6, 0, number, 3) + b'abc'",
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_process_that_lies_is_ended(lie, monkeypatch, tmp_path):
    program = tmp_path / "liar.py"
    program.write_text(f"""
import socket, struct, sys
talk = socket.socket(fileno=int(sys.argv[1]))
pack = struct.Struct("<BBQQ").pack
def receive():
    kind, place, number, size = struct.unpack("<BBQQ", talk.recv(18, socket.MSG_WAITALL))
    size and talk.recv(size, socket.MSG_WAITALL)
    return number
receive(), receive()
talk.sendall(pack(3, 0, 0, 8) + struct.pack("<d", 0.1))
number = receive()
talk.sendall({_LIES[lie]})
talk.recv(1)
""")
    monkeypatch.setattr(process, "python_module", lambda _: ([sys.executable, str(program)], {}))
    opened = Opened(NEG_SPEC, NEG)
    with pytest.raises(Failed, match="said what it should not"):
        opened.run(ONES)
    opened.wait_until_down()
