"""The `placer` command as users meet it: what it writes, what it refuses, and how it ends."""

from __future__ import annotations

import itertools
import json
import signal
import time

import numpy as np
import onnx
import onnxruntime
import pytest

from placer.plan import decode_plan
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.desk import finish, large_problem, small_model


def whole_model(desk) -> np.ndarray:
    session = onnxruntime.InferenceSession((desk.folder / "model.onnx").read_bytes())
    return session.run(None, {"x": desk.x})[0]


@pytest.fixture
def planned(desk):
    done = desk.placer("plan", "site.yaml", "-o", "plan.json", "--json")
    assert (done.code, done.err) == (0, "")
    return desk


@pytest.fixture
def agents():
    with LocalAgents(["camera", "box"]) as started:
        yield started


def at(started) -> list[str]:
    return list(itertools.chain(*(["--agent", f"{d}={a}"] for d, a in started.addresses.items())))


# What it writes


def test_a_plan_on_standard_output_is_the_plan_in_the_file(desk):
    done = desk.placer("plan", "site.yaml", "-o", "plan.json", "--dump-problem", "problem.json", "--json")
    assert (done.code, done.err) == (0, "")
    plan = decode_plan(done.out.encode())
    assert plan == decode_plan((desk.folder / "plan.json").read_bytes())
    assert plan.status == "optimal"
    assert plan.models[0].path == str(desk.folder / "model.onnx")
    solved = desk.placer("solve", "problem.json", "-o", "bare.json", "--json")
    assert (solved.code, solved.err) == (0, "")
    assert solved.document["status"] == "optimal"
    assert solved.document["objective"] == pytest.approx(plan.objective, rel=1e-9)
    assert solved.document["flows"][0]["assignment"] == {
        op: list(where) for op, where in plan.flows[0].assignment.items()
    }
    bare = desk.placer("deploy", "bare.json")
    assert bare.code == 2
    assert "names no model files" in bare.err


