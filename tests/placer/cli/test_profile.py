"""`placer profile` on this machine's own agent, with real models, and how it refuses what it cannot measure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import onnx
import pytest

from placer.__main__ import main
from placer.costs import cost_table
from placer.deployment.assign import assign, load_models
from placer.deployment.local_agents import local_agents
from placer.measuring.units import units_of
from placer.plan import decode_plan, encode_plan
from placer.planning import plan_site, read_model
from profiles import DeviceProfile, read_site
from profiles.meters import Measurement, write_log
from profiles.profile_file import encode_profile, read_profile
from runtimes.client import AgentClient
from tests.e2e.desk import small_model

TFLITE = Path(__file__).parents[2] / "data" / "image_classification.tflite"
DECLARED = ("--idle-w", "2", "--active-w", "5", "--boundary", "wall", "--wait-w", "0.5")
SITE = """\
format: placer.site/1.0
name: bench
labels: [any]
zones: [{name: room, sees: any, region: eu}]
devices: [{name: box, profile: saved/box.yaml, zone: room}]
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in a folder with a model, and gives exit code, output and errors."""
    onnx.save(small_model(), tmp_path / "model.onnx")
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["placer", "profile", *arguments, "--save", "saved/box.yaml", "--runs", "3"])
        code = main()
        return code, *capfd.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "saved").iterdir())


def test_a_profile_with_declared_powers_is_a_profile_that_plans_are_made_of(command, tmp_path):
    code, out, err = command("model.onnx", str(TFLITE), *DECLARED, "--json")
    assert (code, err) == (0, "")
    profile = read_profile(tmp_path / "saved" / "box.yaml", DeviceProfile)
    assert msgspec.json.decode(out)["id"] == "box"
    assert [mode.name for mode in profile.modes] == ["cpu-fp32-1t", "cpu-int8-1t"]
    assert "Joules are modelled from declared power states: no meter was read." in profile.note
    assert {figure.origin for figure in (profile.idle_w, profile.wait_w, profile.modes[0].active_w)} == {"declared"}
    assert left(tmp_path) == ["box.yaml"]
    # One input is as large as the other here; slower than a kB/s or faster than memory is nothing of the kind.
    assert profile.lookup_bytes_per_s is not None
    assert profile.lookup_bytes_per_s.origin == "measured"
    assert "3072 bytes of model looked up 15 times" in profile.lookup_bytes_per_s.note
    assert 1e3 < profile.lookup_bytes_per_s.value < 1e11

    (tmp_path / "site.yaml").write_text(SITE)
    device = read_site(tmp_path / "site.yaml").device("box")
    assert device.lookup_bytes_per_s == profile.lookup_bytes_per_s
    graph = read_model(tmp_path / "model.onnx")
    own = cost_table(graph, [device])
    costs = [own.cost(op.name, "box", "cpu-fp32-1t") for op in graph.ops]
    # The seconds were measured, the watts were not.
    assert {cost.origin for cost in costs} == {"declared"}
    measured = profile.modes[0].op_costs
    assert measured is not None
    assert {op.name: cost.seconds for op, cost in zip(graph.ops, costs, strict=True)} == measured.models[0].seconds
    seconds = sum(cost.seconds for cost in costs) + device.modes[0].segment_s.value
    whole_s = next(each.seconds.value for each in profile.benchmarks if each.model == "model")
    assert seconds == pytest.approx(whole_s, rel=0.5)
    assert sum(cost.joules for cost in costs) == pytest.approx(3.0 * sum(cost.seconds for cost in costs))

    # The same ops in a file that was never measured: by their kinds.
    unseen = small_model()
    unseen.doc_string = "another file"
    onnx.save(unseen, tmp_path / "unseen.onnx")
    graph = read_model(tmp_path / "unseen.onnx")
    fitted = cost_table(graph, [device])
    known = device.modes[0].op_costs
    assert known is not None
    assert {cost.origin for cost in fitted.rows.values()} == {"declared"}
    for unit in units_of(graph):
        total_s = sum(fitted.cost(op, "box", "cpu-fp32-1t").seconds for op in unit.ops)
        kind = known.kind(unit.kind)
        line_s = 0.0 if kind.s_per_mac else device.modes[0].s_per_mac.value * unit.macs
        assert total_s == pytest.approx(max(kind.seconds(unit.macs, unit.bytes), line_s))


def test_a_segment_runs_with_the_threads_its_mode_was_measured_with(command, tmp_path):
    flow = """\
flows:
  - {name: f, source: box, sink: box, rate_hz: 1, label: any, stages: [{name: m, model: model.onnx}]}
