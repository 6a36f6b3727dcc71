"""Agents with certificates, as processes: who is let in, what either side is told, and how certificates are renewed."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from placer.deployment.deploy import deploy
from placer.errors import DeployError
from runtimes import connection, server
from runtimes.client import AgentClient
from runtimes.errors import Forbidden, Unreachable
from runtimes.local import LocalAgents
from runtimes.protos import agent_pb2
from runtimes.rpc import AGENT_SERVICE, Stub
from runtimes.server import Agent, Options
from runtimes.tls import CredentialFiles, Credentials
from tests.runtimes.plans import BRANCHING, branching_result, plan, sample
from tests.runtimes.site_certs import DEVICES, SiteCerts, ask


@pytest.fixture(scope="module")
def other_site(tmp_path_factory) -> SiteCerts:
    return SiteCerts(tmp_path_factory.mktemp("other site") / "certs")


def test_a_plan_runs_between_devices_that_know_each_other(secure_agents, planned, client):
    np.testing.assert_allclose(ask(secure_agents, client), branching_result(sample()["x"]), rtol=1e-6)


def test_a_client_that_knows_no_device_names_goes_by_the_address(secure_agents, client):
    with AgentClient(secure_agents.addresses["box"], credentials=client) as box:
        assert box.status().device == "box"
    port = secure_agents.addresses["box"].rpartition(":")[2]
    with (
        AgentClient(f"localhost:{port}", credentials=client) as box,
        pytest.raises(Unreachable, match=r"its certificate does not name localhost"),
    ):
        box.status()


def refused_at(address, credentials, device) -> str:
    started = time.monotonic()
    with (
        AgentClient(address, credentials=credentials, device=device, timeout_s=5) as agent,
        pytest.raises(Unreachable) as caught,
    ):
        agent.status()
    assert time.monotonic() - started < 5
    return str(caught.value)


def said(secure_agents, device, words) -> bool:
    deadline = time.monotonic() + 5
    while words not in secure_agents.log(device) and time.monotonic() < deadline:
        time.sleep(0.02)
    return words in secure_agents.log(device)


def raw_refusal(address, plant, files: CredentialFiles | None) -> str:
    """Shake hands with files that this product would not even try."""
    authority = (plant.folder / "authority.pem").read_bytes()
    own = () if files is None else (files.key.read_bytes(), files.certificate.read_bytes())
    options = [("grpc.ssl_target_name_override", "box.device.plant")]
    with (
        grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, *own), options=options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        Stub(channel, AGENT_SERVICE).Echo(agent_pb2.EchoRequest(), timeout=5)
    return caught.value.code().name


def test_callers_without_a_certificate_are_refused(secure_agents, plant):
    assert "if the agent asks for certificates, give" in refused_at(secure_agents.addresses["box"], None, None)
    assert raw_refusal(secure_agents.addresses["box"], plant, None) == "UNAVAILABLE"
    assert said(secure_agents, "box", "PEER_DID_NOT_RETURN_A_CERTIFICATE")


def test_callers_with_an_expired_certificate_are_refused(secure_agents, plant):
    expired = plant.files("client", "late", made_ago_s=7200)
    assert raw_refusal(secure_agents.addresses["box"], plant, expired) == "UNAVAILABLE"
    assert said(secure_agents, "box", "certificate has expired")


def test_callers_with_a_foreign_certificate_are_refused(secure_agents, plant, other_site):
    foreign = other_site.files("client", "me")
    assert raw_refusal(secure_agents.addresses["box"], plant, foreign) == "UNAVAILABLE"
    assert said(secure_agents, "box", "unable to get local issuer certificate")
    # And it does not believe the agent either.
    why = refused_at(secure_agents.addresses["box"], Credentials(foreign), "box")
    assert "its certificate is refused here: another authority made it" in why


def test_a_certificate_that_expires_in_use_is_named_by_its_holder(secure_agents, plant):
    mine = Credentials(plant.files("client", "soon"))
    files = plant.files("client", "soon", made_ago_s=7200)
    # The expired one is what it opens its channel with.
    object.__setattr__(mine, "_material", dataclasses.replace(
        mine.material(), key=files.key.read_bytes(), certificate=files.certificate.read_bytes()))  # fmt: skip
    assert "the own certificate is of no use: " in refused_at(secure_agents.addresses["box"], mine, "box")


def test_another_site_of_the_same_authority_is_refused(secure_agents, plant, tmp_path):
    # As if one authority served two sites: its key signs for a site of another name.
    twin = SiteCerts(tmp_path / "twin", site="plant2")
    for name in ("authority.pem", "authority.key"):
        shutil.copy(twin.folder / name, tmp_path / name)
    both = tmp_path / "both.pem"
    both.write_bytes((plant.folder / "authority.pem").read_bytes() + (twin.folder / "authority.pem").read_bytes())
    box = dataclasses.replace(plant.files("device", "gate"), authority=both)
    stranger = dataclasses.replace(twin.files("client", "me"), authority=both)
    with (
        LocalAgents(["gate"], credentials={"gate": box}) as gate,
        AgentClient(gate.addresses["gate"], credentials=Credentials(stranger)) as client,
        pytest.raises(Forbidden, match="spiffe://plant2/client/me is of another site; this is spiffe://plant/device"),
    ):
        client.status()


@pytest.mark.parametrize(("made_ago_s", "message"), [(7200, "has expired"), (-7200, "is not yet valid")])
def test_an_agent_does_not_start_with_a_certificate_that_nobody_accepts(plant, tmp_path, made_ago_s, message):
    files = plant.files("device", "old", made_ago_s=made_ago_s)
    done = start(tmp_path, "old", files)
    assert done.returncode == 2
    assert f"old.pem: certificate {message}" in done.stderr


def test_an_agent_does_not_start_with_another_devices_certificate(plant, tmp_path):
    done = start(tmp_path, "box2", plant.files("device", "box3"))
    assert done.returncode == 2
    assert "the certificate is of spiffe://plant/device/box3, this is device 'box2'" in done.stderr


def test_an_agent_does_not_start_with_a_clients_certificate(plant, tmp_path):
    assert start(tmp_path, "box", plant.files("client", "box")).returncode == 2


def start(folder, name, files: CredentialFiles, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtimes", "--name", name, "--store", str(folder / "store"), *more]
    command += ["--authority", str(files.authority), "--certificate", str(files.certificate), "--key", str(files.key)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("absent", ["--authority", "--certificate", "--key"])
def test_the_three_files_belong_together(plant, tmp_path, absent):
    files = plant.files("device", f"lone{absent}")
    given = {"--authority": files.authority, "--certificate": files.certificate, "--key": files.key}
    del given[absent]
    command = [sys.executable, "-m", "runtimes", "--name", "box", "--store", str(tmp_path)]
    command += [str(word) for pair in given.items() for word in pair]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert f"{absent}: missing" in done.stderr


def test_a_secure_agent_takes_no_insecure_option(plant, tmp_path):
    done = start(tmp_path, "box", plant.files("device", "both"), "--insecure-network")
    assert done.returncode == 2
    assert "--insecure-network" in done.stderr


def test_certificates_and_the_authority_are_renewed_without_a_restart(tmp_path):
    # The first certificates end within the test; requests go on meanwhile, and the authority is replaced after them.
    old = SiteCerts(tmp_path / "old")
    first = {d: old.files("device", d, valid_for_s=8) for d in DEVICES}
    mine = old.files("client", "me", valid_for_s=3600)
    stale = Credentials(old.files("client", "stale"))
    stale.material()
    deployer = old.credentials("deployer", "ci")
    ends_at_s = max(Credentials(files).material().ends_at_s for files in first.values())
    client = Credentials(mine)
    stop = []

    def keep_asking(agents) -> int:
        asked = 0
        while not stop:
            np.testing.assert_allclose(ask(agents, client), branching_result(sample()["x"]), rtol=1e-6)
            asked += 1
        return asked

    with LocalAgents(DEVICES, credentials=first) as agents, ThreadPoolExecutor(1) as pool:
        deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=1), agents.addresses,
               credentials=deployer)  # fmt: skip
        asking = pool.submit(keep_asking, agents)
        try:
            for device in DEVICES:
                old.files("device", device)
            for device in DEVICES:
                assert said(agents, device, f"spiffe://plant/device/{device}: certificate renewed")
            while time.time() <= ends_at_s:
                time.sleep(0.1)
            ask(agents, client)
            # A new authority: everybody believes both, then has the new one's certificates, then the old one goes.
            new = SiteCerts(tmp_path / "new")
            authority = old.folder / "authority.pem"
            former, later = authority.read_bytes(), (new.folder / "authority.pem").read_bytes()
            replace(authority, former + later)
            for device in DEVICES:
                until(lambda d=device: agents.log(d).count("certificate renewed") >= 2)
            for role, name in [*(("device", d) for d in DEVICES), ("client", "me")]:
                files = new.files(role, name)
                shutil.copy(files.key, old.folder / role / f"{name}.key")
                shutil.copy(files.certificate, old.folder / role / f"{name}.pem")
            for device in DEVICES:
                until(lambda d=device: agents.log(d).count("certificate renewed") >= 3)
            replace(authority, later)
            for device in DEVICES:
                until(lambda d=device: agents.log(d).count("certificate renewed") >= 4)
            ask(agents, client)
        finally:
            stop.append(True)
        assert asking.result(30) > 3
        # Who has stayed with the old authority is out.
        assert "another authority made it" in refused_at(agents.addresses["box"], stale, "box")


def replace(path, data: bytes) -> None:
    incoming = path.with_suffix(".incoming")
    incoming.write_bytes(data)
    incoming.rename(path)


def until(holds, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_opposite_ends_of_a_plain_agent_are_told(client, tmp_path):
    with LocalAgents(["box"]) as plain:
        assert "it listens without certificates" in refused_at(plain.addresses["box"], client, "box")


def test_a_device_whose_name_no_certificate_can_carry_is_said_before_anything_is_staged(secure_agents, deployer):
    deployment = plan([dataclasses.replace(s, device=s.device.upper()) for s in BRANCHING], outputs=("y",),
                      source="CAMERA", sink="CLOUD", epoch=99)  # fmt: skip
    addresses = {d.upper(): a for d, a in secure_agents.addresses.items()}
    with pytest.raises(DeployError, match="cannot be named in a certificate"):
        deploy(deployment, addresses, credentials=deployer)


def test_connections_are_made_anew_without_losing_a_call(plant, tmp_path, monkeypatch):
    # An hour of an agent's life in a second and a half.
    monkeypatch.setattr(server, "CONNECTION_AGE_S", 0.3)
    monkeypatch.setattr(connection, "_OPEN_AGAIN_S", 0.15)
    credentials = Credentials(plant.files("device", "brief"), serves=True)
    agent = Agent(Options(device="brief", listen="127.0.0.1:0", store=tmp_path, threads=1, limits=None,
                          max_message_bytes=1 << 20, credentials=credentials))  # fmt: skip
    caller = plant.credentials("client", "busy")

    def call() -> int:
        calls = 0
        with AgentClient(agent.address, credentials=caller, device="brief") as client:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert client.echo(b"payload") == b"payload"
                calls += 1
        return calls

    try:
        with ThreadPoolExecutor(4) as pool:
            assert sum(done.result() for done in [pool.submit(call) for _ in range(4)]) > 100
    finally:
        agent.stop(1)


def test_a_caller_comes_back_with_its_renewed_certificate(plant, tmp_path, monkeypatch):
    # The agent ends the connection meanwhile, and what the caller came with at first would be refused now.
    monkeypatch.setattr(server, "CONNECTION_AGE_S", 0.2)
    credentials = Credentials(plant.files("device", "gate2"), serves=True)
    agent = Agent(Options(device="gate2", listen="127.0.0.1:0", store=tmp_path, threads=1, limits=None,
                          max_message_bytes=1 << 20, credentials=credentials))  # fmt: skip
    try:
        caller = Credentials(plant.files("client", "patient", valid_for_s=2))
        ends_at_s = caller.material().ends_at_s
        with AgentClient(agent.address, credentials=caller, device="gate2") as client:
            client.echo(b"")
            plant.files("client", "patient")
            while time.time() <= ends_at_s + 1:
                time.sleep(0.1)
            client.echo(b"")
    finally:
        agent.stop(1)


def test_a_standard_client_reaches_an_agent_by_its_address(secure_agents, planned, plant):
    files = plant.files("client", "standard")
    x = sample()["x"]
    tensor = triton.InferInput("a", x.shape, "FP32")
    tensor.set_data_from_numpy(x)
    with triton.InferenceServerClient(
        secure_agents.addresses["box"],
        ssl=True,
        root_certificates=str(files.authority),
        private_key=str(files.key),
        certificate_chain=str(files.certificate),
    ) as client:
        assert client.is_model_ready("flow/1")
        np.testing.assert_array_equal(client.infer("flow/1", [tensor]).as_numpy("b"), -x)
