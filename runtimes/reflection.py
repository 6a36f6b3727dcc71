"""Let generic gRPC tools list and call this agent's services, where the reflection package is installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2

from runtimes.protos.pool import POOL
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, add_service

try:
    from grpc_reflection.v1alpha import reflection, reflection_pb2
except ImportError:
    reflection = None

if TYPE_CHECKING:
    import grpc


def serve_reflection(server: grpc.Server, *, streams: int) -> bool:
    """Add the reflection service, for so many calls at a time; says whether its package is there.

    An agent does without: it serves those who look around, not those who know the protocol.
    """
    if reflection is None:
        return False
    # Reflection answers out of one pool, so the private one learns the two public services too.
    for module in (health_pb2, reflection_pb2):
        POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    services = (INFERENCE_SERVICE.full_name, AGENT_SERVICE.full_name, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    (service,) = reflection_pb2.DESCRIPTOR.services_by_name.values()
    answers = reflection.ReflectionServicer(services, pool=POOL).ServerReflectionInfo
    add_service(server, service, SimpleNamespace(server_reflection_info=answers), streams=streams)
    return True
