"""A server that takes a tensor and answers with nothing, or with it: one hop without an execution, for comparison."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from runtimes.channel import server_options
from runtimes.malloc import keep_large_blocks
from runtimes.protos import open_inference_grpc_pb2 as oip

if TYPE_CHECKING:
    from collections.abc import Iterator


ECHO = "echo"
"""The model name of requests whose tensor is wanted back."""


def serve() -> None:
    """Serve until the standard input ends; prints the address."""
    keep_large_blocks()

    def infer(request: Any, context: grpc.ServicerContext) -> Any:
        (given,), (raw,) = request.inputs, request.raw_input_contents
        x = np.frombuffer(raw, np.float32).reshape(tuple(given.shape))
        reply = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
        if request.model_name == ECHO:
            reply.outputs.add(name="y", datatype="FP32", shape=x.shape)
            reply.raw_output_contents.append(x.tobytes())
        return reply

    handler = grpc.unary_unary_rpc_method_handler(
        infer, request_deserializer=oip.ModelInferRequest.FromString,
        response_serializer=oip.ModelInferResponse.SerializeToString,
    )  # fmt: skip
    server = grpc.server(ThreadPoolExecutor(16), options=server_options(MAX_MESSAGE_BYTES))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


@contextmanager
def sink_server() -> Iterator[str]:
    """Run ``serve`` in a process of its own; gives its address."""
    command = [sys.executable, "-m", "benchmarks.runtime.sink"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


if __name__ == "__main__":
    serve()
