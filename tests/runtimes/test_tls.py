"""What is said of certificate files before a stranger's handshake fails over them, and when they are renewed."""

from __future__ import annotations

import logging
import shutil
import time

import pytest
from cryptography.hazmat.primitives import serialization

from runtimes.errors import BadCredentials
from runtimes.tls import CredentialFiles, Credentials
from tests.runtimes.site_certs import SiteCerts


@pytest.fixture
def site(tmp_path):
    return SiteCerts(tmp_path / "certs")


@pytest.fixture(autouse=True)
def _no_rest_between_looks(monkeypatch):
    monkeypatch.setattr("runtimes.tls._LOOK_AGAIN_S", 0.0)


def test_good_files_say_whose_they_are(site):
    before = time.time()
    material = Credentials(site.files("device", "box"), serves=True).material()
    assert str(material.identity) == "spiffe://plant/device/box"
    assert material.begins_at_s < before < material.ends_at_s <= before + 3601
    # Neither logs nor a debugger's screen show a key.
    assert "PRIVATE" not in repr(material)


@pytest.mark.parametrize(
    ("made_ago_s", "message"), [(7200, "certificate has expired"), (-7200, "certificate is not yet valid")]
)
def test_validity_is_looked_at(site, made_ago_s, message):
    with pytest.raises(BadCredentials, match=f"client/me.pem: {message}, says the authority .* at 2"):
        Credentials(site.files("client", "me", made_ago_s=made_ago_s))


def test_files_are_named_by_text_as_well_as_by_paths(site):
    paths = site.files("client", "me")
    files = CredentialFiles(authority=str(paths.authority), certificate=str(paths.certificate), key=str(paths.key))
    assert Credentials(files).identity == Credentials(paths).identity
    gone = CredentialFiles(authority="gone.pem", certificate=files.certificate, key=files.key)
    with pytest.raises(BadCredentials, match=r"^gone.pem: cannot be read"):
        Credentials(gone)


def test_an_issuer_whose_clock_is_ahead_is_believed(site):
    Credentials(site.files("client", "me", made_ago_s=-1800))


def test_a_foreign_certificate_is_told_from_an_own_one(site, tmp_path):
    other = SiteCerts(tmp_path / "other").files("client", "me")
    files = CredentialFiles(authority=site.folder / "authority.pem", certificate=other.certificate, key=other.key)
    with pytest.raises(BadCredentials, match="unable to get local issuer certificate"):
        Credentials(files)


def test_who_cannot_listen_with_a_certificate_is_told(site):
    Credentials(site.files("client", "me"))
    with pytest.raises(BadCredentials, match=r"unsuitable|unsupported|purpose"):
        Credentials(site.files("client", "me"), serves=True)


def test_another_certificates_key_is_noticed(site):
    a, b = site.files("client", "a"), site.files("client", "b")
    with pytest.raises(BadCredentials, match=r"a.pem and .*b.key: the key is another certificate's"):
        Credentials(CredentialFiles(authority=a.authority, certificate=a.certificate, key=b.key))


def test_a_key_for_every_user_is_refused(site):
    files = site.files("client", "me")
    files.key.chmod(0o644)
    with pytest.raises(BadCredentials, match=r"me\.key: every user .*0644.*chmod 600"):
        Credentials(files)


@pytest.mark.parametrize("name", ["authority", "certificate", "key"])
@pytest.mark.parametrize("content", [None, b"", b"\xff no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_damaged_and_missing_files_are_named(site, name, content):
    files = site.files("client", "me")
    path = getattr(files, name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(BadCredentials, match=path.name):
        Credentials(files)


def test_a_key_with_a_passphrase_asks_nobody(site):
    files = site.files("client", "me")
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                            serialization.BestAvailableEncryption(b"secret")))  # fmt: skip
    with pytest.raises(BadCredentials, match="no passphrase"):
        Credentials(files)


def test_a_certificate_without_an_identity_is_refused(site):
    authority = site.folder / "authority.pem"
    (site.folder / "authority.key").chmod(0o600)
    with pytest.raises(BadCredentials, match=r"authority\.pem"):
        Credentials(CredentialFiles(authority=authority, certificate=authority, key=authority.with_suffix(".key")))


def test_renewed_files_are_taken_up_whole(site, caplog):
    credentials = Credentials(site.files("client", "me"))
    first = credentials.material()
    assert credentials.material() is first
    files = site.files("client", "spare", valid_for_s=7200)
    # Half of the pair: what was there before is used on, and the log says so once.
    old = first.key
    new = site.files("client", "me", valid_for_s=9000)
    complete = new.key.read_bytes()
    shutil.copy(files.key, new.key)
    assert credentials.material() is first
    assert credentials.material() is first
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    assert "another certificate's" in caplog.text
    new.key.write_bytes(complete)
    renewed = credentials.material()
    assert renewed.key != old
    assert renewed.ends_at_s > first.ends_at_s


def test_files_that_vanish_leave_the_former_in_use(site, caplog):
    files = site.files("client", "me")
    credentials = Credentials(files)
    first = credentials.material()
    files.certificate.unlink()
    assert credentials.material() is first
    assert "cannot be read" in caplog.text


def test_an_identity_does_not_change_by_renewal(site, caplog):
    credentials = Credentials(site.files("client", "me"))
    first = credentials.material()
    other = site.files("client", "other")
    shutil.copy(other.key, site.folder / "client" / "me.key")
    shutil.copy(other.certificate, site.folder / "client" / "me.pem")
    assert credentials.material() is first
    assert "names spiffe://plant/client/other, this is spiffe://plant/client/me" in caplog.text


def test_the_end_of_a_certificate_is_announced_once_an_hour(site, caplog):
    # 900 s of its 4500 are left: it was made an hour ago, and begins an hour before that.
    credentials = Credentials(site.files("client", "me", valid_for_s=4500, made_ago_s=3600))
    credentials.material()
    credentials.material()
    assert caplog.text.count("renew it") == 1


def test_a_certificate_that_expires_in_use_is_noticed(site):
    credentials = Credentials(site.files("client", "me"))
    credentials.require_valid()
    site.files("client", "me", made_ago_s=7200)
    with pytest.raises(BadCredentials, match="expired"):
        credentials.require_valid()
