"""Serves requests by one function and nothing else, in a process that says its address and ends with its input."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from runtimes.channel import server_options
from runtimes.malloc import keep_large_blocks
from runtimes.protos import open_inference_grpc_pb2 as oip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def listen(
    infer: Callable[[Any, grpc.ServicerContext], Any], *, unread: bool = False, threads: Any = None
) -> grpc.Server:
    """Make a server that answers `ModelInfer` so, and print its address; it is yet to be started.

    Messages are bytes where they are left ``unread``; the ``threads`` are gRPC's own if none are given.
    """
    keep_large_blocks()
    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=None if unread else oip.ModelInferRequest.FromString,
        response_serializer=None if unread else oip.ModelInferResponse.SerializeToString,
    )
    server = grpc.server(threads or ThreadPoolExecutor(16), options=server_options(MAX_MESSAGE_BYTES))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    return server


def serve(server: grpc.Server) -> None:
    """Serve until the standard input ends."""
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


@contextmanager
def served(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a module that serves in a process of its own; gives the process and its address."""
    command = [sys.executable, "-m", module, *arguments]
    # In a session of its own, as agents are: Linux shares busy processors out among sessions.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process, process.stdout.readline().strip()
        process.stdin.close()
