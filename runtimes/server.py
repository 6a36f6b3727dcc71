"""The agent: its parts put together and served on one port."""

from __future__ import annotations

import errno
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from runtimes.access import Access
from runtimes.channel import CONNECTION_AGE_S, server_options
from runtimes.claim import Claim
from runtimes.control import AgentServicer
from runtimes.crew import Crew
from runtimes.dataplane import DataPlane
from runtimes.epochs import Epochs
from runtimes.errors import AgentError, BadCredentials
from runtimes.handed_in import HandedIn
from runtimes.health import Health
from runtimes.loaded_plans import LoadedPlans
from runtimes.metrics import Metrics
from runtimes.observation import Journal
from runtimes.opening import Opener
from runtimes.peers import Peer, Peers
from runtimes.prober import Prober
from runtimes.processor import Processor
from runtimes.record import Recorder
from runtimes.reflection import serve_reflection
from runtimes.relay import Relay
from runtimes.results import ResultStore
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, add_service
from runtimes.servicer import CODECS, InferenceServicer
from runtimes.source import Source
from runtimes.state import StateFile
from runtimes.store import BlobStore
from runtimes.unread import Unread
from runtimes.variants import Variants
from runtimes.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from profiles.meters import Meter
    from runtimes.isolation.limits import Limits
    from runtimes.loaded import LoadedPlan
    from runtimes.metrics_http import MetricsServer
    from runtimes.otel import OtlpTracer
    from runtimes.tls import Credentials

