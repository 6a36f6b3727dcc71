"""A site's certificates from the command line, and a plan deployed and run with them."""

from __future__ import annotations

import itertools
from datetime import datetime

import numpy as np
import pytest

from placer.certs import issue, make_authority
from runtimes.local import LocalAgents
from runtimes.tls import CredentialFiles, Credentials

HOLDERS = {
    "authority.pem": "spiffe://bench",
    "device/camera.pem": "spiffe://bench/device/camera",
    "device/box.pem": "spiffe://bench/device/box",
    "deployer/ci.pem": "spiffe://bench/deployer/ci",
    "client/me.pem": "spiffe://bench/client/me",
}


@pytest.fixture
def site(desk):
    """A desk with an authority and everybody's certificates."""
    certs = desk.folder / "certs"
    make_authority(certs, "bench", days=3650)
    for role, name in (("device", "camera"), ("device", "box"), ("deployer", "ci"), ("client", "me")):
        issue(certs, role, name, days=90)
    return desk


def files(desk, role: str, name: str) -> CredentialFiles:
    path = desk.folder / "certs" / role / f"{name}.pem"
    return CredentialFiles(
        authority=desk.folder / "certs" / "authority.pem", certificate=path, key=path.with_suffix(".key")
    )


def options(role: str, name: str) -> list[str]:
    own = f"certs/{role}/{name}"
    return ["--authority", "certs/authority.pem", "--certificate", f"{own}.pem", "--key", f"{own}.key"]


def test_the_commands_make_and_show_everybodys_certificates(desk):
    for words in (["init", "bench"], ["agent", "camera"], ["agent", "box"], ["deployer", "ci"], ["client", "me"]):
        done = desk.placer("certs", *words)
        assert (done.code, done.err) == (0, "")
    shown = desk.placer("certs", "show", "--json")
    assert (shown.code, shown.err) == (0, "")
    assert {c["file"]: c["holder"] for c in shown.document} == {f"certs/{p}": h for p, h in HOLDERS.items()}
    for c in shown.document:
        assert 0 < c["days_left"] < (3651 if c["holder"] == "spiffe://bench" else 91)
        assert datetime.fromisoformat(c["begins"]) < datetime.fromisoformat(c["ends"])
    table = desk.placer("certs", "show")
    assert all(holder.rpartition("/")[2] in table.out for holder in HOLDERS.values())
    for role, name, serves in (("device", "box", True), ("deployer", "ci", False), ("client", "me", False)):
        assert str(Credentials(files(desk, role, name), serves=serves).identity) == f"spiffe://bench/{role}/{name}"


def test_a_new_authority_says_what_it_makes_worthless(site):
    made = site.placer("certs", "init", "bench", "--force")
    assert made.code == 0
    assert made.err == (
        "warning: 4 certificates in certs of a former authority are refused from now on; "
        "make each anew with --force: `placer certs show` lists them\n"
    )
    assert site.placer("certs", "show").out.count("another") == 4
    assert sum(c["believed"] for c in site.placer("certs", "show", "--json").document) == 1


def test_a_certificate_is_replaced_only_when_told_to(site):
    before = {p: p.read_bytes() for p in (site.folder / "certs").rglob("*.*")}
    done = site.placer("certs", "client", "me")
    assert (done.code, done.out) == (2, "")
    assert "give --force to replace what is there" in done.err
    assert {p: p.read_bytes() for p in (site.folder / "certs").rglob("*.*")} == before
    assert site.placer("certs", "client", "me", "--force").code == 0
    assert {p.name for p, data in before.items() if p.read_bytes() != data} == {"me.pem", "me.key"}


def test_what_cannot_be_made_is_said(site):
    done = site.placer("certs", "agent", "Box")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: device 'Box' cannot be named in a certificate: ")


def test_a_plan_is_deployed_and_run_with_certificates(site, monkeypatch):
    assert site.placer("plan", "site.yaml", "-o", "plan.json").code == 0
    credentials = {name: files(site, "device", name) for name in ("camera", "box")}
    with LocalAgents(["camera", "box"], credentials=credentials) as agents:
        at = list(itertools.chain(*(["--agent", f"{d}={a}"] for d, a in agents.addresses.items())))
        refused = site.placer("deploy", "plan.json", *at)
        assert refused.code == 4
        assert "asks for certificates, give --authority, --certificate and --key" in refused.err
        role = site.placer("deploy", "plan.json", *at, *options("client", "me"))
        assert role.code == 4
        assert "spiffe://bench/client/me may not call Stage: that needs a deployer" in role.err
        half = site.placer("deploy", "plan.json", *at, *options("deployer", "ci")[:4])
        assert half.code == 2
        assert "missing: --key (or PLACER_KEY)" in half.err
        deployed = site.placer("deploy", "plan.json", *at, *options("deployer", "ci"))
        assert (deployed.code, deployed.err) == (0, "")
        swapped = ["--agent", f"camera={agents.addresses['box']}", "--agent", f"box={agents.addresses['camera']}"]
        wrong = site.placer("run", "plan.json", *swapped, "--input", "x.npy", *options("client", "me"))
        assert wrong.code == 4
        assert "its certificate does not name device" in wrong.err
        # The same by the environment, as a pipeline would say it.
        for name, value in zip(("AUTHORITY", "CERTIFICATE", "KEY"), options("client", "me")[1::2], strict=True):
            monkeypatch.setenv(f"PLACER_{name}", value)
        ran = site.placer("run", "plan.json", *at, "--input", "x.npy", "-o", "y.npz", "--json")
        assert (ran.code, ran.err) == (0, "")
        with np.load(site.folder / "y.npz") as outputs:
            assert outputs["y"].shape == (1, 8, 16, 16)
        local = site.placer("run", "plan.json", "--local", "--input", "x.npy")
        assert local.code == 0
