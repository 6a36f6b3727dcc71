"""Assignments: every tensor a segment needs is made there, given there, or sent there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from placer.demo import FLOW, plan_demo
from placer.deployment.assign import assign, load_models
from placer.errors import ProblemError


@pytest.fixture(scope="module")
def plan():
    return plan_demo().plan


def test_every_device_is_told_what_it_runs_holds_and_sends(plan):
    models = load_models(plan)
    (model,) = models[FLOW].stages.values()
    deployment = assign(plan, models, epoch=7, threads=3)
    assert list(deployment.assignments) == ["camera", "box", "gpu"]
    flow = deployment.flow(FLOW)
    assert (flow.source, flow.sink, flow.deadline_s) == ("camera", "gpu", None)
    for device, share in deployment.assignments.items():
        assert (share.device, share.epoch, share.plan) == (device, 7, plan.identity)
        assert all(s.threads == 3 for s in share.segments)
        made = {t.name for s in share.segments for t in s.outputs}
        given = {t.name for t in flow.inputs} if device == flow.source else set()
        arrives = {
            t
            for sender in deployment.assignments.values()
            for route in sender.routes
            if route.to == device
            for t in route.tensors
        }
        wanted = {t.name for s in share.segments for t in s.inputs}
        wanted |= {t.name for t in flow.outputs} if device == flow.sink else set()
        assert wanted <= made | given | arrives
        assert arrives <= wanted
        largest = max(sum(t.bytes for t in s.inputs) for s in share.segments) if share.segments else 0
        assert share.max_message_bytes > largest
    for sha256, blob in deployment.blobs.items():
        assert hashlib.sha256(blob).hexdigest() == sha256
    assert sum(map(len, deployment.blobs.values())) == pytest.approx(Path(model.path).stat().st_size, rel=0.2)


def test_a_plan_of_a_bare_problem_has_no_models(plan):
    with pytest.raises(ProblemError, match="names no model files, so it cannot be deployed"):
        load_models(msgspec.structs.replace(plan, models=()))


def test_models_that_are_not_given_are_named(plan):
    with pytest.raises(
        ProblemError, match=rf"^graphs: none of flow '{plan.flows[0].name}'; give those of `load_models"
    ):
        assign(plan, {})


def test_another_file_than_the_plans_is_refused(plan):
    (model,) = plan.models
    other = msgspec.structs.replace(model, sha256="0" * 64)
    with pytest.raises(
        ProblemError, match=r"has changed since the plan was made \(sha256 [0-9a-f]{12}..., the plan has 0{12}"
    ):
        load_models(msgspec.structs.replace(plan, models=(other,)))
    gone = msgspec.structs.replace(model, path=model.path + ".gone.onnx")
    with pytest.raises(ProblemError, match="cannot read the model file: No such file"):
        load_models(msgspec.structs.replace(plan, models=(gone,)))
