"""Probes by agents: who may ask for one, where none goes, and that one is made at a time."""

from __future__ import annotations

import socket
import threading

import pytest

from placer.deployment.deploy import deploy, next_epoch
from runtimes import prober
from runtimes.client import AgentClient
from runtimes.errors import BadRequest, Exhausted, Forbidden, Unreachable
from runtimes.probe import probe_link
from tests.runtimes.plans import BRANCHING, plan
from tests.runtimes.test_probe import check


def test_a_link_between_two_agents(addresses):
    with AgentClient(addresses["camera"]) as camera:
        check(camera.probe("box", addresses["box"]), "box")


def test_a_link_that_a_plan_names_needs_no_address(addresses):
    epoch = next_epoch(addresses)
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=epoch), addresses)
    with AgentClient(addresses["camera"]) as camera:
        assert camera.probe("box").device == "box"


def test_without_certificates_a_probe_stays_where_plans_lead(addresses):
    with AgentClient(addresses["cloud"]) as cloud:
        with pytest.raises(Forbidden, match=r"'cloud' has no certificates.*not 192\.0\.2\.1:7000"):
            cloud.probe("box", "192.0.2.1:7000")
        with pytest.raises(BadRequest, match=r"no plan on 'cloud' names device 'stranger'"):
            cloud.probe("stranger")


def test_nobody_there_is_said(addresses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with AgentClient(addresses["camera"]) as camera, pytest.raises(Unreachable, match=address):
            camera.probe("box", address)


def test_one_probe_at_a_time(addresses, monkeypatch):
    under_way, done = threading.Event(), threading.Event()

    class Held:
        device = "camera"

        def states(self):
            return ()

    def wait(*_, **__):
        under_way.set()
        done.wait(10)
        return "measured"

    monkeypatch.setattr(prober, "probe_link", wait)
    held = prober.Prober(Held(), None)  # type: ignore[arg-type]
    first = threading.Thread(target=held.probe, args=("box", "127.0.0.1:1", 1.0))
    first.start()
    assert under_way.wait(10)
    with pytest.raises(Exhausted, match="'camera' is probing a link"):
        held.probe("box", "127.0.0.1:1", 1.0)
    done.set()
    first.join()
    assert held.probe("box", "127.0.0.1:1", 1.0) == "measured"


def test_with_certificates_a_deployer_asks_and_devices_prove_who_they_are(secure_agents, deployer, client):
    there = secure_agents.addresses
    with AgentClient(there["camera"], credentials=deployer, device="camera") as camera:
        check(camera.probe("box", there["box"]), "box")
        with pytest.raises(Unreachable, match=r"its certificate does not name device 'box' of this site"):
            # The cloud's certificate is not the box's: nothing is sent.
            camera.probe("box", there["cloud"])
    with AgentClient(there["camera"], credentials=client, device="camera") as camera, pytest.raises(Forbidden):
        camera.probe("box", there["box"])
    check(probe_link(there["box"], credentials=client, device="box"), "box")
