"""Deploying: every device prepares before any is switched, and what cannot be reached is named."""

from __future__ import annotations

import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.errors import DeployError


def test_every_device_prepares_before_any_is_switched(addresses, deployment):
    given = deployment(next_epoch(addresses))
    steps: list[tuple[str, str]] = []
    deploy(given, addresses, lambda device, step: steps.append((device, step.split()[0])))
    assert {device for device, step in steps if step == "prepare"} == {"camera", "box", "cloud"}
    assert [device for device, step in steps if step == "activate"] == ["box", "cloud", "camera"]
    assert next_epoch(addresses) == given.epoch + 1


def test_only_missing_blobs_are_sent(addresses, deployment):
    deploy(deployment(next_epoch(addresses)), addresses)
    steps: list[str] = []
    deploy(deployment(next_epoch(addresses)), addresses, lambda device, step: steps.append(step))
    assert not [step for step in steps if step.startswith("upload")]


def test_devices_without_address_or_agent_are_named(addresses, deployment):
    given = deployment(next_epoch(addresses))
    with pytest.raises(DeployError, match="no address is given for device 'box', 'cloud'"):
        deploy(given, {"camera": addresses["camera"]})
    with pytest.raises(DeployError, match=r"activated nowhere: device 'box': agent at 127\.0\.0\.1:1"):
        deploy(given, {**addresses, "box": "127.0.0.1:1"})
    with pytest.raises(DeployError, match=r"device 'box'.*127\.0\.0\.1:1"):
        next_epoch({"box": "127.0.0.1:1"})
    with pytest.raises(DeployError, match="for device 'box', this is 'cloud'"):
        deploy(given, {**addresses, "box": addresses["cloud"]})
