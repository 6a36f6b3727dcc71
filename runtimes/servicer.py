"""The Open Inference Protocol's service, a thin face of the data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtimes.access import caller_of
from runtimes.errors import AgentError, UnknownName
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import NO_MESSAGE, Codec, answers, describe_fault, require_message
from runtimes.trace import read_trace
from runtimes.version import software_version
from runtimes.wire import read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import grpc

    from runtimes.dataplane import DataPlane
    from runtimes.specs import TensorSpec
    from runtimes.unread import Unread


CODECS = {"ModelInfer": Codec(read=read_request, write=bytes), "ModelStreamInfer": Codec(read=read_request)}
"""How the methods that carry tensors are read and written."""


class InferenceServicer:
    """Answers GRPCInferenceService; one method per call of the protocol.

    Parameters
    ----------
    device
        The device's name.
    dataplane
        What answers.
    unread
        Counts its replies.
    secure
        Whether connections have certificates.
    """

    def __init__(self, device: str, dataplane: DataPlane, unread: Unread, *, secure: bool) -> None:
        self._device = device
        self._dataplane = dataplane
        self._unread = unread
        # Without certificates nobody says who they are, and asking every request costs time.
        self._caller_of = caller_of if secure else _nobody

    @answers
    def server_live(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Say that the agent runs."""
        return oip.ServerLiveResponse(live=True)

    @answers
    def server_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Say that the agent takes requests; which models it has is ``model_ready``'s answer."""
        return oip.ServerReadyResponse(ready=True)

    @answers
    def model_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Say whether data of a flow arise here or a segment runs here, and can run now."""
        try:
            loaded, model = self._dataplane.find(request.name, request.version)
        except UnknownName:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=loaded.is_ready(model.name))

    @answers
    def server_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Name the device and the software."""
        return oip.ServerMetadataResponse(name=self._device, version=software_version(), extensions=["model_stream"])

    @answers
    def model_metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Describe the tensors of a flow or segment."""
        loaded, model = self._dataplane.find(request.name, request.version)
        reply = oip.ModelMetadataResponse(
            name=model.name, versions=[str(loaded.epoch)], platform=getattr(model, "runtime", "placer_flow")
        )
        _describe(reply.inputs, loaded.inputs(model.name) if model.name in loaded.flows else model.inputs)
        _describe(reply.outputs, model.outputs)
        return reply

    @answers
    def model_infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Run a flow or a segment, or take a hop."""
        reply = self._dataplane.infer(
            request, self._caller_of(context), _time_left_s(context), context.add_callback,
            read_trace(context.invocation_metadata()),
        )  # fmt: skip
        self._unread.add(len(reply), context)
        return reply

    def model_stream_infer(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Run the requests of a stream one after the other; one that fails does not end it."""
        latest: list[Callable[[], None]] = []

        def on_cancel(callback: Callable[[], None]) -> bool:
            # Only of the request under way: a stream may live long, and what it remembers holds tensors.
            latest[:] = [callback]
            return bool(context.is_active())

        context.add_callback(lambda: [callback() for callback in latest])
        caller, parent = self._caller_of(context), read_trace(context.invocation_metadata())
        for request in requests:
            name = "" if request is NO_MESSAGE else request.id
            try:
                reply = self._dataplane.infer(
                    require_message(request), caller, _time_left_s(context), on_cancel, parent
                )
            except AgentError as error:
                yield _refusal(name, f"{error.status}: {error}")
            except Exception as error:
                yield _refusal(name, f"INTERNAL: {describe_fault('model_stream_infer', error)}")
            else:
                yield oip.ModelStreamInferResponse(infer_response=oip.ModelInferResponse.FromString(reply))


def _refusal(request: str, message: str) -> Any:
    return oip.ModelStreamInferResponse(error_message=message, infer_response=oip.ModelInferResponse(id=request))


def _nobody(context: grpc.ServicerContext) -> None:
    return None


def _describe(field: Any, tensors: Sequence[TensorSpec]) -> None:
    for tensor in tensors:
        field.add(name=tensor.name, datatype=tensor.dtype, shape=tensor.shape)


def _time_left_s(context: grpc.ServicerContext) -> float | None:
    left_s = context.time_remaining()
    # Without a deadline grpc gives None, or a time of some centuries.
    return None if left_s is None or left_s > 1e8 else float(left_s)
