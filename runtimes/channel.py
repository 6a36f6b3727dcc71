"""Channels between agents and their clients, with the options that were found to matter.

``keepalive_timeout_ms`` alone leaves a frozen peer unnoticed for a minute; ``ping_timeout_ms`` is what ends
the connection (measured, docs/runtime.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from runtimes.identity import Identity

if TYPE_CHECKING:
    from runtimes.tls import Material

# With certificates a connection is made anew after this time, give or take a tenth, so that what a handshake refuses,
# such as a certificate that has expired since, is refused at most that much later.
CONNECTION_AGE_S = 3600.0
# Where calls are open and nothing is heard of their caller, whose network or power may be gone: each holds a thread.
# It is asked after the first time, and gone after the second, in which an answer comes over the slowest link.
_CALLER_SILENT_S = 20.0
_CALLER_GONE_S = 60.0
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


def server_options(max_message_bytes: int, connection_age_s: float | None = None) -> list[tuple[str, int]]:
    """Give a server's options for messages of up to ``max_message_bytes``.

    Parameters
    ----------
    max_message_bytes
        The largest message's tensors.
    connection_age_s
        Time after which a connection is made anew, when the calls under way have ended; never if not given.
    """
    limit_bytes = max_message_bytes + MESSAGE_OVERHEAD_BYTES
    options = [
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.max_send_message_length", limit_bytes),
        ("grpc.http2.lookahead_bytes", limit_bytes),
        ("grpc.keepalive_time_ms", round(1000 * _CALLER_SILENT_S)),
        ("grpc.keepalive_timeout_ms", round(1000 * _CALLER_GONE_S)),
        ("grpc.http2.ping_timeout_ms", round(1000 * _CALLER_GONE_S)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
        # Of one connection: its client waits with further calls, where the agent would have to hold or refuse them.
        ("grpc.max_concurrent_streams", 256),
        # Two agents must not share a port by accident.
        ("grpc.so_reuseport", 0),
    ]
    if connection_age_s is not None:
        options.append(("grpc.max_connection_age_ms", round(1000 * connection_age_s)))
    return options


def open_channel(
    address: str, max_message_bytes: int, material: Material | None = None, device: str | None = None, *,
    alone: bool = False,
) -> grpc.Channel:  # fmt: skip
    """Open a channel, which connects with the first call.

    Parameters
    ----------
    address
        The agent's ``host:port``.
    max_message_bytes
        The largest message's tensors.
    material
        The own certificates; without them the connection is neither encrypted nor authenticated.
    device
        The device whose certificate the agent must have; if not given, one that names the address.
    alone
        Share no connection with this process's other channels to that address.

    Raises
    ------
    BadCredentials
        If the device's name cannot stand in a certificate.
    """
    options: list[tuple[str, int | str]] = [*channel_options(max_message_bytes)]
    if alone:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if material is None:
        return grpc.insecure_channel(address, options=options)
    if device is not None:
        # Of the name that is checked and of nothing else: the address is reached as it stands.
        host = Identity(site=material.identity.site, role="device", name=device).host
        options.append(("grpc.ssl_target_name_override", host))
    own = grpc.ssl_channel_credentials(material.authority, material.key, material.certificate)
    return grpc.secure_channel(address, own, options=options)
