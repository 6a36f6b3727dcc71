"""Certificates are made as asked or refused; keys stay private and nothing is replaced unasked."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta

import pytest

from placer.certificate import read_certificates
from placer.certs import CLOCK_SKEW, issue, make_authority
from placer.errors import CertificateError


@pytest.fixture
def certs(tmp_path):
    folder = tmp_path / "certs"
    make_authority(folder, "plant", days=100)
    return folder


def test_a_devices_certificate_says_who_where_and_how_long(certs):
    now = datetime(2030, 1, 1, tzinfo=UTC)
    make_authority(certs, "plant", days=100, force=True, now=now)
    made = issue(certs, "device", "box", addresses=["10.0.0.7", "::1", "box.example.org"], days=30, now=now)
    assert made == read_certificates(made.path)[0]
    assert made.holder == "spiffe://plant/device/box"
    assert made.addresses == ("box.example.org", "10.0.0.7", "::1")
    assert (made.begins, made.ends) == (now - CLOCK_SKEW, now + timedelta(days=30))
    assert made.days_left(now) == 30
    assert made.days_left(now + timedelta(days=31)) == -1


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_keys_are_private_whatever_the_umask(tmp_path):
    former = os.umask(0)
    try:
        make_authority(tmp_path, "plant", days=2)
        issue(tmp_path, "client", "me", days=1)
    finally:
        os.umask(former)
    keys = sorted(tmp_path.rglob("*.key"))
    assert [key.name for key in keys] == ["authority.key", "me.key"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert list(tmp_path.rglob(".*")) == []


@pytest.mark.parametrize("remains", ["me.key", "me.pem"])
def test_nothing_is_replaced_unasked(certs, remains):
    path = issue(certs, "client", "me", days=1).path
    for file in (path, path.with_suffix(".key")):
        if file.name != remains:
            file.unlink()
    before = (path.parent / remains).read_bytes()
    with pytest.raises(CertificateError, match=f"{remains}: there already; give --force"):
        issue(certs, "client", "me", days=1)
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [(remains, before)]
    issue(certs, "client", "me", days=1, force=True)
    with pytest.raises(CertificateError, match=r"authority\.key and .*authority\.pem: there already"):
        make_authority(certs, "plant", days=1)


def test_what_cannot_be_written_leaves_what_was_there(certs, monkeypatch):
    path = issue(certs, "client", "me", days=1).path
    before = {p: p.read_bytes() for p in path.parent.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CertificateError, match=r"me\.pem: cannot be written: No space left"):
        issue(certs, "client", "me", days=1, force=True)
    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Box", {}, "device 'Box' cannot be named in a certificate"),
        ("../box", {}, "cannot be named in a certificate"),
        ("box", {"days": 0}, "0 days are no validity"),
        ("box", {"days": float("nan")}, "nan days are no validity"),
        ("box", {"days": float("inf")}, "inf days are no validity"),
        ("box", {"days": 5000}, "5000 days are longer than the authority .*; give at most 99.9"),
        ("box", {"addresses": ["*.example.org"]}, r"address '\*.example.org' is neither"),
        ("box", {"addresses": ["other.device.plant"]}, "address 'other.device.plant' is neither"),
        ("box", {"addresses": ["OTHER.Device.Plant"]}, "address 'OTHER.Device.Plant' is neither"),
        ("box", {"addresses": ["b\u00fccher.example"]}, "is neither"),
        ("box", {"role": "client", "addresses": ["10.0.0.7"]}, "a client listens nowhere"),
    ],
)
def test_what_makes_no_certificate_is_said(certs, name, changes, said):
    with pytest.raises(CertificateError, match=said):
        issue(certs, **{"role": "device", "name": name, "days": 1} | changes)
    assert not (certs / "device").exists()


def test_an_authority_needs_a_name_and_a_folder(tmp_path):
    with pytest.raises(CertificateError, match="site 'Plant 1' cannot be named"):
        make_authority(tmp_path, "Plant 1", days=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="file: cannot be written: File exists"):
        make_authority(tmp_path / "file", "plant", days=1)


def test_only_the_authoritys_own_key_signs(certs):
    other = issue(certs, "client", "me", days=1).path.with_suffix(".key")
    (certs / "authority.key").write_bytes(other.read_bytes())
    with pytest.raises(CertificateError, match=r"authority\.key: it is not the key of the certificate beside it"):
        issue(certs, "client", "you", days=1)
    (certs / "authority.key").write_bytes(b"no key")
    with pytest.raises(CertificateError, match=r"authority\.key: it holds no private key"):
        issue(certs, "client", "you", days=1)
    (certs / "authority.key").unlink()
    with pytest.raises(CertificateError, match="certificates are made where the authority's key is"):
        issue(certs, "client", "you", days=1)


def test_without_an_authority_nobody_signs(tmp_path):
    with pytest.raises(CertificateError, match="make an authority with `placer certs init`"):
        issue(tmp_path, "client", "me", days=1)
