"""Agents as processes of this machine, each on a free port of loopback: for demos, emulation and tests."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from runtimes.errors import Unreachable
from runtimes.signals import signals_afterwards
from runtimes.spawn import python_module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from runtimes.tls import CredentialFiles

_STARTED = "listening on "
_STOP_TIMEOUT_S = 10.0


class LocalAgents:
    """One agent process per device, for a ``with`` statement; all are stopped and their files removed after it.

    Parameters
    ----------
    devices
        The devices' names.
    threads
        The most threads of one execution; every processor if not given.
    start_timeout_s
        By when all must listen.
    credentials
        Each device's certificates; those that have none here listen without.
    options
        More options of `placer-agent`, for each of them.
    """

    def __init__(
        self, devices: Sequence[str], *, threads: int | None = None, start_timeout_s: float = 30.0,
        credentials: Mapping[str, CredentialFiles] | None = None, options: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._devices = tuple(devices)
        self._threads = threads
        self._start_timeout_s = start_timeout_s
        self._credentials = credentials or {}
        self._options = tuple(options)
        self._stack = contextlib.ExitStack()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._addresses: dict[str, str] = {}
        self._stores: dict[str, Path] = {}
        self._logs: dict[str, Path] = {}

    def __enter__(self) -> Self:
        """Start them all.

        Raises
        ------
        Unreachable
            If one does not listen in time; the message has what it said.
        """
        with self._stack:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="placer-agents-")))
            self._stack.callback(self._stop_all)
            # An agent that is started but not yet known would outlive us.
            with signals_afterwards():
                # All at once: what takes long is the interpreter's start.
                for index, device in enumerate(self._devices):
                    self._stores[device] = directory / str(index)
                    self._processes[device] = self._spawn(device)
            deadline = time.monotonic() + self._start_timeout_s
            for device, process in self._processes.items():
                self._addresses[device] = _await_address(device, process, deadline, self._logs[device])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def addresses(self) -> Mapping[str, str]:
        """Address of each device's agent, ``host:port``."""
        return dict(self._addresses)

    def process(self, device: str) -> subprocess.Popen[str]:
        """Give a device's process, for those who want to disturb it."""
        return self._processes[device]

    def store(self, device: str) -> Path:
        """Give the directory of a device's model files and state."""
        return self._stores[device]

    def restart(self, device: str) -> None:
        """Start a device's agent again after its process has ended, at its former address and with its former store.

        Raises
        ------
        Unreachable
            If it does not listen in time; the message has what it said.
        """
        ended = self._processes[device]
        ended.wait(_STOP_TIMEOUT_S)
        if ended.stdout is not None:
            ended.stdout.close()
        with signals_afterwards():
            process = self._processes[device] = self._spawn(device, self._addresses[device])
        deadline = time.monotonic() + self._start_timeout_s
        _await_address(device, process, deadline, self._logs[device])

    def log(self, device: str) -> str:
        """Give what a device's agent has said so far."""
        return self._logs[device].read_text(errors="replace")

    def _spawn(self, device: str, listen: str = "127.0.0.1:0") -> subprocess.Popen[str]:
        command, environment = python_module("runtimes")
        store = self._stores[device]
        command += ["--name", device, "--store", str(store), "--listen", listen, *self._options]
        if self._threads is not None:
            command += ["--threads", str(self._threads)]
        if files := self._credentials.get(device):
            command += ["--authority", str(files.authority), "--certificate", str(files.certificate)]
            command += ["--key", str(files.key)]
        self._logs[device] = store.with_name(f"{store.name}.log")
        log = self._stack.enter_context(self._logs[device].open("a"))
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            # Of its own process group, so that Ctrl-C reaches us first and we stop it in order.
            start_new_session=True,
        )

    def _stop_all(self) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_address(device: str, process: subprocess.Popen[str], deadline: float, said: Path) -> str:
    # A pipe cannot be read with a timeout on every system; a thread that reads it can be waited for.
    lines: list[str] = []
    stdout = process.stdout
    if stdout is None:
        raise Unreachable(f"the agent of device {device!r} was started without a pipe to hear it")
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(max(0.0, deadline - time.monotonic()))
    if not lines or not lines[0].startswith(_STARTED):
        words = ("".join(lines) + said.read_text(errors="replace")).strip()[-1000:]
        raise Unreachable(
            f"the agent of device {device!r} did not start on this machine: "
            f"{words or 'it said nothing; is there time and memory enough?'}"
        )
    return lines[0].removeprefix(_STARTED).strip()