# Calls that do not stream. Half of them may hold a waiting client; the other half is left to hops and control, or a
# device whose clients wait for hops could never take one.
_CALLS = 64
_WAITING_CLIENTS = 32
# Calls of each method that streams: one that is open and idle holds a thread too, which none of the others needs.
_STREAMS = 32
_STREAMING_METHODS = 5
# They are started when they are needed.
_SERVER_THREADS = _CALLS + _STREAMING_METHODS * _STREAMS
# How many of them are at work, and how long one that does not say that it waits counts as that.
AT_WORK = 3
PATIENCE_S = 0.01
# Half of them may wait for acknowledgements; the others go on running segments.
_WORKERS = 8
_OPEN_RUNS = 1024
_WAITING_EXECUTIONS = 4096
_RESULTS = 1024
_RESULTS_BYTES = 256 << 20
_RESULTS_KEEP_S = 600.0
_UNREAD_BYTES = 256 << 20
# Data that wait for their request: it begins as soon as they arise, or not at all.
_HANDED_IN = 1024
_HANDED_IN_BYTES = 256 << 20
_HANDED_IN_KEEP_S = 60.0
# What calls that were cut off have to notice it.
_CUT_OFF_S = 0.5


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
        Directory of its model files, and of what it remembers over a restart.
    threads
        The most threads of one execution.
    max_message_bytes
        The largest message that it takes or sends.
    limits
        What the process of one segment may take; None where segments run in the agent's own process.
    credentials
        Its certificates; None where connections are neither encrypted nor authenticated.
    metrics
        ``host:port`` that Prometheus scrapes; None for no such port.
    meter
        Measures the whole device's joules for the metrics; None where it has no meter.
    otlp
        The address of an OpenTelemetry collector that gets spans; None for none.
    """

    device: str
    listen: str
    store: Path
    threads: int
    max_message_bytes: int
    limits: Limits | None
    credentials: Credentials | None = None
    metrics: str | None = None
    meter: Meter | None = None
    otlp: str | None = None


class Agent:
    """One device's agent, serving from the moment it is made.

    Parameters
    ----------
    options
        How it is started.

    Raises
    ------
    AgentError
        If an address cannot be listened on, or the store cannot be used, is another agent's or another device's.
    MissingExtra
        If spans are wanted and OpenTelemetry is not installed.
    BadCredentials
        If the certificate is not this device's.
    """

    def __init__(self, options: Options) -> None:
        credentials = options.credentials
        if credentials is not None:
            _require_own(credentials, options.device)
        # Before the store is made: who cannot serve leaves nothing behind.
        _require_free("listen", options.listen)
        if options.metrics is not None:
            _require_free("serve metrics", options.metrics)
        self._claim = Claim(options.store)
        store = BlobStore(options.store)
        journal = Journal()
        self._tracer = _tracer(options)
        self._metrics = Metrics(options.meter)
        recorder = Recorder(journal, self._metrics, self._tracer)
        results = ResultStore(_RESULTS, _RESULTS_BYTES, _RESULTS_KEEP_S)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="worker")
        self._peers = Peers(options.max_message_bytes, credentials, patient_threads=_WORKERS // 2)
        self._watch = Watch(self._peers)
        processor = Processor(self._workers, _WAITING_EXECUTIONS)
        self._relay = Relay(
            processor=processor, peers=self._peers, recorder=recorder, results=results,
            handed_in=HandedIn(_HANDED_IN, _HANDED_IN_BYTES, _HANDED_IN_KEEP_S), open_runs=_OPEN_RUNS,
        )  # fmt: skip
        self._health = Health()
        opener = Opener(store=store, threads=options.threads, limits=options.limits, changed=self._health.refresh)
        epochs = Epochs(
            device=options.device,
            store=store,
            state=StateFile(options.store),
            plans=LoadedPlans(store=store, open_segment=opener.open, changed=self._changed),
            max_message_bytes=options.max_message_bytes,
        )
        source = Source(
            relay=self._relay, processor=processor, peers=self._peers, variants=Variants(epochs, self._peers),
            recorder=recorder,
            waiting_clients=_WAITING_CLIENTS,
        )  # fmt: skip
        threads = ThreadPoolExecutor(_SERVER_THREADS, thread_name_prefix="server")
        self._crew = Crew(threads, AT_WORK, PATIENCE_S)
        self._server = grpc.server(
            self._crew,
            options=server_options(options.max_message_bytes, CONNECTION_AGE_S if credentials else None),
            interceptors=[Access(credentials.identity)] if credentials else (),
            maximum_concurrent_rpcs=_SERVER_THREADS,
        )
        dataplane = DataPlane(epochs, source, self._relay, recorder)
        unread = Unread(_UNREAD_BYTES)
        servicer = InferenceServicer(options.device, dataplane, unread, secure=credentials is not None)
        add_service(self._server, INFERENCE_SERVICE, servicer, CODECS, streams=_STREAMS)
        control = AgentServicer(
            epochs=epochs, store=store, journal=journal, results=results, runs=self._relay.runs,
            prober=Prober(epochs, credentials), peers=self._peers, unread=unread,
        )  # fmt: skip
        add_service(self._server, AGENT_SERVICE, control, streams=_STREAMS)
        self._health.serve(self._server)
        serve_reflection(self._server, streams=_STREAMS)
        try:
            # Before anybody can ask: who hears this agent again finds the plan that he was told is active.
            epochs.restore()
            self.address = self._bind(options.listen, credentials)
        except AgentError:
            self._claim.release()
            raise
        queues = {
            "executions": processor.waiting, "requests": self._relay.runs.__len__, "clients": source.waiting,
            "results": results.__len__,
        }  # fmt: skip
        self._scraped = self._serve_metrics(options, lambda: self._metrics.page(epochs.states(), queues))
        self._server.start()

    @property
    def metrics_url(self) -> str | None:
        """Where Prometheus scrapes; None if nowhere."""
        return None if self._scraped is None else self._scraped.url

    def stop(self, grace_s: float) -> bool:
        """Take no new requests, give those under way ``grace_s`` to end, and let go of everything.

        Returns
        -------
        bool
            Whether all have ended; those that have not are cut off.
        """
        deadline = time.monotonic() + grace_s

        def left_s() -> float:
            return max(0.0, deadline - time.monotonic())

        # Said first, so that whoever chooses among agents chooses another.
        self._health.drain()
        # The server still answers: with a reason, and with the messages that runs here wait for.
        drained = self._relay.runs.drain(grace_s)
        drained = self._peers.settle(left_s()) and drained
        drained = bool(self._server.stop(left_s()).wait(left_s() + _CUT_OFF_S)) and drained
        self._relay.runs.stop()
        self._crew.stop()
        self._workers.shutdown(wait=drained, cancel_futures=True)
        self._watch.stop()
        self._peers.keep(())
        if self._scraped is not None:
            self._scraped.stop()
        if self._tracer is not None:
            self._tracer.stop()
        self._claim.release()
        return drained

    def _serve_metrics(self, options: Options, page: Callable[[], str]) -> MetricsServer | None:
        if options.metrics is None:
            return None
        # Imported here: an agent that nobody scrapes needs no HTTP server.
        from runtimes.metrics_http import MetricsServer

        try:
            return MetricsServer(options.metrics, page, options.credentials)
        except AgentError:
            self._server.stop(None)
            self._claim.release()
            raise

    def _bind(self, listen: str, credentials: Credentials | None) -> str:
        host = listen.rpartition(":")[0]
        try:
            if credentials is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, credentials.server())
        except RuntimeError as error:
            raise AgentError(f"cannot listen on {listen!r}: {error}; is the port taken?") from error
        return f"{host}:{port}"

    def _changed(self, loaded: tuple[LoadedPlan, ...]) -> None:
        """Follow a change of the loaded plans: health per segment, flow and plan, and channels to peers."""
        self._health.follow(loaded)
        self._metrics.keep({flow for plan in loaded for flow in plan.flows})
        shares = [share for plan in loaded for share in plan.assignment.every()]
        self._peers.keep({Peer(*named) for share in shares for named in share.peers.items()})
        backed = [share for plan in loaded if plan.assignment.fallbacks for share in plan.assignment.every()]
        self._watch.follow({Peer(*named) for share in backed for named in share.peers.items()})


def _require_free(purpose: str, address: str) -> None:
    """Try an address out: of all that gRPC says when it cannot listen, none is for people."""
    host, _, port = address.rpartition(":")
    trouble: OSError | None = None
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                with socket.socket(family, kind, protocol) as tried:
                    # As servers do: connections that have ended keep no port.
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    tried.bind(place)
                    return
            except OSError as error:
                trouble = error
    except OSError as error:
        trouble = error
    if trouble is not None:
        taken = trouble.errno == errno.EADDRINUSE
        remedy = (
            "another program has this port: stop it, or give another" if taken else "give an address of this device"
        )
        raise AgentError(f"cannot {purpose} on {address!r}: {trouble.strerror}; {remedy}")


def _tracer(options: Options) -> OtlpTracer | None:
    if options.otlp is None:
        return None
    # Imported here: an extra, which an agent without a collector does not need.
    from runtimes.otel import OtlpTracer

    return OtlpTracer(options.otlp, options.device)


def _require_own(credentials: Credentials, device: str) -> None:
    own = credentials.identity
    if (own.role, own.name) != ("device", device):
        raise BadCredentials(
            f"the certificate is of {own}, this is device {device!r}; make one with `placer certs agent {device}`"
        )


def available_threads() -> int:
    """Give the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
