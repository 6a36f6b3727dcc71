"""The standard health service: the server, every loaded plan and segment, and every flow whose data arise here."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runtimes.loaded import LoadedPlan

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_GONE = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """What the health service says of this device."""

    def __init__(self) -> None:
        self._servicer = health.HealthServicer()
        self._lock = threading.Lock()
        self._loaded: tuple[LoadedPlan, ...] = ()
        self._said: dict[str, int] = {}

    def serve(self, server: Any) -> None:
        """Serve it on a gRPC server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def follow(self, loaded: Iterable[LoadedPlan]) -> None:
        """Speak of these plans, their segments and flows, and of no others."""
        with self._lock:
            self._loaded = tuple(loaded)
            self._say()

    def refresh(self) -> None:
        """Look again which segments are ready."""
        with self._lock:
            self._say()

    def drain(self) -> None:
        """Say from now on that nothing is served."""
        self._servicer.enter_graceful_shutdown()

    def _say(self) -> None:
        ready: dict[str, bool] = {}
        for plan in self._loaded:
            here = {name: plan.is_ready(name) for name in (*plan.sessions, *filter(plan.inputs, plan.flows))}
            here[f"plan/{plan.assignment.plan}"] = all(map(plan.is_ready, plan.sessions))
            for name, is_ready in here.items():
                # Two plans may have a name in common.
                ready[name] = ready.get(name, True) and is_ready
        said = {name: _SERVING if is_ready else _NOT_SERVING for name, is_ready in ready.items()}
        for name in self._said.keys() - said.keys():
            self._servicer.set(name, _GONE)
        for name, status in said.items():
            if self._said.get(name) != status:
                self._servicer.set(name, status)
        self._said = said
