"""A store is one agent's and one device's: who else asks for it is refused, until the kernel gives it back."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from runtimes.claim import Claim
from runtimes.errors import AgentError
from runtimes.state import StateFile
from tests.runtimes.test_state import plans


def agent(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtimes", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_second_agent_is_refused_until_the_first_is_killed(tmp_path):
    with agent("--name", "box", "--store", str(tmp_path)) as first:
        assert first.stdout.readline().startswith("listening on ")
        with agent("--name", "box", "--store", str(tmp_path)) as second:
            assert second.wait(20) == 4
            said = second.stderr.read()
        assert f"store {tmp_path}: another agent that runs holds it; stop that one, or give" in said
        first.kill()
        first.wait()
    with agent("--name", "box", "--store", str(tmp_path)) as third:
        assert third.stdout.readline().startswith("listening on ")
        third.terminate()
        assert third.wait(20) == 0


def test_a_store_of_another_device_is_refused(tmp_path):
    StateFile(tmp_path).write(plans())
    with agent("--name", "box2", "--store", str(tmp_path)) as process:
        assert process.wait(20) == 4
        said = process.stderr.read()
    assert f"{tmp_path / 'plans.state'} is of device 'box', this agent is 'box2'; give it a --store of its own" in said


def test_a_claim_that_is_released_is_free(tmp_path):
    claim = Claim(tmp_path / "store")
    with pytest.raises(AgentError, match="another agent"):
        Claim(tmp_path / "store")
    claim.release()
    Claim(tmp_path / "store").release()


def test_no_link_is_followed_to_the_lock(tmp_path):
    (tmp_path / "agent.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AgentError, match=re.escape(f"({tmp_path / 'agent.lock'}: Too many levels of symbolic links)")):
        Claim(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_store_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match=r"file: File exists\); give --store a folder"):
        Claim(tmp_path / "file")
    with pytest.raises(AgentError, match="give --store a folder"):
        Claim(tmp_path / "file" / "store")
