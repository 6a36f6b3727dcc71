"""What certificates say of themselves, and which of them the authority of their folder signed."""

from __future__ import annotations

import pytest

from placer.certificate import read_certificates
from placer.certs import issue, make_authority
from placer.errors import CertificateError


@pytest.fixture
def certs(tmp_path):
    folder = tmp_path / "certs"
    make_authority(folder, "plant", days=100)
    return folder


def test_what_is_no_certificate_is_said(tmp_path):
    for name, data, said in (("a", b"no PEM", "holds no certificate"), ("b", None, "cannot be read")):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(CertificateError, match=said):
            read_certificates(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CertificateError, match="there is no certificate"):
        read_certificates(tmp_path / "empty")


def test_a_file_of_several_authorities_shows_them_all(certs, tmp_path):
    make_authority(tmp_path / "new", "plant", days=5)
    both = certs / "authority.pem"
    both.write_bytes(both.read_bytes() + (tmp_path / "new" / "authority.pem").read_bytes())
    assert [round(c.days_left()) for c in read_certificates(both)] == [100, 5]


def test_what_a_former_authority_signed_is_marked(certs):
    issue(certs, "device", "box", days=30)
    assert all(c.believed for c in read_certificates(certs))
    make_authority(certs, "plant", days=100, force=True)
    issue(certs, "client", "me", days=30)
    believed = {c.holder: c.believed for c in read_certificates(certs)}
    assert believed == {"spiffe://plant": True, "spiffe://plant/device/box": False, "spiffe://plant/client/me": True}
