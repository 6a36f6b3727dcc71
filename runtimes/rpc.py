"""Service handlers and stubs made out of the services' descriptors.

Generated gRPC modules refuse every grpcio that is older than their generator, and a device's image often
has one; the descriptors say all that is needed.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from runtimes.errors import AgentError
from runtimes.protos import agent_pb2, open_inference_grpc_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

AGENT_SERVICE = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
INFERENCE_SERVICE = open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

_LOG = logging.getLogger(__name__)
# Details travel in a header, whose size is limited.
_LONGEST_DETAILS = 2000
_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")
# (client streams, server streams) -> how grpc names that form.
_FORMS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


def add_service(server: grpc.Server, service: Any, servicer: object) -> None:
    """Serve every method of a service by the servicer's method of that name, in snake case.

    Raises
    ------
    AttributeError
        If the servicer lacks one.
    """
    handlers = {}
    for method in service.methods:
        make = getattr(grpc, _form(method) + "_rpc_method_handler")
        handlers[method.name] = make(
            getattr(servicer, _WORD_START.sub("_", method.name).lower()),
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


def answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors of a servicer's unary answer into gRPC statuses; the agent goes on serving."""

    @functools.wraps(method)
    def answer(servicer: object, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(servicer, request, context)
        except AgentError as error:
            context.abort(grpc.StatusCode[error.status], str(error)[:_LONGEST_DETAILS])
        except Exception as error:
            # The trace is for the operator; a caller learns the kind, never a value.
            _LOG.exception("%s failed", method.__name__)
            context.abort(grpc.StatusCode.INTERNAL, f"the agent failed: {type(error).__name__}; see its log")

    return answer


def _form(method: Any) -> str:
    return _FORMS[method.client_streaming, method.server_streaming]
