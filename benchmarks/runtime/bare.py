"""Three bare gRPC and ONNX Runtime servers that hand a tensor on: the least that a chain of devices can take here.

As between agents, a message is acknowledged before what it brings is run, and the last server sends the result to the
first one, where the client waits. Nothing else is done: no plan, no deadline, no check, no figure noted.
"""

from __future__ import annotations

import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks.one_hop import relu_model
from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from benchmarks.runtime.serving import listen, serve, served
from runtimes.channel import open_channel
from runtimes.once import Once
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

_TIMEOUT_S = 30.0
_HANDED_ON = "handed on"


class _Server:
    """One of the servers: runs what a client or the server before it brings, and sends it to the next one."""

    def __init__(self, sizes_bytes: list[int]) -> None:
        self._sessions = {size_bytes // 4: _session(size_bytes) for size_bytes in sizes_bytes}
        self._waiting: dict[str, tuple[Once, list[Any]]] = {}
        self._workers = ThreadPoolExecutor(4)
        self.send: Any = None

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer a client, or take what another server hands on."""
        if request.model_name != _HANDED_ON:
            return self._ask(request)
        waiting = self._waiting.pop(request.id, None)
        if waiting is None:
            self._workers.submit(self._run, request)
        else:
            done, results = waiting
            results.append(request)
            done.set()
        return oip.ModelInferResponse()

    def _ask(self, request: Any) -> Any:
        request.id = secrets.token_hex(16)
        done, results = self._waiting[request.id] = Once(), []
        self._run(request)
        if not done.wait(_TIMEOUT_S):
            raise TimeoutError("the result did not come")
        (result,) = results
        reply = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
        reply.outputs.add(name="y", datatype="FP32", shape=tuple(result.inputs[0].shape))
        reply.raw_output_contents.append(result.raw_input_contents[0])
        return reply

    def _run(self, request: Any) -> None:
        x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tuple(request.inputs[0].shape))
        (y,) = self._sessions[x.size].run(["y"], {"x": x})
        message = oip.ModelInferRequest(model_name=_HANDED_ON, id=request.id)
        message.inputs.add(name="x", datatype="FP32", shape=y.shape)
        message.raw_input_contents.append(y.tobytes())
        self.send(message, timeout=_TIMEOUT_S)


def _session(size_bytes: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(relu_model(size_bytes), options, providers=["CPUExecutionProvider"])


def main(sizes_bytes: list[int]) -> None:
    """Serve until the standard input ends; prints the address, and reads the next server's."""
    ours = _Server(sizes_bytes)
    server = listen(ours.infer)
    with open_channel(sys.stdin.readline().strip(), MAX_MESSAGE_BYTES) as channel:
        ours.send = Stub(channel, INFERENCE_SERVICE).ModelInfer
        serve(server)


@contextmanager
def bare_chain(count: int, sizes_bytes: tuple[int, ...]) -> Iterator[str]:
    """Run that many servers in processes of their own, each handing on to the next; gives the first one's address."""
    with ExitStack() as stack:
        started = [stack.enter_context(served("benchmarks.runtime.bare", *map(str, sizes_bytes))) for _ in range(count)]
        for index, (process, _) in enumerate(started):
            assert process.stdin is not None
            process.stdin.write(started[(index + 1) % count][1] + "\n")
            process.stdin.flush()
        yield started[0][1]


if __name__ == "__main__":
    main([int(size_bytes) for size_bytes in sys.argv[1:]])
