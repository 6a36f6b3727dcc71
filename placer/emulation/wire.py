"""The wire process: moves packets between network interfaces as the lanes of a link shape them.

It needs no kernel module: a packet socket on the near end of every virtual Ethernet pair reads what a device
sends, and writes it to the other device's pair when its time has come. One process serves the lanes that share
media. It ends with its standard input, and obeys lines of it: ``cut INTERFACE INTERFACE``.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import socket
import struct
import sys
import time
from typing import NoReturn

import msgspec

from placer.emulation.shaping import Lane, LaneSpec, Medium, make_lane

# From linux/if_packet.h and asm-generic/socket.h, which Python does not name.
_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33

_OFFLOAD_BYTES = 10
"""struct virtio_net_hdr, which precedes each packet and says how a larger one falls into segments."""
_ETHERNET_BYTES = 14
_LARGEST_BYTES = 70000
_RECEIVE_BUFFER_BYTES = 16 << 20
_BURST = 32
"""Packets read at once from one interface before the others have their turn."""
_HARMLESS = {errno.EAGAIN, errno.ENOBUFS, errno.ENETDOWN, errno.ENXIO, errno.EINVAL, errno.EMSGSIZE}


def wire_size_bytes(packet: bytes) -> int:
    """Give the bytes that a packet is on the wire, as IP counts them.

    Parameters
    ----------
    packet
        As a packet socket with offload headers gives it: one that TCP left to the hardware to cut is counted
        with the headers of every segment.
    """
    size = len(packet) - _OFFLOAD_BYTES - _ETHERNET_BYTES
    kind, header, segment = struct.unpack_from("=xBHH", packet)
    header -= _ETHERNET_BYTES
    if kind and segment and size > header > 0:
        size += (-(-(size - header) // segment) - 1) * header
    return int(size)


def open_interface(name: str) -> socket.socket:
    """Open a raw socket on an interface that sees what comes in and not what it sent itself."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    for option in (_PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING, _PACKET_QDISC_BYPASS):
        opened.setsockopt(_SOL_PACKET, option, 1)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    except PermissionError:
        # Only root of the machine may exceed the system's limit.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    opened.bind((name, _ETH_P_ALL))
    opened.setblocking(False)
    return opened


class Wire:
    """The lanes of one process, between open interfaces.

    Parameters
    ----------
    specs
        One per direction; each interface is the source of one and the target of one.
    """

    def __init__(self, specs: tuple[LaneSpec, ...]) -> None:
        media: dict[str, Medium] = {}
        latency_s = {(s.source, s.target): s.latency_s for s in specs}
        self._sockets = {s.source: open_interface(s.source) for s in specs}
        self._lanes: dict[str, Lane] = {}
        self._target: dict[str, socket.socket] = {}
        for s in specs:
            round_trip_s = s.latency_s + latency_s.get((s.target, s.source), s.latency_s)
            self._lanes[s.source] = make_lane(s, media.setdefault(s.medium, Medium()), round_trip_s)
            self._target[s.source] = self._sockets[s.target]

    def serve(self, orders: int) -> None:
        """Move packets until the file descriptor of orders ends."""
        name_of = {opened.fileno(): name for name, opened in self._sockets.items()}
        readers = [*name_of, orders]
        while True:
            readable, _, _ = select.select(readers, (), (), self._deliver())
            for ready in readable:
                if ready == orders:
                    if not self._obey(os.read(orders, 4096).decode()):
                        return
                else:
                    self._collect(name_of[ready])

    def _deliver(self) -> float | None:
        """Write what has arrived; gives the seconds until the next arrival, None if nothing is under way."""
        soonest: float | None = None
        for name, lane in self._lanes.items():
            target = self._target[name]
            while (packet := lane.take(time.monotonic())) is not None:
                with contextlib.suppress(BlockingIOError):
                    _send(target, packet)
            due = lane.next_at()
            if due is not None:
                soonest = due if soonest is None else min(soonest, due)
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def _collect(self, name: str) -> None:
        opened, lane = self._sockets[name], self._lanes[name]
        for _ in range(_BURST):
            try:
                packet = opened.recv(_LARGEST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _HARMLESS:
                    return
                raise
            lane.accept(packet, wire_size_bytes(packet), time.monotonic())

    def _obey(self, text: str) -> bool:
        for line in text.splitlines():
            order, *names = line.split()
            if order == "cut":
                for name in names:
                    self._lanes[name].stop()
        return bool(text)


def _send(target: socket.socket, packet: bytes) -> None:
    try:
        target.send(packet)
    except OSError as error:
        # A full queue or a device that is gone loses packets, as networks do.
        if error.errno not in _HARMLESS:
            raise


def main() -> NoReturn:
    """Read the lanes from the command line, say that they are ready, and serve."""
    wire = Wire(msgspec.json.decode(sys.argv[1], type=tuple[LaneSpec, ...]))
    # Delays are true only if this process runs when a packet is due.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    # A collection would delay packets; nothing here makes cycles.
    gc.disable()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    wire.serve(sys.stdin.fileno())
    sys.exit(0)


if __name__ == "__main__":
    main()
