"""Why an agent cannot be reached, in a few words and without gRPC's layers."""

from __future__ import annotations

import socket

import pytest

from runtimes.client import AgentClient
from runtimes.connection import Connection
from runtimes.errors import Unreachable

HINT = "(does the agent run, and is the address right?)"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_nobody_listening_is_said_shortly(family, host):
    # Bound and not listening: refused, and nobody else can take it meanwhile.
    with socket.socket(family) as idle:
        try:
            idle.bind((host.strip("[]"), 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        address = f"{host}:{idle.getsockname()[1]}"
        with AgentClient(address) as client, pytest.raises(Unreachable) as caught:
            client.status()
    assert str(caught.value) == f"agent at {address}: connection refused {HINT}"


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.7:1: Connection timed out",
         f"timed out {HINT}"),
        ("failed to connect to all addresses; last error: UNAVAILABLE: ipv4:10.0.0.7:1: connection attempt "
         "timed out before receiving SETTINGS frame", f"timed out {HINT}"),
        ("errors resolving box:1: [field:hostname lookup error:address lookup failed for box:1: Domain name not found]",
         f"no machine of that name is known {HINT}"),
        ("failed to connect to all addresses; last error: what nobody knows",
         "failed to connect to all addresses; last error: what nobody knows"),
        ("segment 'a' timed out", "segment 'a' timed out"),
    ],
)  # fmt: skip
def test_other_reasons_keep_their_last_word(details, said):
    connection = Connection("box:1", lambda channel: channel, max_message_bytes=1)
    assert connection.why(details) == said
    connection.close()
