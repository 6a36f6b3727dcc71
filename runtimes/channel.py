"""Channels between agents and their clients, with the options that were found to matter.

``keepalive_timeout_ms`` alone leaves a frozen peer unnoticed for a minute; ``ping_timeout_ms`` is what ends
the connection (measured, docs/runtime.md).
"""

from __future__ import annotations

import grpc

# Headroom over the tensors' bytes for names, shapes and parameters.
MESSAGE_OVERHEAD_BYTES = 65536


def channel_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Give a client channel's options for messages of up to ``max_message_bytes``."""
    limit_bytes = max_message_bytes + MESSAGE_OVERHEAD_BYTES
    return [
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.max_send_message_length", limit_bytes),
        ("grpc.http2.lookahead_bytes", limit_bytes),
        ("grpc.keepalive_time_ms", 5000),
        ("grpc.keepalive_timeout_ms", 2000),
        ("grpc.http2.ping_timeout_ms", 2000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.enable_retries", 0),
        # Agents are named by address; a proxy of the environment is for the world outside.
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Give a server's options for messages of up to ``max_message_bytes``."""
    limit_bytes = max_message_bytes + MESSAGE_OVERHEAD_BYTES
    return [
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.max_send_message_length", limit_bytes),
        ("grpc.http2.lookahead_bytes", limit_bytes),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
        # Two agents must not share a port by accident.
        ("grpc.so_reuseport", 0),
    ]


def open_channel(address: str, max_message_bytes: int) -> grpc.Channel:
    """Open a channel to ``host:port``; it connects with the first call."""
    return grpc.insecure_channel(address, options=channel_options(max_message_bytes))
