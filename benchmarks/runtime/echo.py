"""A server that gives the bytes of each request back unread: gRPC alone, the least that a server of it can take."""

from __future__ import annotations

from benchmarks.runtime.serving import listen, serve

if __name__ == "__main__":
    serve(listen(lambda request, context: request, unread=True))
