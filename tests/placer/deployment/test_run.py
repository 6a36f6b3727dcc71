"""Runs through a deployed plan: their results, what was observed of them, and what fails."""

from __future__ import annotations

import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from placer.errors import DeployError, RunError
from runtimes.client import AgentClient
from tests.runtimes.plans import branching_result, sample


@pytest.mark.parametrize("sink", ["camera", "cloud"])
def test_what_is_deployed_runs(addresses, deployment, sink):
    given = deployment(next_epoch(addresses), sink)
    deploy(given, addresses)
    done: list[int] = []
    measured = run(given, addresses, "flow", (sample(i) for i in range(3)), deadline_s=10, progress=done.append)
    assert done == [1, 2, 3]
    for i, passage in enumerate(measured.passages):
        np.testing.assert_allclose(passage.outputs["y"], branching_result(sample(i)["x"]), rtol=1e-6)
        own = [o for o in measured.observations if o.request == passage.request_id]
        assert len([o for o in own if o.kind == "segment"]) == 4
        assert len([o for o in own if o.kind == "hop"]) == (4 if sink == "camera" else 3)
        assert 0 < sum(o.seconds for o in own if o.kind == "segment") < passage.latency_s


def test_a_run_that_fails_is_named(addresses, deployment):
    given = deployment(next_epoch(addresses))
    deploy(given, addresses)
    with pytest.raises(RunError, match=r"flow 'flow', request 2: .*\[1, 5\]"):
        run(given, addresses, "flow", [sample(), {"x": np.zeros((1, 5), np.float32)}], deadline_s=5)
    with pytest.raises(DeployError, match=r"no flow 'other'; it has \['flow'\]"):
        run(given, addresses, "other", [], deadline_s=5)
    with AgentClient(addresses["camera"]) as client:
        assert client.status().open_requests == 0
