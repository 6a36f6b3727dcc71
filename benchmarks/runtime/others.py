"""Agents beside bare servers, kserve's Python server and mlserver, with eight clients, in turns of one run.

Requests per second are those of servers and clients together, which share this machine's processors; what a server
itself takes of them is its processor time per request. The clients send bytes that are made once and do not look into
the replies, so that next to nothing of what they take is theirs to save.

The other servers keep the C library's settings for memory, which adapt themselves to the largest message so far: kserve
takes half as long for 602 kB once it has had 8 MB. So it is there twice: as a server that has had every size, and as
one that gets a single size in its life.
"""

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.agent_costs import processor_s
from benchmarks.one_hop import (
    CLIENTS,
    SIZES_BYTES,
    bare_server,
    put_models,
    relu_model,
    request,
)
from benchmarks.runtime import serving
from benchmarks.runtime.least import STEPS
from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from runtimes.channel import open_channel
from runtimes.local import LocalAgents
from runtimes.rpc import INFERENCE_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

_SERVERS = Path(__file__).resolve().parent.parent / "servers"
_START_TIMEOUT_S = 120.0
ROUNDS = 4
# Calls of each client per round; the slow server gets fewer, or it would take the run for itself.
_CALLS = {64: 80, 602_112: 15, 8_388_608: 2}
_SLOWER = 4
# The slow server is slow on busy processors.
_TIMEOUT_S = 120.0
# kserve with nothing but the size that is measured.
_ONE_SIZE = "kserve, one size"
_METHOD = "/inference.GRPCInferenceService/ModelInfer"


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
def served(name: str, environment: Path, sizes_bytes: Sequence[int] = SIZES_BYTES) -> Iterator[tuple[str, int]]:
    """Run another server in its environment until it is ready for these models; gives its address and process id."""
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
                _await(f"127.0.0.1:{port}", process, log, sizes_bytes)
                yield f"127.0.0.1:{port}", process.pid
            finally:
                # Its workers too: they are of its session.
                os.killpg(process.pid, signal.SIGKILL)


def _await(address: str, process: subprocess.Popen[bytes], log: Any, sizes_bytes: Sequence[int]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with open_channel(address, MAX_MESSAGE_BYTES) as channel:
        stub = Stub(channel, INFERENCE_SERVICE)
        while True:
            try:
                for size_bytes in sizes_bytes:
                    stub.ModelInfer(request(_model(size_bytes), size_bytes), timeout=20)
            except grpc.RpcError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = f"{error.details()}\n{log.read()[-2000:]}"
                    raise SystemExit(f"{process.args!r} did not start: {said}") from None
                time.sleep(0.3)
            else:
                return


def round_of(ask: Any, message: bytes, calls: int, process_id: int) -> tuple[float, float, float]:
    """Let eight clients ask at once; gives requests per second, and seconds of server and clients per request."""

    def client() -> None:
        for _ in range(calls):
            ask(message, timeout=_TIMEOUT_S)

    server_s, clients_s, started = processor_s(process_id), time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    count = CLIENTS * calls
    rate_hz = count / (time.perf_counter() - started)
    return rate_hz, (processor_s(process_id) - server_s) / count, (time.process_time() - clients_s) / count


def measure_others(environments: dict[str, Path], rounds: int) -> list[dict[str, Any]]:
    """Give each server's rate and processor time at every size, and their ratios to the bare server's.

    All are medians of alternating rounds, ratios too: of those of one round.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        process, address = stack.enter_context(serving.served("benchmarks.runtime.echo"))
        servers = {"gRPC alone": (address, process.pid), "bare": stack.enter_context(bare_server())}
        for step in STEPS:
            process, address = stack.enter_context(serving.served("benchmarks.runtime.least", step))
            servers[f"least: {step}"] = address, process.pid
        for name, options in (("agent, one process", ("--no-isolation",)), ("agent", ())):
            agents = stack.enter_context(LocalAgents(["bench"], options=options))
            servers[name] = agents.addresses["bench"], agents.process("bench").pid
            put_models(agents.addresses["bench"])
        for name, environment in environments.items():
            servers[name] = stack.enter_context(served(name, environment))
        for size_bytes in SIZES_BYTES:
            with ExitStack() as alone:
                present = dict(servers)
                if "kserve" in environments:
                    present[_ONE_SIZE] = alone.enter_context(served("kserve", environments["kserve"], [size_bytes]))
                rows += _measure_size(size_bytes, present, environments.keys() | {_ONE_SIZE}, rounds)
    return rows


def _measure_size(
    size_bytes: int, servers: dict[str, tuple[str, int]], foreign: Set[str], rounds: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES)).unary_unary(_METHOD)
            for name, (address, _) in servers.items()
        }
        messages = {
            name: request(
                _model(size_bytes) if name in foreign else f"{_model(size_bytes)}/0", size_bytes
            ).SerializeToString()
            for name in servers
        }
        calls = {n: max(1, _CALLS[size_bytes] // (_SLOWER if n == "mlserver" else 1)) for n in servers}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
        for turn in range(rounds):
            for name in sorted(servers, reverse=bool(turn % 2)):
                found[name].append(round_of(asks[name], messages[name], calls[name], servers[name][1]))
        for name, measured in found.items():
            rates_hz, server_s, clients_s = zip(*measured, strict=True)
            beside = {
                f"of {other}": statistics.median(
                    rate_hz / its_hz for rate_hz, (its_hz, _, _) in zip(rates_hz, found[other], strict=True)
                )
                for other in ("bare", *(n for n in ("kserve", _ONE_SIZE) if n in found))
            }
            rows.append({
                "bytes": size_bytes, "server": name, "per second": statistics.median(rates_hz), **beside,
                "server ms each": 1e3 * statistics.median(server_s),
                "clients ms each": 1e3 * statistics.median(clients_s),
            })  # fmt: skip
    return rows
