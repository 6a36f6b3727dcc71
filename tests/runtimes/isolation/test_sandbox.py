"""What a segment's process can reach, tried from within one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtimes.errors import Failed
from runtimes.isolation import process
from runtimes.isolation.sandbox import landlock_version
from tests.runtimes.isolation.models import NEG, NEG_SPEC, ONES, Opened

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")

TRIES = {
    "read a key": "open({key!r}).read()",
    "list a directory": "os.listdir({folder!r})",
    "write a file": "open({folder!r} + '/new', 'w')",
    "remove a file": "os.unlink({key!r})",
    "start a program": "os.execv(sys.executable, [sys.executable])",
}
if landlock_version() >= 4:
    TRIES["call somebody"] = "socket.create_connection(('127.0.0.1', 9))"
    TRIES["listen"] = "socket.create_server(('127.0.0.1', 0))"
if landlock_version() >= 6:
    TRIES["end the agent"] = "os.kill(os.getppid(), 0)"


def attempt(what: str, folder: str, key: str) -> str:
    return f"""
import os, socket, sys
def attempt():
    try:
        {what.format(folder=folder, key=key)}
    except PermissionError:
        return "refused"
    except OSError as error:
        return repr(error)
    return "done"
"""


@pytest.fixture
def key(tmp_path):
    (tmp_path / "box.key").write_text("secret")
    return tmp_path / "box.key"


@pytest.mark.parametrize("what", TRIES)
def test_a_confined_process_cannot(what, key):
    program = attempt(TRIES[what], str(key.parent), str(key))
    told = "from runtimes.isolation.sandbox import confine\nprint(attempt())\nconfine()\nprint(attempt())"
    if what in ("remove a file", "start a program"):
        # Done once it cannot be tried again.
        told = told.replace("print(attempt())\nconfine", "print('done')\nconfine")
    done = subprocess.run([sys.executable, "-c", program + told], capture_output=True, text=True, check=True)
    first, second = done.stdout.split("\n")[:2]
    assert first != "refused"
    assert second == "refused"


def test_a_segments_process_is_confined_before_it_loads_its_model(key, monkeypatch, tmp_path):
    program = tmp_path / "spy.py"
    program.write_text(
        attempt(TRIES["read a key"], str(key.parent), str(key))
        + """
from runtimes.errors import Failed
from runtimes.isolation import child
def spy(*_):
    raise Failed(attempt())
child.open_session = spy
sys.exit(child.main(sys.argv[1:]))
"""
    )
    command, environment = process.python_module("runtimes.isolation.child")
    monkeypatch.setattr(process, "python_module", lambda _: ([*command[:2], str(program)], environment))
    with pytest.raises(Failed, match="refused"):
        Opened(NEG_SPEC, NEG)


def test_a_segments_process_gains_no_privileges():
    opened = Opened(NEG_SPEC, NEG)
    opened.run(ONES)
    with open(f"/proc/{opened.session.process_id}/status") as status:
        assert "NoNewPrivs:\t1\n" in status.read()