"""
    assert command("model.onnx", *DECLARED, "--threads", "1")[0] == 0
    file = tmp_path / "saved" / "box.yaml"
    profile = read_profile(file, DeviceProfile)
    mode = msgspec.structs.replace(profile.modes[0], threads=3)
    file.write_bytes(encode_profile(msgspec.structs.replace(profile, modes=(mode,))))
    (tmp_path / "site.yaml").write_text(SITE + flow)
    plan = plan_site(tmp_path / "site.yaml")
    assert {line.origin for line in plan.ledger.marginal if line.kind in ("compute", "segment")} == {"declared"}
    assert plan.threads == {"box": {"cpu-fp32-1t": 3}}
    deployment = assign(decode_plan(encode_plan(plan)), load_models(plan), threads=7)
    assert {segment.threads for segment in deployment.assignments["box"].segments} == {3}


def test_powers_come_from_a_meters_log(command, tmp_path):
    write_log(
        tmp_path / "plug.jsonl",
        [Measurement(joules=j, seconds=1.0, source="a plug", boundary="wall") for j in (3.0, 8.0) * 3],
    )
    code, out, _ = command(str(TFLITE), "--meter", "replay:plug.jsonl", "--window", "0.1")
    assert code == 0
    profile = read_profile(tmp_path / "saved" / "box.yaml", DeviceProfile)
    (mode,) = profile.modes
    assert profile.idle_w is not None
    assert (profile.idle_w.value, profile.idle_w.origin, profile.boundary) == (3.0, "measured", "wall")
    assert mode.active_w.value >= 8.0
    assert "a plug" in mode.active_w.source
    assert "modelled" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("model.onnx", "--idle-w", "2"), 2, "--active-w, --boundary: missing"),
        (("model.onnx", "--idle-w", "2", "--active-w", "1", "--boundary", "wall"), 2, "computing power includes idle"),
        (("model.onnx", "--meter", "rapl", *DECLARED), 2, "declare it: give either"),
        (("model.onnx", "--meter", "rapl", "--boundary", "wall"), 6, "'rapl' knows what it includes"),
        (("model.onnx", *DECLARED, "--threads", "4096"), 2, "give at most so many"),
        (("model.onnx", *DECLARED, "--input", "x"), 2, "give NAME=DIM,DIM"),
        (("model.onnx", "model.onnx", *DECLARED), 2, "given twice"),
        (("model.onnx", *DECLARED, "--tier", "fog"), 2, "sensor, edge, cloud"),
        (("model.onnx", *DECLARED, "--agent", "nobody"), 2, "is no address"),
        (("model.onnx", "--meter", "replay:none.jsonl"), 6, "the power is unknown: none.jsonl: cannot be read"),
        (("model.onnx", "--meter", "hwmon:nothing/power9"), 6, "the power is unknown"),
        (("model.onnx", "--agent", "127.0.0.1:9"), 6, "no meter is known to read the device at 127.0.0.1:9"),
        (("model.onnx", *DECLARED, "--agent", "127.0.0.1:9"), 4, "does the agent run"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_leaves_nothing(command, tmp_path, arguments, code, words):
    given, _, err = command(*arguments)
    assert (given, err.count("\n")) == (code, 1), err
    assert words in err
    assert left(tmp_path) == []


def test_a_meter_that_stops_leaves_nothing(command, tmp_path):
    log = [Measurement(joules=3.0, seconds=1.0, source="a plug", boundary="wall")] * 2
    write_log(tmp_path / "plug.jsonl", log)
    code, _, err = command(str(TFLITE), "--meter", "replay:plug.jsonl", "--window", "0.1")
    assert code == 6
    assert "the energy meter failed" in err
    assert left(tmp_path) == []


def test_a_model_that_does_not_run_here_is_named(command, tmp_path):
    # It can be loaded, and fails on every value: nine is no place among one.
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 4] x) => (float[1, 2] y)
        <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float eight = {8}>
        {
            m = MatMul (x, w)
            least = ReduceMin <keepdims = 0> (m)
            nought = Sub (least, least)
            nine = Add (nought, eight)
            far = Cast <to = 7> (nine)
            y = Gather <axis = 0> (m, far)
        }
    """
    onnx.save(onnx.parser.parse_model(text.replace("float[1, 2] y", "float[2] y")), tmp_path / "far.onnx")
    code, _, err = command("far.onnx", *DECLARED)
    assert (code, err.count("\n")) == (6, 1), err
    assert "far.onnx does not run on the agent" in err
    assert left(tmp_path) == []


def test_what_a_file_says_against_a_model_is_said_before_another_is_run(command, tmp_path, monkeypatch):
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    monkeypatch.setattr("placer.measuring.profile_device.staged", lambda *_: pytest.fail("a model was run"))
    code, _, err = command("model.onnx", "relu.onnx", *DECLARED)
    assert code == 6
    assert "relu.onnx multiplies nothing" in err


def test_an_open_dimension_is_given_by_an_option_here(command, tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 4] x) => (float[batch, 4] y) { y = Relu (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "open.onnx")
    code, _, err = command("open.onnx", *DECLARED)
    assert code == 2
    assert "(axis 0 of ['batch', 4]); give its whole shape, for example --input x=1,4" in err
    assert "inputs: {" not in err


def test_ctrl_c_loses_nothing_that_was_measured(command, tmp_path):
    journal = tmp_path / "saved" / "box.yaml.journal"
    arguments = [str(TFLITE), *DECLARED, "--save", "saved/box.yaml", "--runs", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "placer", "profile", *arguments],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "300"},
    )  # fmt: skip
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"what was measured is kept in {Path('saved', journal.name)}" in err
    assert left(tmp_path) == [journal.name]
    # Seconds that no machine would measure again.
    about, *results = [msgspec.json.decode(line) for line in journal.read_bytes().splitlines()]
    results[0]["value"]["seconds"] = [[[7.0] * len(runs) for runs in part] for part in results[0]["value"]["seconds"]]
    journal.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (about, *results)))
    code, _, err = command(str(TFLITE), *DECLARED)
    assert (code, err) == (0, "")
    assert left(tmp_path) == ["box.yaml"]
    (whole,) = read_profile(tmp_path / "saved" / "box.yaml", DeviceProfile).benchmarks
    assert whole.seconds.value > 1.0


def test_a_remote_agent_keeps_its_plan_and_none_of_ours(command, tmp_path):
    with local_agents(["far"], isolated=False) as addresses:
        code, out, err = command(str(TFLITE), *DECLARED, "--agent", f"far={addresses['far']}")
        assert (code, err) == (0, "")
        assert "device far" in out
        with AgentClient(addresses["far"]) as client:
            status = client.status()
    assert status.active is None
    assert [held.segments for held in status.held] == [()]
