"""Agents beside kserve's Python server and mlserver: requests per second of eight clients, in turns of one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.one_hop import MAX_MESSAGE_BYTES, SIZES_BYTES, bare_server, put_models, rate_hz, relu_model, request
from runtimes.channel import open_channel
from runtimes.local import LocalAgents
from runtimes.rpc import INFERENCE_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVERS = Path(__file__).resolve().parent.parent / "servers"
_START_TIMEOUT_S = 120.0
ROUNDS = 4
# Calls of each client per round; the slow server gets fewer, or it would take the run for itself.
_CALLS = {64: 40, 602_112: 15, 8_388_608: 2}
_SLOWER = 4


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _model(size_bytes: int) -> str:
    return f"bench-{size_bytes}"


def kserve_command(python: Path, folder: Path) -> tuple[list[str], int]:
    """Put the models into a folder; gives the command that serves them, and its port."""
    for size_bytes in SIZES_BYTES:
        (folder / f"{_model(size_bytes)}.onnx").write_bytes(relu_model(size_bytes))
    port = _free_port()
    return [str(python), str(_SERVERS / "kserve_server.py"), str(folder), str(port), str(_free_port())] + [
        f"--grpc_max_{way}_message_length={MAX_MESSAGE_BYTES}" for way in ("receive", "send")
    ], port


def mlserver_command(python: Path, folder: Path) -> tuple[list[str], int]:
    """Put the models and settings into a folder; all settings but ports and message size are mlserver's own."""
    port = _free_port()
    settings = {
        "http_port": _free_port(), "grpc_port": port, "metrics_port": _free_port(), "debug": False,
        "grpc_max_message_length": MAX_MESSAGE_BYTES,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    shutil.copy(_SERVERS / "mlserver_model.py", folder)
    for size_bytes in SIZES_BYTES:
        home = folder / _model(size_bytes)
        home.mkdir()
        (home / "m.onnx").write_bytes(relu_model(size_bytes))
        told = {"name": home.name, "implementation": "mlserver_model.Onnx", "parameters": {"uri": str(home / "m.onnx")}}
        (home / "model-settings.json").write_text(json.dumps(told))
    return [str(python.with_name("mlserver")), "start", str(folder)], port


COMMANDS = {"kserve": kserve_command, "mlserver": mlserver_command}


@contextmanager
def served(name: str, environment: Path) -> Iterator[str]:
    """Run another server in its environment until it is ready for every model; gives its address."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        command, port = COMMANDS[name](environment / "bin" / "python", Path(folder))
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with (
            (Path(folder) / "log").open("w+") as log,
            subprocess.Popen(
                command, stdout=log, stderr=log, env=variables | {"PYTHONPATH": folder}, cwd=folder,
                start_new_session=True,
            ) as process,
        ):  # fmt: skip
            try:
                _await(f"127.0.0.1:{port}", process, log)
                yield f"127.0.0.1:{port}"
            finally:
                # Its workers too: they are of its session.
                os.killpg(process.pid, signal.SIGKILL)


def _await(address: str, process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with open_channel(address, MAX_MESSAGE_BYTES) as channel:
        stub = Stub(channel, INFERENCE_SERVICE)
        while True:
            try:
                for size_bytes in SIZES_BYTES:
                    stub.ModelInfer(request(_model(size_bytes), size_bytes), timeout=20)
            except grpc.RpcError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = f"{error.details()}\n{log.read()[-2000:]}"
                    raise SystemExit(f"{process.args!r} did not start: {said}") from None
                time.sleep(0.3)
            else:
                return


def measure_others(environments: dict[str, Path], rounds: int) -> list[dict[str, Any]]:
    """Count requests per second of eight clients on every server and size, in alternating rounds."""
    rows = []
    with ExitStack() as stack:
        addresses = {"bare": stack.enter_context(bare_server())[0]}
        for name, options in (("agent", ()), ("agent, one process", ("--no-isolation",))):
            addresses[name] = stack.enter_context(LocalAgents(["bench"], options=options)).addresses["bench"]
            put_models(addresses[name])
        for name, environment in environments.items():
            addresses[name] = stack.enter_context(served(name, environment))
        stubs = {
            name: Stub(stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES)), INFERENCE_SERVICE)
            for name, address in addresses.items()
        }
        for size_bytes in SIZES_BYTES:
            found: dict[str, list[float]] = {name: [] for name in stubs}
            for _ in range(rounds):
                for name, stub in stubs.items():
                    whose = name in environments
                    message = request(_model(size_bytes) if whose else f"{_model(size_bytes)}/0", size_bytes)
                    calls = max(1, _CALLS[size_bytes] // (_SLOWER if name == "mlserver" else 1))
                    found[name].append(rate_hz(stub, message, calls))
            rates_hz = {name: statistics.median(rates) for name, rates in found.items()}
            rows.append({"bytes": size_bytes, **rates_hz})
    return rows
