"""The explain and pareto commands, on the demo's site and on a slower one where something can be traded."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from placer import demo_data
from placer.__main__ import main
from placer.demo import plan_demo
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.plan import encode_plan
from placer.problem import encode_problem
from placer.report.tables import amount
from placer.rules import deadline, with_limit
from placer.solver.solve import solve
from tests.oracles.paused_problem import paused_problem

SITE = Path(demo_data.__file__).parent / "site.yaml"


@pytest.fixture(scope="module")
def slow():
    """The demo's problem with 2.5 MB/s between camera and box."""
    problem = plan_demo().plan.problem
    links = tuple(
        msgspec.structs.replace(k, bytes_per_s=2.5e6) if {k.source, k.target} == {"camera", "box"} else k
        for k in problem.links
    )
    return msgspec.structs.replace(problem, links=links)


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["placer", *arguments])
        # A command keeps standard output for itself; the next one in this process needs it back.
        kept = os.dup(1)
        code = main()
        os.dup2(kept, 1)
        os.close(kept)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_explain_speaks_of_rules_in_the_words_of_the_site(command):
    Path("plan.json").write_bytes(encode_plan(plan_demo().plan))
    code, out, _ = command("explain", "plan.json")
    assert code == 0
    assert "privacy of flow 'inspect' on" in " ".join(out.split())
    assert "not_on" not in out


def test_explain_says_what_places_rules_and_limits_cost(command, slow):
    plan = solve(with_limit(slow, deadline("inspect"), 0.15))
    Path("plan.json").write_bytes(encode_plan(plan))
    code, out, _ = command("explain", "plan.json", "--limit", "deadline")
    assert code == 0
    for words in (
        "Why there",
        "What the rules cost",
        "together: deadline_s of flow 'inspect'; not_on of flow",
        "per ms",
    ):
        assert words in out
    code, out, _ = command("explain", "plan.json", "--limit", "deadline", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["explanation"]["rules"][0]["rule"] == "deadline_s of flow 'inspect'"
    (worth,) = answer["sensitivities"]
    assert worth["proven"]
    assert worth["tighter"]["limit"] < worth["least_limit"] <= worth["limit"] < worth["looser"]["limit"]
    assert worth["looser"]["objective"] < plan.objective < worth["tighter"]["objective"]


def test_pareto_reads_problems_and_sites_and_draws(command, slow):
    Path("problem.json").write_bytes(encode_problem(slow))
    code, out, _ = command("pareto", "problem.json", "--picture", "front.svg", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["complete"]
    joules, seconds = zip(*(p["values"] for p in answer["plans"]), strict=True)
    assert len(joules) > 2
    assert list(joules) == sorted(joules)
    assert list(seconds) == sorted(seconds, reverse=True)
    assert "<svg" in Path("front.svg").read_text()
    code, out, _ = command("pareto", "problem.json", "--points", "2")
    assert code == 0
    assert "2 plans, not all there are" in out
    assert "after pauses" not in out
    code, out, _ = command("pareto", str(SITE))
    assert code == 0
    assert "1 plan, all there are" in out


def test_pareto_tells_the_deadline_that_a_plan_keeps_after_pauses(command):
    Path("problem.json").write_bytes(encode_problem(paused_problem(0.4)))
    code, out, _ = command("pareto", "problem.json", "--json")
    assert code == 0
    cheapest = json.loads(out)["plans"][0]["flows"][0]
    index = ProblemIndex(paused_problem(0.4))
    choices = [index.choice_of(0, {op: tuple(place) for op, place in cheapest["assignment"].items()})]
    assert cheapest["latency_s"] == evaluate(index, choices).flows[0].latency_s
    assert cheapest["after_pauses_s"] == evaluate(index, choices, "paused").flows[0].latency_s
    assert cheapest["after_pauses_s"] > 2 * cheapest["latency_s"]
    code, out, _ = command("pareto", "problem.json")
    assert code == 0
    assert "after pauses" in out
    assert amount(cheapest["after_pauses_s"], "s") in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pareto", "site.txt"), "neither a site (.yaml) nor a problem (.json)"),
        (("pareto", "problem.json", "--first", "joules"), "--first 'joules': no objective; give one of energy_j"),
        (("pareto", "problem.json", "--second", "carbon_g"), "devices[0].carbon_g_per_j: missing"),
        (("pareto", "problem.json", "--second", "energy_j"), "two different objectives"),
        (("explain", "plan.json"), "plan.json: cannot be read"),
    ],
)
def test_wrong_questions_are_refused(command, slow, arguments, words):
    Path("problem.json").write_bytes(encode_problem(slow))
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_a_limit_that_is_not_there_is_refused(command, slow):
    Path("plan.json").write_bytes(encode_plan(solve(slow)))
    code, _, err = command("explain", "plan.json", "--limit", "colour")
    assert code == 2
    assert "--limit 'colour': no limit of the plan is named so; it has: deadline_s of flow 'inspect'" in err


