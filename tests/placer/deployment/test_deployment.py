"""Deployments: parts that do not fit each other are refused."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from placer.errors import DeployError
from tests.runtimes.plans import BRANCHING, plan

ELSEWHERE = plan(BRANCHING, outputs=("y",), source="camera", sink="box", epoch=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: {"assignments": {}}, "has no assignment"),
        (lambda d: {"blobs": {}}, r"needs blob [0-9a-f]{64}, which is not here"),
        (lambda d: {"blobs": {**d.blobs, "0" * 64: b"x"}}, "have another digest"),
        (lambda d: {"epoch": 2}, r"epoch 2 is for 'camera', 'plan', 1"),
        (lambda d: {"assignments": {"camera": d.assignments["camera"]}}, r"passes \['box', 'cloud'\]"),
        (lambda d: {"assignments": {**d.assignments, "box": ELSEWHERE.assignments["box"]}}, "two ways"),
    ],
)
def test_parts_that_do_not_fit_are_refused(deployment, change, says):
    with pytest.raises(DeployError, match=says):
        dataclasses.replace(deployment(), **change(deployment()))


def test_a_blob_of_another_size_is_refused(deployment):
    given = deployment()
    share = given.assignments["box"]
    share = msgspec.structs.replace(share, segments=(msgspec.structs.replace(share.segments[0], blob_bytes=1),))
    with pytest.raises(DeployError, match="says its blob has 1 bytes"):
        dataclasses.replace(given, assignments={**given.assignments, "box": share})


def test_sources_are_activated_last(deployment):
    assert deployment().sources_last() == ("box", "cloud", "camera")
