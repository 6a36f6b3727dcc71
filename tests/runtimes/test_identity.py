"""Identities are read as they were written, and nothing else is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.errors import BadCredentials
from runtimes.identity import ROLES, Identity, parse_identity, require_identity_name

NAMES = st.from_regex(r"\A[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?(\.[a-z0-9]{1,5}){0,3}\Z")


@given(site=NAMES, role=st.sampled_from(ROLES), name=NAMES)
def test_an_identity_is_read_as_it_was_written(site, role, name):
    identity = Identity(site=site, role=role, name=name)
    assert parse_identity(str(identity)) == identity
    assert identity.host == f"{name}.{role}.{site}"


@pytest.mark.parametrize(
    "name",
    ["", "Box", "a b", "a/b", "..", "a..b", ".a", "a.", "-a", "a-", "*", "a*", "é", "a\n", "x" * 64, "a%20b", "a@b"],
)
def test_names_that_a_certificate_cannot_carry_are_refused(name):
    with pytest.raises(BadCredentials, match="cannot be named in a certificate"):
        Identity(site="plant", role="device", name=name)
    with pytest.raises(BadCredentials, match=r"site .* cannot be named"):
        Identity(site=name, role="device", name="box")


@pytest.mark.parametrize(
    ("what", "name", "advice"),
    [
        ("device", "Box-2", "name the device otherwise in site.yaml, and so its agent by --name, such as 'box-2'"),
        ("device", "a b", "name the device otherwise in site.yaml, and so its agent by --name"),
        ("site", "Plant", "give another, which need not be that of site.yaml, such as 'plant'"),
        ("deployer", "Me", "give another, such as 'me'"),
        ("client", "X" * 64, "give another"),
    ],
)
def test_a_refused_name_comes_with_what_to_do(what, name, advice):
    with pytest.raises(BadCredentials) as refusal:
        require_identity_name(what, name)
    assert str(refusal.value).rpartition("; ")[2] == advice


@pytest.mark.parametrize("text", [
    "", "spiffe://", "spiffe://plant", "spiffe://plant/device", "spiffe://plant/device/", "spiffe://plant/device/a/b",
    "spiffe://plant/root/a", "https://plant/device/a", "SPIFFE://plant/device/a", "spiffe://plant/device/a?b",
    "spiffe:///device/a", "spiffe://plant:1/device/a", "spiffe://plant/device/../deployer",
])  # fmt: skip
def test_other_identities_are_refused(text):
    with pytest.raises(BadCredentials):
        parse_identity(text)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(BadCredentials):
        assert str(parse_identity(text)) == text
