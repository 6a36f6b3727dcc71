"""Manifests: what is written is read back, and what is wrong is refused with its place and value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.assignment import Assignment, decode_assignment, encode_assignment
from runtimes.errors import BadManifest
from tests.runtimes.plans import BRANCHING, plan


def manifest(device: str = "cloud") -> Assignment:
    return plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=3).assignments[device]


@pytest.mark.parametrize("device", ["camera", "box", "cloud"])
def test_round_trip(device):
    assert decode_assignment(encode_assignment(manifest(device))) == manifest(device)


def test_required_peers_are_receivers_sources_and_whom_a_source_watches():
    assert manifest("camera").required_peers() == {"box", "cloud"}
    assert manifest("box").required_peers() == {"cloud", "camera"}
    assert manifest("cloud").required_peers() == {"camera"}


def _set(tree, path, value):
    *parents, last = path
    for key in parents:
        tree = tree[key]
    tree[last] = value


@pytest.mark.parametrize(
    ("device", "path", "value", "says"),
    [
        ("cloud", ["format"], "placer.assignment/2.0", r"placer.assignment/2.0.*\$.format"),
        ("cloud", ["extra"], 1, "unknown field `extra`"),
        ("cloud", ["epoch"], 0, "epoch is 0"),
        ("cloud", ["epoch"], "1", r"\$.epoch"),
        ("cloud", ["device"], "", "device '' is empty"),
        ("cloud", ["device"], "mars", "flow 'flow' does not pass device 'mars'"),
        ("cloud", ["max_message_bytes"], 2**31, "max_message_bytes is 2147483648"),
        ("cloud", ["segments", 0, "blob"], "../../etc/passwd", r"is no SHA-256.*\$.segments\[0\]"),
        ("cloud", ["segments", 0, "blob_bytes"], 0, "blob_bytes is 0"),
        ("cloud", ["segments", 0, "threads"], 0, "threads is 0"),
        ("cloud", ["segments", 0, "pad_to_s"], -1.0, "pad_to_s is -1.0"),
        ("cloud", ["segments", 0, "runtime"], "torch", r"torch.*\$.segments\[0\].runtime"),
        ("cloud", ["segments", 0, "flow"], "other", "names flow 'other'"),
        ("cloud", ["segments", 0, "inputs"], [], "has no inputs"),
        ("cloud", ["segments", 0, "inputs", 0, "dtype"], "FLOAT", "dtype 'FLOAT' is unknown"),
        ("cloud", ["segments", 0, "inputs", 0, "shape"], [1, -1], "each dimension is from 0"),
        ("cloud", ["segments", 0, "outputs", 0, "shape"], [4, 1], "in one place and"),
        ("cloud", ["segments", 1, "name"], "flow/2", "'flow/2' occurs twice"),
        ("cloud", ["segments", 1, "name"], "flow", "flows and segments: 'flow' occurs twice"),
        ("cloud", ["segments", 1, "outputs", 0, "name"], "c", "'c' occurs twice"),
        ("cloud", ["flows", 0, "sink"], "mars", "sink 'mars' of flow 'flow' is not among its devices"),
        ("cloud", ["flows", 0, "deadline_s"], 0.0, "deadline_s of flow 'flow' is 0.0"),
        ("cloud", ["routes", 0, "to"], "cloud", "leads back to 'cloud' itself"),
        ("cloud", ["routes", 0, "to"], "mars", "does not pass that device"),
        ("cloud", ["routes", 0, "flow"], "other", "names flow 'other'"),
        ("cloud", ["routes", 0, "after"], "flow/1", "no segment or condition that flow"),
        ("cloud", ["routes", 0, "after"], "", "whose source is 'camera'"),
        ("cloud", ["routes", 0, "tensors"], ["c"], r"carries \['c'\], which arise elsewhere"),
        ("cloud", ["routes", 0, "tensors"], [], "carries no tensors"),
    ],
)
def test_wrong_manifests_are_refused_with_their_place(device, path, value, says):
    tree = json.loads(encode_assignment(manifest(device)))
    _set(tree, path, value)
    with pytest.raises(BadManifest, match=says):
        decode_assignment(json.dumps(tree).encode())


@given(st.binary(max_size=200))
def test_noise_is_no_manifest(noise):
    with pytest.raises(BadManifest):
        decode_assignment(noise)
