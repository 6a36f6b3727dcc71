"""Which command gives namespaces, and what is said where none does."""

import pytest

from placer.emulation import isolation
from placer.errors import DeployError


def test_missing_tools_are_named_by_their_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="needs the tools of iproute2 and util-linux; install"):
        isolation.isolating_command()


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(isolation.sys, "platform", "darwin")
    with pytest.raises(DeployError, match="needs Linux"):
        isolation.isolating_command()


def test_root_takes_no_user_namespace_where_it_needs_none(isolated, monkeypatch):
    monkeypatch.setattr(isolation.os, "geteuid", lambda: 1000)
    assert "--map-root-user" in isolation.isolating_command()
