"""kserve's gRPC client is served as any client of the Open Inference Protocol; its protocol has no streams."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from tests.runtimes.plans import BRANCHING, branching_result, plan

PYTHON = os.environ.get("PLACER_KSERVE_PYTHON")


@pytest.mark.skipif(PYTHON is None, reason="PLACER_KSERVE_PYTHON names no environment with kserve (.ci/long makes one)")
def test_the_client_of_kserve_is_served(addresses):
    deploy(
        plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses)), addresses
    )  # fmt: skip
    script = Path(__file__).with_name("kserve_client.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, str(script), addresses["camera"]], capture_output=True, text=True, timeout=120, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["live"], told["ready"], told["flow"], told["nothing"]) == (True, True, True, False)
    expected = branching_result(np.array([[-1, 0.5, 2, -3]], np.float32))
    for kind in ("raw", "typed"):
        assert (told[kind]["id"], told[kind]["model"]) == ("from-kserve", "flow")
        np.testing.assert_array_equal(np.array(told[kind]["outputs"]["y"], np.float32), expected)
    assert told["refused"] == "INVALID_ARGUMENT"
