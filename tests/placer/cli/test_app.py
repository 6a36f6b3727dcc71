"""The command line in this process: every refusal has its message and exit code, and says it without a traceback."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from placer.__main__ import main
from profiles.profile_file import encode_profile
from runtimes.version import software_version
from tests.e2e.desk import SITE, small_model
from tests.profiles.test_seconds_like import box as profiled_box


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in a folder with a site, and gives exit code, output and errors."""
    onnx.save(small_model(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 3, 16, 16), np.float32))
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: str, site: str = SITE) -> tuple[int, str, str]:
        (tmp_path / "site.yaml").write_text(site)
        monkeypatch.setattr(sys, "argv", ["placer", *arguments])
        code = main()
        out, err = capfd.readouterr()
        return code, out, err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def changed(*pairs: tuple[str, str]) -> str:
    site = SITE
    for old, new in pairs:
        assert old in site
        site = site.replace(old, new)
    return site


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("name: bench", "name: [bench"), 2, "site.yaml, line 4, column 7: expected ',' or ']'"),
        (("name: bench", "name: bench\nname: two"), 2, "name"),
        (("placer.site/1.0", "placer.site/9.0"), 2, "write `format: placer.site/1.0`"),
        (("profile: rpi4b_armnn", "profile: rpi4b_arm"), 2, "did you mean 'rpi4b_armnn'?"),
        (("sink: box", "sink: bux"), 2, "flows[0].sink: 'bux' is no device; did you mean 'box'?"),
        (("to: box,", "to: attic,"), 2, "links[0].to: 'attic' is no device"),
        (("memory_bytes: 1e9", "idle_w: -2"), 2, "devices[0].idle_w: -2.0 is no figure"),
        (("memory_bytes: 1e9", "idle_w: .nan"), 2, "devices[0].idle_w"),
        (("profile: rpi4b_armnn, ", ""), 2, "devices[0].idle_w: the idle power of 'camera' is missing"),
        (("rate_hz: 2", "rate_hz: 0"), 2, "rate_hz"),
        (("deadline_s: 1", "deadline_s: -1"), 2, "deadline_s"),
        (("label: personal\n    stages", "label: secret\n    stages"), 2, "'secret' is no label"),
        (("model.onnx", "absent.onnx"), 2, "absent.onnx: cannot read the model file: No such file"),
        (("model.onnx", "site.yaml"), 2, "the suffix '.yaml' names no model format; give an .onnx or .tflite file"),
        (("deadline_s: 1", "deadline_s: 1e-5"), 3, "deadline_s of flow 'look'"),
        (("_bytes: 1e9", "_bytes: 9"), 3, "memory_bytes of 'camera'"),
        (
            ("sees: personal", "sees: public"),
            3,
            "privacy of flow 'look' on 'box': zone 'floor' sees at most 'public'",
        ),
    ],
)
def test_a_site_that_is_wrong_is_refused(command, tmp_path, change, code, words):
    changes = [change, ("_bytes: 4e9", "_bytes: 9")] if "memory_bytes of" in words else [change]
    got, out, err = command("plan", "site.yaml", "-o", "plan.json", site=changed(*changes))
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert words in err
    assert not (tmp_path / "plan.json").exists()


def test_a_site_without_flows_or_links_is_refused(command):
    site = SITE[: SITE.index("flows:")]
    code, _, err = command("plan", "site.yaml", site=site)
    assert code == 2
    assert "site.yaml: flows: none are given" in err
    site = SITE[: SITE.index("links:")] + SITE[SITE.index("flows:") :]
    code, _, err = command("plan", "site.yaml", site=site)
    assert code == 3
    assert "links" in err


def test_a_plan_says_how_far_off_its_site_s_seconds_are(command, tmp_path):
    (tmp_path / "box.yaml").write_bytes(encode_profile(profiled_box()))
    like = "profile: rpi4b_armnn, seconds_like: box.yaml"
    site = changed(("profile: rpi4b_armnn", like), ("profile: firefly_armnn_v22_11_opencl", like))
    code, out, err = command("plan", "site.yaml", site=site)
    assert code == 0, err
    said = " ".join(out.split())
    assert "(`seconds_like`), which is off by 27% on average." in said
    assert "misses models that it was not made with by 30% on average" in said


