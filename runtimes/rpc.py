"""Service handlers and stubs made out of the services' descriptors.

Generated gRPC modules refuse every grpcio that is older than their generator, and a device's image often
has one; the descriptors say all that is needed.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from runtimes.errors import AgentError, BadRequest
from runtimes.protos import agent_pb2, open_inference_grpc_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AGENT_SERVICE = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
INFERENCE_SERVICE = open_inference_grpc_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

_LOG = logging.getLogger(__name__)
NO_MESSAGE = object()
"""What stands for a message whose bytes are none; grpc itself would call that INTERNAL."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How a method's messages are read and written where protobuf alone will not do; None leaves that to it."""

    read: Callable[[bytes], Any] | None = None
    write: Callable[[Any], bytes] | None = None


def add_service(
    server: grpc.Server, service: Any, servicer: object, codecs: Mapping[str, Codec] | None = None, *, streams: int
) -> None:
    """Serve every method of a service by the servicer's method of that name, in snake case.

    Parameters
    ----------
    server, service, servicer
        The server, the service's descriptor, and what answers.
    streams
        How many calls of each method that streams may be open: each holds a thread for as long as its caller likes.
    codecs
        By method, for those that read or write in another way.

    Raises
    ------
    AttributeError
        If the servicer lacks one.
    """
    handlers = {}
    for method in service.methods:
        make = getattr(grpc, _form(method) + "_rpc_method_handler")
        codec = (codecs or {}).get(method.name, Codec())
        behave = getattr(servicer, _WORD_START.sub("_", method.name).lower())
        handlers[method.name] = make(
            _bounded(behave, method.name, streams) if method.client_streaming or method.server_streaming else behave,
            request_deserializer=functools.partial(_read, codec.read or GetMessageClass(method.input_type).FromString),
            response_serializer=codec.write or GetMessageClass(method.output_type).SerializeToString,
        )
    server.add_registered_method_handlers(service.full_name, handlers)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


class Stub:
    """Callables for every method of a service, as attributes of the methods' names.

    Parameters
    ----------
    channel, service
        The channel and the service's descriptor.
    writers
        By method, what writes its requests where protobuf alone will not do.
    """

    def __init__(
        self, channel: grpc.Channel, service: Any, writers: Mapping[str, Callable[[Any], bytes]] | None = None
    ) -> None:
        for method in service.methods:
            call = getattr(channel, _form(method))(
                f"/{service.full_name}/{method.name}",
                request_serializer=(writers or {}).get(
                    method.name, GetMessageClass(method.input_type).SerializeToString
                ),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, call)

    def __getattr__(self, name: str) -> Any:
        """Say which method is missing; present ones never come here."""
        raise AttributeError(f"the service has no method {name!r}")


def require_message(request: Any) -> Any:
    """Give a message back.

    Raises
    ------
    BadRequest
        If its bytes were none.
    """
    if request is NO_MESSAGE:
        raise BadRequest("these bytes are no message of this call")
    return request


def answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors of a servicer's unary answer into gRPC statuses; the agent goes on serving."""

    @functools.wraps(method)
    def answer(servicer: object, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(servicer, require_message(request), context)
        except AgentError as error:
            context.abort(grpc.StatusCode[error.status], str(error)[:_LONGEST_DETAILS])
        except Exception as error:
            context.abort(grpc.StatusCode.INTERNAL, describe_fault(method.__name__, error))

    return answer


def describe_fault(method: str, error: Exception) -> str:
    """Log a fault of the agent itself, and say what its caller is told: the kind, never a value."""
    # The trace is for the operator.
    _LOG.error("%s failed", method, exc_info=error)
    return f"the agent failed: {type(error).__name__}; see its log"


def _bounded(behave: Callable[..., Any], method: str, capacity: int) -> Callable[..., Any]:
    places = threading.BoundedSemaphore(capacity)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if not places.acquire(blocking=False):
            status = grpc.StatusCode.RESOURCE_EXHAUSTED
            context.abort(status, f"{capacity} calls of {method} are open here; end one, or try later")
        if not context.add_callback(places.release):
            places.release()
        return behave(request, context)

    return answer


def _read(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError:
        return NO_MESSAGE


def _form(method: Any) -> str:
    return _FORMS[method.client_streaming, method.server_streaming]
