"""The kernel's account of connections: this process's own are found by their port, read, and left open."""

from __future__ import annotations

import socket

from runtimes.tcp_account import Line, account_of, connections_to


def test_a_connection_is_found_and_read_and_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connections_to(port) == []
        with socket.create_connection(("127.0.0.1", port)) as near:
            far, _ = server.accept()
            with far:
                (line,) = connections_to(port)
                assert line == Line(near.getsockname()[1], near.fileno())
                near.sendall(b"x" * 100)
                assert len(far.recv(100, socket.MSG_WAITALL)) == 100
                account = account_of(line)
                assert account is not None
                assert account.segments == 1
                assert account.retransmitted == 0
                assert 0 < account.least_round_trip_s < 60
                near.sendall(b"still open")
        assert connections_to(port) == []


def test_what_is_no_connection_has_no_account():
    with socket.socket(socket.AF_UNIX) as local:
        assert account_of(Line(1, local.fileno())) is None
