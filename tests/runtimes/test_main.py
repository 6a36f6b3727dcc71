"""The command: its one line, its port file, its refusals and its orderly end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from profiles.meters import METERS
from runtimes.__main__ import main
from runtimes.client import AgentClient
from runtimes.errors import Unreachable
from runtimes.local import LocalAgents
from runtimes.malloc import keep_large_blocks


def agent(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtimes", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_in_order(tmp_path, number):
    port_file = tmp_path / "port"
    with agent("--name", "box", "--store", str(tmp_path / "store"), "--port-file", str(port_file)) as process:
        line = process.stdout.readline()
        assert line == f"listening on 127.0.0.1:{port_file.read_text().strip()}\n"
        with AgentClient(line.split()[-1]) as client:
            status = client.status()
            assert (status.device, status.held, status.active) == ("box", (), None)
        process.send_signal(number)
        assert process.wait(10) == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:80", "[::]:0", "example.org:80", ":0"])
def test_it_does_not_listen_outside_loopback_unasked(tmp_path, listen):
    with agent("--name", "box", "--store", str(tmp_path), "--listen", listen) as process:
        assert process.wait(10) == 2
        assert "--certificate" in process.stderr.read()


def test_it_listens_outside_loopback_when_told_to(tmp_path):
    with agent("--name", "box", "--store", str(tmp_path), "--listen", "0.0.0.0:0", "--insecure-network") as process:
        assert process.stdout.readline().startswith("listening on 0.0.0.0:")
        process.terminate()
        assert process.wait(10) == 0
        assert "EVERYBODY who reaches 0.0.0.0:0 can read" in process.stderr.read()


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option, purpose in (("--listen", "listen"), ("--metrics", "serve metrics")):
            with agent("--name", "box", "--store", str(tmp_path / "store"), option, address) as process:
                assert process.wait(10) == 4
                assert process.stderr.read() == (
                    f"placer-agent: cannot {purpose} on '{address}': Address already in use; "
                    "another program has this port: stop it, or give another\n"
                )
    assert not (tmp_path / "store").exists()


def test_an_address_that_is_not_this_devices_is_said(tmp_path):
    # Of a range for documentation: no machine has it.
    arguments = ["--listen", "192.0.2.1:0", "--insecure-network"]
    with agent("--name", "box", "--store", str(tmp_path / "store"), *arguments) as process:
        assert process.wait(10) == 4
        assert "cannot listen on '192.0.2.1:0': " in (said := process.stderr.read())
        assert said.endswith("; give an address of this device\n")


@pytest.mark.parametrize("listen", ["127.0.0.1", "box", "::1", "[::1]", "127.0.0.1:x", "127.0.0.1:65536"])
@pytest.mark.parametrize("option", ["--listen", "--metrics"])
def test_an_address_without_a_port_is_refused(capsys, tmp_path, option, listen):
    with pytest.raises(SystemExit) as ended:
        main(["--name", "box", "--store", str(tmp_path), option, listen])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {option}: '{listen}' is no address; give HOST:PORT" in said
    assert "certificate" not in said.splitlines()[-1]


def test_the_help_lists_the_meters_that_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert METERS.replace(" ", "") in "".join(capsys.readouterr().out.split())


def test_a_store_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with agent("--name", "box", "--store", str(tmp_path / "file")) as process:
        assert process.wait(10) == 4
        assert "give --store a folder that this user can write" in process.stderr.read()


@pytest.mark.parametrize(
    "arguments",
    [["--threads", "0"], ["--threads", "x"], ["--max-message-bytes", "-1"], ["--meter", "raplx"]],
)
def test_wrong_options_are_refused(tmp_path, arguments):
    with agent("--name", "box", "--store", str(tmp_path), *arguments) as process:
        assert process.wait(10) == 2
        assert arguments[0] in process.stderr.read()


def test_local_agents_are_gone_after_use():
    with LocalAgents(["a", "b"]) as agents:
        addresses = agents.addresses
        processes = [agents.process(device) for device in addresses]
        assert sorted(addresses) == ["a", "b"]
    assert [process.returncode for process in processes] == [0, 0]
    with AgentClient(addresses["a"]) as client, pytest.raises(Unreachable, match=addresses["a"]):
        client.status()


def test_local_agents_that_do_not_start_are_named():
    said = r"device 'a' did not start on this machine: (?s:.)*--threads"
    with pytest.raises(Unreachable, match=said), LocalAgents(["a"], threads=0):
        pass


def test_malloc_keeps_large_blocks_where_it_is_glibc():
    # In another process: it is not undone.
    program = "import runtimes.malloc as m; print(m.keep_large_blocks())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("True", "False")
    assert callable(keep_large_blocks)