@pytest.mark.parametrize("name", ["plan", "catalog show"])
def test_help_of_a_command_goes_to_standard_output(desk, name):
    done = desk.placer(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"placer {name} [OPTIONS]" in done.out


def test_tables_tell_people_the_same(desk):
    done = desk.placer("plan", "site.yaml", "-o", "[red]plan.json")
    assert (done.code, done.err) == (0, "")
    assert "Joules per inference" in done.out
    assert "Optimal: " in done.out
    assert "Next: placer deploy [red]plan.json" in done.out
    assert (desk.folder / "[red]plan.json").exists()


def test_a_plan_is_deployed_and_run(planned, agents):
    deployed = planned.placer("deploy", "plan.json", *at(agents), "--json")
    assert (deployed.code, deployed.err) == (0, "")
    assert deployed.document["epoch"] == 1
    assert deployed.document["devices"] == ["box", "camera"]
    ran = planned.placer("run", "plan.json", *at(agents), "--input", "x.npy", "--requests", 3, "-o", "y.npz", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.document["outputs"] == {"y": {"dtype": "float32", "shape": [1, 8, 16, 16]}}
    assert {row["kind"] for row in ran.document["rows"]} == {"segment", "hop", "flow"}
    assert all(row["requests"] == 3 and row["measured_s"] > 0 for row in ran.document["rows"])
    with np.load(planned.folder / "y.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], whole_model(planned), rtol=1e-4, atol=1e-5)
    # It is there already, so nothing changes; with other threads it is another deployment.
    again = planned.placer("deploy", "plan.json", *at(agents))
    assert again.code == 0
    assert "as epoch 1" in again.out
    assert "as epoch 2" in planned.placer("deploy", "plan.json", *at(agents), "--threads", 2).out


def test_what_is_served_is_told_and_left_for_the_plan_before(planned, agents):
    planned.site("deadline_s: 1", "deadline_s: 0.9")
    assert planned.placer("plan", "site.yaml", "-o", "second.json").code == 0
    nothing = planned.placer("status", "plan.json", *at(agents), "--json")
    assert (nothing.code, nothing.document["serves"]) == (4, False)
    assert "device 'camera' serves no plan" in nothing.err
    lonely = planned.placer("rollback", "plan.json", *at(agents))
    assert (lonely.code, lonely.out) == (4, "")
    assert "no device holds a plan from before" in lonely.err
    first = planned.placer("deploy", "plan.json", *at(agents), "--json").document
    second = planned.placer("deploy", "second.json", *at(agents), "--json").document
    assert (first["epoch"], second["epoch"]) == (1, 2)
    told = planned.placer("status", "second.json", *at(agents))
    assert told.code == 0
    assert f"Plan {second['plan']} is served by all of its devices." in told.out
    assert [f"previous │ {first['plan']} │     1 " in line for line in told.out.splitlines()].count(True) == 2
    for _ in range(2):
        back = planned.placer("rollback", "second.json", *at(agents), "--json")
        assert (back.code, back.err) == (0, "")
        assert back.document == {"plan": first["plan"], "epoch": 3, "devices": ["box", "camera"]}
    third = planned.placer("rollback", "second.json", *at(agents))
    assert f"Plan {first['plan']} is active on box, camera as epoch 3 already; nothing has changed." in third.out
    assert planned.placer("status", "plan.json", *at(agents), "--json").document["serves"]
    left = planned.placer("status", "second.json", *at(agents), "--json")
    assert (left.code, len(left.document["reasons"])) == (4, 2)
    agents.process("box").kill()
    half = planned.placer("status", "plan.json", *at(agents), "--json")
    assert half.code == 4
    assert [bool(device["error"]) for device in half.document["devices"]] == [
        device["device"] == "box" for device in half.document["devices"]
    ]
    (why,) = (device["error"] for device in half.document["devices"] if device["device"] == "box")
    told = planned.placer("status", "plan.json", *at(agents)).out
    table, _, below = told.partition("└")
    (silent,) = (line.split("│")[3:5] for line in table.splitlines() if "no answer" in line)
    assert [cell.strip() for cell in silent] == ["no answer", ""]
    assert f"Device 'box': {why}" in " ".join(below.split())
    refused = planned.placer("rollback", "plan.json", *at(agents))
    assert refused.code == 4
    assert "nothing has changed" in refused.err
    assert "'box'" in refused.err
    agents.process("camera").kill()
    unknown = planned.placer("rollback", "plan.json", *at(agents))
    assert (unknown.code, unknown.out) == (4, "")
    assert "is held is not known; device 'camera' does not answer: " in unknown.err
    assert "device 'box' does not answer: " in unknown.err
    assert "no device holds" not in unknown.err


def test_a_plan_runs_on_agents_of_this_machine(planned):
    np.savez(planned.folder / "x.npz", x=planned.x)
    ran = planned.placer("run", "plan.json", "--local", "--input", "x.npz", "-o", "y.npz")
    assert (ran.code, ran.err) == (0, "")
    assert "y: float32 [1, 8, 16, 16], written to y.npz" in ran.out
    with np.load(planned.folder / "y.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], whole_model(planned), rtol=1e-4, atol=1e-5)


def test_the_demo_says_all_of_it_as_one_document(desk):
    done = desk.placer("demo", "--json")
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert document["run"]["requests"] >= 20
    assert document["run"]["right"] == document["run"]["requests"]
    assert document["run"]["largest_difference"] <= 1e-4
    used = {kind: {s["device"] for s in document[kind]["flows"][0]["segments"]} for kind in ("plan", "without_privacy")}
    assert used == {"plan": {"camera", "box"}, "without_privacy": {"box"}}
    for row in document["run"]["rows"]:
        assert min(row["planned_s"], row["predicted_s"], row["measured_s"]) > 0


def test_the_catalog_is_listed_and_shown(desk):
    listed = desk.placer("catalog", "list", "ble", "--json")
    assert (listed.code, listed.err) == (0, "")
    ids = [link["id"] for link in listed.document["links"]]
    assert "ble_1m_nrf52840" in ids
    assert listed.document["devices"] == []
    shown = desk.placer("catalog", "show", ids[0], "--json")
    assert shown.document["entry"]["id"] == ids[0]
    assert shown.document["sources"]
    found = desk.placer("catalog", "list", "malmodin_fixed")
    assert found.out.startswith("1 network ")
    assert "devices" not in found.out
    none = desk.placer("catalog", "list", "rpi4b_armn_x")
    assert (none.code, none.out[:38]) == (0, "Nothing in the catalog has 'rpi4b_armn")
    assert "did you mean 'rpi4b_armnn'?" in none.out
    unknown = desk.placer("catalog", "show", "rpi4b_armn")
    assert unknown.code == 2
    assert "did you mean 'rpi4b_armnn'?" in unknown.err
    assert "Raspberry Pi 4B" in desk.placer("catalog", "list").out


# What it refuses


def test_a_site_without_a_plan_is_no_plan_in_json_either(desk):
    desk.site("deadline_s: 1", "deadline_s: 1e-5")
    done = desk.placer("plan", "site.yaml", "-o", "plan.json", "--json")
    assert done.code == 3
    answer = done.document
    (amount,) = answer.pop("amounts")
    assert answer == {"status": "infeasible", "conflict": ["deadline_s of flow 'look'"]}
    assert (amount["rule"], amount["limit"], amount["unit"]) == ("deadline_s of flow 'look'", 1e-5, "s")
    assert amount["enough"]
    assert amount["needed"] > 1e-5
    assert done.err.startswith("error: no plan is possible: deadline_s of flow 'look'")
    assert not (desk.folder / "plan.json").exists()


def test_a_plan_for_another_model_is_neither_deployed_nor_run(planned):
    onnx.save(small_model(seed=1), planned.folder / "model.onnx")
    for command in (["deploy"], ["run", "--local", "--input", "x.npy"]):
        done = planned.placer(command[0], "plan.json", *command[1:])
        assert (done.code, done.out) == (2, "")
        assert "model.onnx: has changed since the plan was made" in done.err
        assert "run `placer plan` again" in done.err


def test_agents_that_are_not_there_are_named(planned):
    unknown = planned.placer("deploy", "plan.json")
    assert (unknown.code, unknown.out) == (2, "")
    assert "no agent is known for device 'box', 'camera'; give --agent DEVICE=HOST:PORT" in unknown.err
    nowhere = ["--agent", "camera=127.0.0.1:1", "--agent", "box=127.0.0.1:1"]
    for command in (["deploy"], ["run", "--input", "x.npy"]):
        done = planned.placer(command[0], "plan.json", *command[1:], *nowhere)
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("error: device 'camera': agent at 127.0.0.1:1:")
        assert "does the agent run, and is the address right?" in done.err


def test_only_the_plan_that_is_deployed_runs(planned, agents):
    before = planned.placer("run", "plan.json", *at(agents), "--input", "x.npy")
    assert before.code == 4
    assert "serves no plan, not" in before.err
    assert "run `placer deploy plan.json` first" in before.err
    assert planned.placer("deploy", "plan.json", *at(agents)).code == 0
    planned.site("rate_hz: 2", "rate_hz: 3")
    assert planned.placer("plan", "site.yaml", "-o", "other.json").code == 0
    other = planned.placer("run", "other.json", *at(agents), "--input", "x.npy")
    assert other.code == 4
    assert "serves plan" in other.err
    swapped = {"camera": agents.addresses["box"], "box": agents.addresses["camera"]}
    given = itertools.chain(*(["--agent", f"{d}={a}"] for d, a in swapped.items()))
    wrong = planned.placer("run", "plan.json", *given, "--input", "x.npy")
    assert wrong.code == 4
    assert "give the right --agent" in wrong.err


# How it ends


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_agent_that_is_lost_during_a_run_is_named_by_the_deadline(planned, agents, how):
    assert planned.placer("deploy", "plan.json", *at(agents)).code == 0
    running = planned.start(
        "run", "plan.json", *at(agents), "--input", "x.npy", "--requests", 10**6, "--deadline", 2, "--json"
    )
    with AgentClient(agents.addresses["box"]) as client:
        until(lambda: client.status().last_sequence > 20)
    box = agents.process("box")
    box.send_signal(how)
    lost = time.monotonic()
    try:
        done = finish(running)
    finally:
        box.send_signal(signal.SIGCONT)
    assert time.monotonic() - lost < 2 + 10
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("error: flow 'look', request ")
    # A frozen agent may be met by its neighbour, which names the device, or by us, who asked it at its address.
    assert "'box'" in done.err or agents.addresses["box"] in done.err


def test_an_agent_that_is_lost_between_runs_is_named(planned, agents):
    assert planned.placer("deploy", "plan.json", *at(agents)).code == 0
    agents.process("box").kill()
    agents.process("box").wait()
    done = planned.placer("run", "plan.json", *at(agents), "--input", "x.npy")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("error: device 'box': agent at ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_ended_leaves_nothing(planned, number, code):
    running = planned.start("run", "plan.json", "--local", "--input", "x.npy", "--requests", 10**6, "--json")
    until(lambda: len(planned.processes()) >= 2)
    running.send_signal(number)
    done = finish(running)
    assert (done.code, done.out) == (code, "")
    assert done.err.endswith("nothing was left running here\n")


def test_a_demo_that_is_ended_leaves_nothing(desk):
    running = desk.start("demo")
    until(lambda: len(desk.processes()) >= 3)
    running.send_signal(signal.SIGINT)
    assert finish(running).code == 130


@pytest.mark.parametrize("command", ["plan", "solve"])
def test_a_search_that_is_ended_gives_its_best_plan_or_none(desk, command):
    name = "site.yaml"
    if command == "solve":
        name = desk.write("problem.json", json.dumps(large_problem())).name
    running = desk.start(command, name, "--json")
    time.sleep(0.6 if command == "plan" else 2.5)
    running.send_signal(signal.SIGINT)
    done = finish(running, timeout_s=60)
    if done.code == 130:
        assert done.out == ""
        assert done.err == "error: interrupted; nothing was left running here\n"
    else:
        known = {0: ("optimal", "feasible"), 5: ("unknown",)}
        assert done.document["status"] in known[done.code]


def test_a_search_without_time_says_so(desk):
    problem = desk.write("problem.json", json.dumps(large_problem(deadline_s=0.06))).name
    done = desk.placer("solve", problem, "--time-limit", 0.1, "--json")
    assert done.code == {"unknown": 5, "feasible": 0, "optimal": 0, "infeasible": 3}[done.document["status"]]
    if done.code == 5:
        assert "s, nor a proof that none exists; give more time" in done.err


def until(condition, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "this did not come about"
        time.sleep(0.02)