def tensor(name: str, shape=(1, 4)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(nodes, outputs, inputs=None) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs or [tensor("x")], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


node = helper.make_node


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an ONNX model, or a truncated one"),
        (b"format: placer.site/1.0", "not an ONNX model, or a truncated one"),
        (
            model([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])], [tensor("b")]),
            "the graph has a cycle",
        ),
        (model([], [tensor("x")]), "the model has no nodes; there is nothing to place"),
        (
            model([node("Magic", ["x"], ["a"], domain="org.example"), node("Relu", ["a"], ["y"])], [tensor("y", None)]),
            "op 'a' (Magic): the shape of 'a' is unknown",
        ),
        (
            model([node("Relu", ["x"], ["y"])], [tensor("y", ("n", 4))], [tensor("x", ("n", 4))]),
            "bind it by giving the input's whole shape, for example inputs: {x: [1, 4]}",
        ),
        (
            model([node("NonZero", ["x"], ["a"]), node("Cast", ["a"], ["y"], to=1)], [tensor("y", None)]),
            "the shape of 'a' depends on the data",
        ),
    ],
)
def test_a_model_that_is_wrong_is_refused(command, tmp_path, content, words):
    (tmp_path / "model.onnx").write_bytes(content)
    code, out, err = command("plan", "site.yaml")
    assert (code, out) == (2, "")
    assert "model.onnx: " in err
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "absent.yaml"], "absent.yaml: cannot be read: No such file or directory"),
        (["plan", "."], "cannot be read: Is a directory"),
        (
            ["plan", "site.yaml", "-o", "absent/plan.json"],
            "absent/plan.json: cannot be written; give a file in a folder",
        ),
        (["plan", "site.yaml", "-o", "."], ".: cannot be written: it is a directory; give a file"),
        (["plan", "site.yaml", "--dump-problem", "absent/problem.json"], "cannot be written"),
        (["plan", "site.yaml", "--picture", "absent/plan.svg"], "cannot be written"),
        (["plan", "site.yaml", "--time-limit", "0"], "--time-limit"),
        (["plan", "site.yaml", "--gap", "2"], "--gap"),
        (["plan"], "Missing argument"),
        (["plam"], "No such command 'plam'"),
        (["solve", "absent.json"], "absent.json: cannot be read"),
        (["solve", "site.yaml"], "site.yaml: not JSON"),
        (["solve", "absent.json", "--time-limit", "inf"], "time_limit_s: inf is no time to search for"),
        (["deploy", "absent.json"], "absent.json: cannot be read: No such file or directory; give a file that"),
        (["deploy", "site.yaml"], "site.yaml: not a plan"),
        (["run", "absent.json", "--input", "x.npy"], "absent.json: cannot be read"),
        (["run", "absent.json"], "Missing option '--input'"),
        (["catalog", "show", "atlantis"], "'atlantis' is no entry of the catalog"),
    ],
)
def test_arguments_that_are_wrong_are_refused(command, arguments, words):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_a_plan_is_named_where_something_else_is_wanted(command):
    assert command("plan", "site.yaml", "-o", "plan.json", "--dump-problem", "problem.json")[0] == 0
    problem = (
        "plan.json: this is a plan, not a problem; give its site.yaml where that is taken, or the problem.json that"
    )
    for arguments, words in [
        (["solve", "plan.json"], problem),
        (["pareto", "plan.json"], problem),
        (["plan", "plan.json"], "plan.json: this is a plan, not a site; give the site.yaml"),
        (["replan", "plan.json", "plan.json"], "plan.json: this is a plan, not a site; give the site.yaml"),
        (["plan", "problem.json"], "problem.json: this is a problem, not a site; give the site.yaml"),
    ]:
        code, out, err = command(*arguments)
        assert (code, out) == (2, ""), err
        assert words in err


