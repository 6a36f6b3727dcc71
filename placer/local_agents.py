"""Starts agents on this machine, one process per device, and stops them however the work with them ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from placer.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_START_S = 20.0
_STOP_S = 5.0


@contextlib.contextmanager
def local_agents(devices: Sequence[str]) -> Iterator[dict[str, str]]:
    """Run an agent for each device on loopback, on free ports, with stores that vanish with them.

    Parameters
    ----------
    devices
        Names of the devices.

    Yields
    ------
    dict
        Device to `host:port`.

    Raises
    ------
    DeployError
        An agent ended or did not listen within 20 s; its last words are quoted.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        # An agent that is started but not yet known would outlive us.
        with _signals_afterwards():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="placer-agents-")))
            stack.callback(_stop, processes)
            for i, device in enumerate(devices):
                processes[device] = _start(device, folder / str(i))
        yield {
            device: _address(device, process, folder / str(i)) for i, (device, process) in enumerate(processes.items())
        }


@contextlib.contextmanager
def _signals_afterwards() -> Iterator[None]:
    """Let signals that ask this process to end arrive at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return
    arrived: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Handlers, not a mask: a mask would be inherited by the agents.
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in arrived:
        signal.raise_signal(number)


def _start(device: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "runtimes", "--name", device, "--listen", "127.0.0.1:0"]
    command += ["--store", str(folder / "store"), "--port-file", str(folder / "port")]
    with (folder / "log").open("wb") as log:
        # Of its own process group, so that Ctrl-C reaches us first and we stop it in order.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True
        )


def _environment() -> dict[str, str]:
    """Let the child import the same packages as this process, wherever they were found."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root if not path else f"{root}{os.pathsep}{path}"}


def _address(device: str, process: subprocess.Popen[bytes], folder: Path) -> str:
    deadline = time.monotonic() + _START_S
    port = folder / "port"
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            text = port.read_text().strip()
            if text:
                return f"127.0.0.1:{text}"
        if process.poll() is not None:
            break
        time.sleep(0.02)
    words = (folder / "log").read_text(errors="replace").strip()[-500:]
    raise DeployError(f"the agent of device {device!r} did not start on this machine: {words or 'it said nothing'}")


def _stop(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + _STOP_S
    for process in processes.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
