"""Service handlers and stubs made out of the services' descriptors.

Generated gRPC modules refuse every grpcio that is older than their generator, and a device's image often
has one; the descriptors say all that is needed.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from runtimes.protos import agent_pb2, open_inference_grpc_pb2

AGENT_SERVICE = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
INFERENCE_SERVICE = open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

# (client streams, server streams) -> how grpc names that form.
_FORMS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


def add_service(server: grpc.Server, service: Any, servicer: object) -> None:
    """Serve every method of a service by the servicer's method of that name.

    Raises
    ------
    AttributeError
        If the servicer lacks one.
    """
    handlers = {}
    for method in service.methods:
        make = getattr(grpc, _form(method) + "_rpc_method_handler")
        handlers[method.name] = make(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    server.add_registered_method_handlers(service.full_name, handlers)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


class Stub:
    """Callables for every method of a service, as attributes of the methods' names."""

    def __init__(self, channel: grpc.Channel, service: Any) -> None:
        for method in service.methods:
            call = getattr(channel, _form(method))(
                f"/{service.full_name}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, call)

    def __getattr__(self, name: str) -> Any:
        """Say which method is missing; present ones never come here."""
        raise AttributeError(f"the service has no method {name!r}")


def _form(method: Any) -> str:
    return _FORMS[method.client_streaming, method.server_streaming]