def test_arguments_of_run_and_deploy_are_checked_before_any_agent_is_asked(command):
    assert command("plan", "site.yaml", "-o", "plan.json")[0] == 0
    np.save("wide.npy", np.ones((1, 3, 16, 17), np.float32))
    np.save("double.npy", np.ones((1, 3, 16, 16)))
    np.savez("two.npz", x=np.ones((1, 3, 16, 16), np.float32), z=np.ones(1))
    for arguments, words in [
        (["run", "--input", "absent.npy"], "--input absent.npy: absent.npy cannot be read: No such file or directory"),
        (["run", "--input", "site.yaml"], "not a .npy or .npz file of numbers"),
        (["run", "--input", "wide.npy"], "'x' has shape [1, 3, 16, 17], the flow takes [1, 3, 16, 16]"),
        (["run", "--input", "double.npy"], "'x' is of type float64 (FP64), the flow takes FP32"),
        (["run", "--input", "two.npz"], "the flow takes ['x'], the files give ['x', 'z']"),
        (["run", "--input", "y=x.npy"], "the flow has no input 'y'"),
        (["run", "--input", "x.npy", "--input", "x=x.npy"], "x was given before"),
        (["run", "--input", "x.npy", "--flow", "listen"], "the plan has no flow 'listen'"),
        (["run", "--input", "x.npy", "--output", "absent/y.npz"], "cannot be written"),
        (["run", "--input", "x.npy", "--local", "--agent", "box=127.0.0.1:1"], "--local starts agents of its own"),
        (["run", "--input", "x.npy", "--agent", "bux=127.0.0.1:1"], "give DEVICE=HOST:PORT with a device of the plan"),
        (["deploy", "--agent", "box"], "give DEVICE=HOST:PORT with a device of the plan: ['box', 'camera']"),
        (["deploy", "--agent", "box=127.0.0.1"], "'127.0.0.1' is no address; give HOST:PORT"),
        (["deploy", "--agent", "box=here:99999"], "'here:99999' is no address"),
        (["deploy", "--agent", "box=:1"], "':1' is no address"),
    ]:
        code, out, err = command(arguments[0], "plan.json", *arguments[1:])
        assert (code, out) == (2, ""), err
        assert words in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "FILE", "-o", "FILE"],
        ["plan", "FILE", "--dump-problem", "FILE"],
        ["plan", "FILE", "--picture", "FILE"],
        ["solve", "FILE", "-o", "FILE"],
        ["pareto", "FILE", "--picture", "FILE"],
        ["calibrate", "site.yaml", "FILE", "-o", "FILE"],
        ["calibrate", "FILE", "model.onnx", "-o", "FILE"],
        ["calibrate", "site.yaml", "model.onnx", "--observations", "FILE", "-o", "FILE"],
        ["replan", "site.yaml", "FILE", "-o", "FILE"],
        ["replan", "FILE", "model.onnx", "-o", "FILE"],
        ["emulate", "site.yaml", "FILE", "-o", "FILE"],
        ["emulate", "site.yaml", "model.onnx", "--input", "x=FILE", "-o", "FILE"],
        ["run", "FILE", "--input", "x.npy", "-o", "FILE"],
        ["run", "model.onnx", "--input", "x=FILE", "-o", "FILE"],
        ["profile", "model.onnx", "FILE", "--save", "FILE"],
        ["profile", "model.onnx", "--meter", "replay:FILE", "--save", "FILE"],
        ["probe", "127.0.0.1:1", "--key", "FILE", "--save", "FILE"],
    ],
)
def test_no_command_overwrites_what_it_reads(command, tmp_path, arguments):
    (tmp_path / "mine.yaml").write_text("mine")
    given = arguments[:-1]
    code, out, err = command(*(a.replace("FILE", "mine.yaml") for a in given), "./mine.yaml")
    assert (code, out) == (2, "")
    assert err == "error: mine.yaml: would overwrite its input; give another path\n"
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_full_disk_is_no_bug(command):
    with open("/dev/full", "w") as full:
        own = os.dup(1)
        os.dup2(full.fileno(), 1)
        try:
            code, _, err = command("catalog", "list", "--json")
        finally:
            os.dup2(own, 1)
            os.close(own)
    assert code == 4
    assert err == "error: this machine: [Errno 28] No space left on device\n"


def test_the_version_is_the_distributions(command):
    assert command("--version") == (0, f"{software_version()}\n", "")


def test_without_arguments_it_says_what_there_is(command):
    code, out, _ = command("--help")
    assert code == 0
    for name in ("plan", "solve", "deploy", "run", "demo", "catalog"):
        assert name in out
