"""What a device remembers: read back as it was written, and refused as a whole when a single bit differs."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.errors import Exhausted, WrongState
from runtimes.state import Plans, StateFile
from tests.runtimes.plans import BRANCHING, plan


def plans(epoch: int = 2) -> Plans:
    shares = [
        plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=e).assignments["box"]
        for e in (epoch, epoch - 1)
    ]
    return Plans(active=shares[0], previous=shares[1])


def test_what_was_written_is_read(tmp_path):
    state = StateFile(tmp_path)
    assert state.read() is None
    for given_plans in (plans(2), plans(3)):
        state.write(given_plans)
        assert StateFile(tmp_path).read() == given_plans
    assert os.listdir(tmp_path) == ["plans.state"]


@settings(max_examples=60)
@given(data=st.data())
def test_torn_or_changed_it_is_refused(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("state")
    StateFile(directory).write(plans())
    path = directory / "plans.state"
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :])
    with pytest.raises(WrongState, match="deploy a plan again"):
        StateFile(directory).read()


def test_links_are_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    StateFile(outside).write(plans())
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "plans.state").symlink_to(outside / "plans.state")
    with pytest.raises(WrongState, match="cannot be used"):
        StateFile(inside).read()
    (inside / "plans.state").unlink()
    os.link(outside / "plans.state", inside / "plans.state")
    with pytest.raises(WrongState, match="one name"):
        StateFile(inside).read()


def test_a_full_disk_leaves_the_former_plans(tmp_path, monkeypatch):
    state = StateFile(tmp_path)
    state.write(plans(2))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted, match="No space left"):
        state.write(plans(3))
    assert state.read() == plans(2)
    assert os.listdir(tmp_path) == ["plans.state"]
