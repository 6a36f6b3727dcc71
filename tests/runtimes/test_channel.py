"""What a server's options are for: calls of a caller that is gone without a word end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from runtimes import channel
from tests.runtimes.proxy import Proxy


def test_the_calls_of_a_caller_that_is_gone_without_a_word_end(monkeypatch):
    monkeypatch.setattr(channel, "_CALLER_SILENT_S", 0.2)
    monkeypatch.setattr(channel, "_CALLER_GONE_S", 0.5)
    ended = threading.Event()

    def echo(requests, context):
        context.add_callback(ended.set)
        yield from requests

    server = grpc.server(ThreadPoolExecutor(2), options=channel.server_options(1 << 20))
    handlers = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Proxy(f"127.0.0.1:{port}") as wire, channel.open_channel(wire.address, 1 << 20) as caller:
            more = threading.Event()

            def requests():
                yield b"first"
                more.wait(60)

            replies = caller.stream_stream("/test/Echo")(requests())
            assert next(replies) == b"first"
            wire.cut("hang")
            assert ended.wait(20)
            more.set()
            wire.heal()
            with pytest.raises(grpc.RpcError):
                next(replies)
    finally:
        server.stop(None).wait()
