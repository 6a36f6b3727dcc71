"""Agents for all tests that leave them alive: three without certificates, and three of a site with its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from placer.deployment.deploy import deploy, next_epoch
from runtimes.local import LocalAgents
from tests.runtimes.plans import BRANCHING, plan
from tests.runtimes.site_certs import DEVICES, SiteCerts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from placer.deployment.deployment import Deployment
    from runtimes.tls import Credentials


@pytest.fixture(scope="session")
def addresses() -> Iterator[Mapping[str, str]]:
    with LocalAgents(DEVICES) as agents:
        yield agents.addresses


@pytest.fixture(scope="session")
def plant(tmp_path_factory) -> SiteCerts:
    return SiteCerts(tmp_path_factory.mktemp("site") / "certs")


@pytest.fixture(scope="session")
def deployer(plant) -> Credentials:
    return plant.credentials("deployer", "ci")


@pytest.fixture(scope="session")
def client(plant) -> Credentials:
    return plant.credentials("client", "me")


@pytest.fixture(scope="session")
def device(plant) -> Credentials:
    """A device of the site that no plan names."""
    return plant.credentials("device", "stray")


@pytest.fixture(scope="session")
def secure_agents(plant) -> Iterator[LocalAgents]:
    credentials = {d: plant.files("device", d) for d in DEVICES}
    # In one process each: what is tested is who may talk to whom, and starting processes takes time.
    with LocalAgents(DEVICES, credentials=credentials, options=["--no-isolation"]) as running:
        yield running


@pytest.fixture
def planned(secure_agents, deployer) -> Deployment:
    """A plan with a join, on all three; its sink is not its source."""
    epoch = next_epoch(secure_agents.addresses, deployer)
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=epoch)
    deploy(deployment, secure_agents.addresses, credentials=deployer)
    return deployment