def test_an_impossible_problem_says_how_far_a_rule_would_have_to_give(command, slow):
    Path("problem.json").write_bytes(encode_problem(with_limit(slow, deadline("inspect"), 0.02)))
    code, out, err = command("solve", "problem.json", "--json")
    assert code == 3
    (amount,) = json.loads(out)["amounts"]
    assert amount["limit"] == 0.02 < amount["needed"]
    assert amount["enough"]
    assert "0.02 s given, 0.03333 s would do" in err


def test_a_front_of_latency_from_a_site_of_several_flows_is_refused_with_what_to_do(command):
    text = SITE.read_text(encoding="utf-8").replace("orientation.onnx", str(SITE.with_name("orientation.onnx")))
    site = yaml.safe_load(text)
    site["flows"].append(site["flows"][0] | {"name": "again"})
    Path("two.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    code, _, err = command("pareto", "two.yaml")
    assert code == 2
    assert err.startswith("error: two.yaml: flows: there are 2, and latency_s is that of one;")
    assert "--second carbon_g, or keep one flow" in err


def test_a_front_of_carbon_and_cost_from_a_site(command, monkeypatch):
    text = SITE.read_text(encoding="utf-8").replace("orientation.onnx", str(SITE.with_name("orientation.onnx")))
    Path("bare.yaml").write_text(text, encoding="utf-8")
    code, _, err = command("pareto", "bare.yaml", "--second", "cost")
    assert code == 2
    assert "bare.yaml: zones[0].cost_per_j: missing; cost counts the joules of 'camera'" in err
    text = text.replace("region: eu}", "region: eu, grid: DE_2020, cost_per_j: 1e-7}")
    text = text.replace("region: us}", "region: us, grid: gcp_us-west1, cost_per_j: 2e-8}")
    Path("priced.yaml").write_text(text, encoding="utf-8")
    code, _, err = command("pareto", "priced.yaml", "--second", "carbon_g")
    assert code == 2
    assert "priced.yaml: links, from 'box' to 'gpu': carbon_g_per_j is missing;" in err
    text = text.replace("network: malmodin_fixed,", "network: malmodin_fixed, grid: DE_2020, cost_per_j: 1e-7,")
    Path("whole.yaml").write_text(text, encoding="utf-8")
    for second in ("carbon_g", "cost"):
        code, out, err = command("pareto", "whole.yaml", "--second", second, "--json")
        answer = json.loads(out)
        assert (code, answer["complete"]) == (0, True), err
        assert all(value > 0 for plan in answer["plans"] for value in plan["values"])
    Path("green.yaml").write_text(
        text + "objective: carbon_g\nlimits: {energy_w: 1}\ncarbon_hour: 11\n", encoding="utf-8"
    )
    code, _, err = command("plan", "green.yaml")
    assert code == 2
    assert "'gcp_us-west1' has no figures by hour" in err
    Path("green.yaml").write_text(text + "objective: carbon_g\nlimits: {energy_w: 1}\n", encoding="utf-8")
    code, out, _ = command("plan", "green.yaml")
    assert code == 0
    assert "g/s at 2 per second" in out
