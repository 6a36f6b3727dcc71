"""Stages that keep their results, from the plan to real agents: the same outputs, and as many executions as planned."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from rich.console import Console

from placer.assemble import assemble
from placer.deployment.assign import assign, load_models
from placer.deployment.compare import compare
from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from placer.emulation.emulate import _padded
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.measuring.calibrate import calibrate
from placer.measuring.evidence import of_observations
from placer.models.flow_graph import lookup_op, whole_op
from placer.plan import Model, decode_plan, encode_plan
from placer.planning import build_site, plan_site
from placer.report.notes import notes
from placer.report.tables import plan_tables
from profiles import Cache, read_site
from runtimes.local import LocalAgents
from tests.e2e.test_three_agents import DEVICES, SITE
from tests.placer import stages as small
from tests.placer import tflite_models as tflite

if TYPE_CHECKING:
    from pathlib import Path

    from placer.plan import Plan
    from profiles import Site

replace = msgspec.structs.replace
DISTINCT, REQUESTS = 3, 8
HITS = 1 - DISTINCT / REQUESTS


@pytest.fixture(scope="module")
def addresses():
    # In processes of their own: outputs lie in memory that the next execution writes over.
    with LocalAgents(DEVICES) as agents:
        yield agents.addresses


def frames() -> list[dict[str, np.ndarray]]:
    kinds = np.random.default_rng(5).uniform(0.5, 1.0, (DISTINCT, *small.PICTURE)).astype(np.float32)
    return [{"frame": kinds[i]} for i in (0, 1, 0, 0, 2, 1, 2, 0)]


def mean(path: Path) -> None:
    """The mean of a thumbnail as LiteRT makes it: `small` to `score`, [1, 1, 1, 1]."""
    tensors = [
        tflite.tensor("small", (1, 4, 4, 3)),
        tflite.tensor("axes", (3,), tflite.Type.INT32, buffer=1),
        tflite.tensor("score", (1, 1, 1, 1)),
    ]
    options = tflite.schema.ReducerOptionsT(keepDims=True)
    operator = tflite.operator(0, [0, 1], [2], options, tflite.Options.ReducerOptions)
    graph = tflite.subgraph(tensors, [operator], [0], [2])
    tflite.write(path, [tflite.Builtin.MEAN], [graph], [np.array([1, 2, 3], np.int32)])


def cached_site(folder: Path, *, cached: bool) -> Site:
    """Averages on any device, then a TFLite gate and an ONNX net that keep what they made."""
    small.write_models(folder)
    mean(folder / "gate.tflite")
    text = SITE.format(sink="camera", model="none").replace("memory_bytes: 1e9", "memory_bytes: 1e9, LOOK")
    (folder / "site.yaml").write_text(text.replace("LOOK", "lookup_bytes_per_s: 4e8"))
    site = read_site(folder / "site.yaml")
    cache = Cache(hits=HITS, memory_bytes=1e6) if cached else None
    shrink, gate, net = small.STAGES
    stages = (shrink, replace(gate, cache=cache), replace(net, when=None, cache=cache))
    return replace(site, flows=(replace(site.flows[0], stages=stages, outputs=("gate/score", "net/y")),))


def placed(folder: Path, *, cached: bool, gate: str, net: str) -> tuple[Plan, Site]:
    """Make a plan with these two stages on these devices, and the rest on the camera."""
    site = cached_site(folder, cached=cached)
    built, graphs = build_site(site)
    index = ProblemIndex(built.problem)
    assignment = {}
    for op in built.problem.flows[0].ops:
        wanted = {"gate": gate, "net": net}.get(op.name.partition("/")[0], "camera")
        option = next(o for o in op.options if o.device == wanted)
        assignment[op.name] = (option.device, option.mode)
    choices = (index.choice_of(0, assignment),)
    (flow,) = site.flows
    models = tuple(
        Model(
            flow=flow.name, stage=s.name, path=str(folder / s.model), reads=dict(s.reads), cache=s.cache,
            sha256=graphs[flow.name].stages[s.name].sha256,
            outputs=tuple(o.partition("/")[2] for o in flow.outputs if o.partition("/")[0] == s.name),
        )
        for s in flow.stages
    )  # fmt: skip
    plan = assemble(index, choices, evaluate(index, choices), 0.0, built=built, name="hand-made", models=models)
    # As `placer deploy` has it, from a file.
    return decode_plan(encode_plan(plan)), site


@pytest.mark.parametrize(("gate", "net"), [("camera", "box"), ("cloud", "camera")])
def test_caches_change_no_bit_and_spare_the_executions_that_the_plan_says(tmp_path, addresses, gate, net):
    measured, plans = {}, {}
    for cached in (False, True):
        plans[cached], _ = placed(tmp_path, cached=cached, gate=gate, net=net)
        deployment = assign(plans[cached], load_models(plans[cached]), epoch=next_epoch(addresses))
        deploy(deployment, addresses)
        measured[cached] = run(deployment, addresses, "flow", frames(), deadline_s=20)
    for one, other in zip(measured[False].passages, measured[True].passages, strict=True):
        assert {k: v.tobytes() for k, v in one.outputs.items()} == {k: v.tobytes() for k, v in other.outputs.items()}
    plan, found = plans[True], measured[True]
    (flow,) = plan.problem.flows
    share = {op.name: op.share for op in flow.ops}
    segment_of = {op: s for s in plan.flow("flow").segments for op in s.ops}
    for stage in ("gate", "net"):
        name = segment_of[whole_op(stage)].name
        ran, kept = (sum((o.kind, o.segment) == (k, name) for o in found.observations) for k in ("segment", "hit"))
        assert (ran, ran + kept) == (REQUESTS * share[whole_op(stage)], REQUESTS * share[lookup_op(stage)])
        assert (ran, kept) == (DISTINCT, REQUESTS - DISTINCT)
    assert not [o for o in measured[False].observations if o.kind == "hit"]

    rows = compare(plan, "flow", found)
    for stage in ("gate", "net"):
        segment = segment_of[whole_op(stage)]
        ran, kept = (next(r for r in rows if (r.kind, r.name) == (k, segment.name)) for k in ("segment", "hit"))
        assert (ran.requests, kept.requests) == (DISTINCT, REQUESTS - DISTINCT)
        # What is executed was looked for before; of a hit only the look is planned.
        look_s = next(o.seconds for op in flow.ops if op.name == lookup_op(stage) for o in op.options
                      if o.device == segment.device)  # fmt: skip
        assert (ran.planned_s, kept.planned_s) == (segment.seconds, look_s)
        assert look_s > 0
    ends = {r.name: r.requests for r in rows if r.kind == "flow"}
    assert ends == {"flow": DISTINCT, "flow, in part": REQUESTS - DISTINCT}


def test_what_was_found_says_nothing_of_how_fast_a_device_executes(tmp_path, addresses):
    plan, site = placed(tmp_path, cached=True, gate="camera", net="box")
    deployment = assign(plan, load_models(plan), epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    found = run(deployment, addresses, "flow", frames(), deadline_s=20)
    evidence = of_observations(found.observations)
    net = next(s for s in plan.flow("flow").segments if whole_op("net") in s.ops)
    (of_net,) = (e for e in evidence if (e.kind, e.name) == ("segment", net.name))
    # A look is no hop either.
    assert all(e.to for e in evidence if e.kind == "hop")
    # Those that were executed, without the first.
    assert of_net.requests == DISTINCT - 1
    built, _ = build_site(site)
    exact = replace(of_net, spread=0.0, seconds=net.seconds)
    (factor,) = calibrate(site, built.problem, plan, [exact])
    assert factor.name == "box"
    assert factor.ratio == pytest.approx(1.0, rel=1e-6)


def test_an_emulation_executes_every_request(tmp_path):
    plan, _ = placed(tmp_path, cached=True, gate="camera", net="box")
    planned_s = {s.name: s.seconds for s in plan.flow("flow").segments}
    segments = [
        s for a in assign(plan, load_models(plan)).assignments.values() for s in _padded(plan, a).segments
    ]  # fmt: skip
    assert {s.name: (s.pad_to_s, s.cache_bytes) for s in segments} == {n: (s, None) for n, s in planned_s.items()}


def test_a_plan_of_a_site_file_deploys_with_its_caches(tmp_path):
    plan = plan_site(cached_site(tmp_path, cached=True))
    assert [(m.stage, m.cache) for m in plan.models] == [
        ("shrink", None), ("gate", Cache(hits=HITS, memory_bytes=1e6)), ("net", Cache(hits=HITS, memory_bytes=1e6)),
    ]  # fmt: skip
    assert decode_plan(encode_plan(plan)) == plan
    segments = [s for a in assign(plan, load_models(plan)).assignments.values() for s in a.segments]
    assert sorted(s.cache_bytes or 0 for s in segments)[-2:] == [10**6, 10**6]
    assert sum(s.cache_bytes is None for s in segments) >= 1
    console = Console(width=160, file=StringIO())
    for table in plan_tables(plan):
        console.print(table)
    assert console.file.getvalue().count("hits 0.625") == 2
    assert [note for note in notes(plan) if "of requests of which no result was kept" in note]
    # What it would save to run a stage elsewhere than its results are kept is no rule that costs.
    assert plan.explain(time_limit_s=20).rules == ()
