"""The agent: its parts put together and served on one port."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from runtimes.channel import server_options
from runtimes.control import AgentServicer
from runtimes.dataplane import DataPlane
from runtimes.epochs import Epochs
from runtimes.errors import AgentError
from runtimes.observation import Journal
from runtimes.peers import Peers
from runtimes.processor import Processor
from runtimes.reflection import serve_reflection
from runtimes.relay import Relay
from runtimes.results import ResultStore
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, add_service
from runtimes.servicer import InferenceServicer
from runtimes.store import BlobStore

if TYPE_CHECKING:
    from pathlib import Path

    from runtimes.loaded import LoadedPlan

# Threads of the server. Half of them may hold a waiting client; the other half is left to hops and control,
# or a device whose clients wait for hops could never take one.
_SERVER_THREADS = 64
_WAITING_CLIENTS = 32
_WORKERS = 8
_OPEN_RUNS = 1024
_WAITING_EXECUTIONS = 4096
_RESULTS = 1024
_RESULTS_BYTES = 256 << 20
_RESULTS_KEEP_S = 600.0

_SERVING = health_pb2.HealthCheckResponse.SERVING
_GONE = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an agent is started.

    Parameters
    ----------
    device
        The device's name in the site.
    listen
        ``host:port``; port 0 takes a free one.
    store
        Directory of its model files.
    threads
        The most threads of one execution.
    max_message_bytes
        The largest message that it takes or sends.
    """

    device: str
    listen: str
    store: Path
    threads: int
    max_message_bytes: int


class Agent:
    """One device's agent, serving from the moment it is made.

    Parameters
    ----------
    options
        How it is started.

    Raises
    ------
    AgentError
        If the address cannot be listened on.
    """

    def __init__(self, options: Options) -> None:
        store = BlobStore(options.store)
        journal = Journal()
        results = ResultStore(_RESULTS, _RESULTS_BYTES, _RESULTS_KEEP_S)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="worker")
        self._peers = Peers(options.max_message_bytes)
        self._relay = Relay(
            processor=Processor(self._workers, _WAITING_EXECUTIONS), peers=self._peers, journal=journal,
            results=results, open_runs=_OPEN_RUNS, waiting_clients=_WAITING_CLIENTS,
        )  # fmt: skip
        self._health = health.HealthServicer()
        self._healthy: frozenset[str] = frozenset()
        epochs = Epochs(device=options.device, store=store, threads=options.threads,
                        max_message_bytes=options.max_message_bytes, changed=self._changed)
        self._server = grpc.server(
            ThreadPoolExecutor(_SERVER_THREADS, thread_name_prefix="server"),
            options=server_options(options.max_message_bytes),
            maximum_concurrent_rpcs=_SERVER_THREADS,
        )
        add_service(self._server, INFERENCE_SERVICE, InferenceServicer(options.device, DataPlane(epochs, self._relay)))
        control = AgentServicer(epochs=epochs, store=store, journal=journal, results=results, runs=self._relay.runs)
        add_service(self._server, AGENT_SERVICE, control)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        serve_reflection(self._server)
        self.address = self._bind(options.listen)
        self._server.start()

    def stop(self, grace_s: float) -> None:
        """Take no new requests, give those under way ``grace_s`` to end, and let go of everything."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._relay.runs.stop()
        self._workers.shutdown()
        self._peers.keep(())

    def _bind(self, listen: str) -> str:
        host = listen.rpartition(":")[0]
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise AgentError(f"cannot listen on {listen!r}: {error}; is the port taken?") from error
        return f"{host}:{port}"

    def _changed(self, loaded: tuple[LoadedPlan, ...]) -> None:
        """Follow a change of the loaded plans: health per segment and flow, and channels to peers."""
        names = {name for plan in loaded for name in (*plan.sessions, *filter(plan.is_source, plan.flows))}
        for name in self._healthy - names:
            self._health.set(name, _GONE)
        for name in names:
            self._health.set(name, _SERVING)
        self._healthy = frozenset(names)
        self._peers.keep({address for plan in loaded for address in plan.assignment.peers.values()})


def available_threads() -> int:
    """Give the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
