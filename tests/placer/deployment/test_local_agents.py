"""Agents of this machine: they listen, they end with the block, and signals do not lose them."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from placer.deployment.local_agents import local_agents
from placer.errors import DeployError
from runtimes.client import AgentClient
from runtimes.errors import Unreachable
from runtimes.signals import signals_afterwards


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_agents_serve_in_the_block_and_are_gone_after_it(folder):
    with local_agents(["camera", "box"]) as addresses:
        for device, address in addresses.items():
            with AgentClient(address) as client:
                assert client.status().device == device
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []
    with AgentClient(addresses["box"], timeout_s=2) as client, pytest.raises(Unreachable):
        client.status()


def test_agents_are_gone_when_the_work_with_them_fails(folder):
    with pytest.raises(ZeroDivisionError), local_agents(["camera"]) as addresses:
        raise ZeroDivisionError
    assert list(folder.iterdir()) == []
    with AgentClient(addresses["camera"], timeout_s=2) as client, pytest.raises(Unreachable):
        client.status()


def test_an_agent_that_does_not_start_is_named_with_its_last_words(folder, monkeypatch):
    broken = folder.parent / "python"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(DeployError, match="agent of device 'camera' did not start on this machine: no such luck"):
        local_agents(["camera"]).__enter__()
    broken.unlink()
    assert [p for p in folder.iterdir() if Path(p) != broken] == []


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_waits_for_the_end_of_the_block(number, error):
    def leave(number, frame):
        raise SystemExit

    before = signal.signal(signal.SIGTERM, leave)
    ended: list[bool] = []

    def work():
        with signals_afterwards():
            signal.raise_signal(number)
            ended.append(True)

    try:
        with pytest.raises(error):
            work()
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended


def test_other_threads_may_start_agents_too():
    said = []

    def work():
        with local_agents(["camera"]) as addresses:
            said.append(addresses)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert list(said[0]) == ["camera"]
