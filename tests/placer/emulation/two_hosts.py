"""Run inside namespaces of its own: two hosts and a wire of given rate and latency; prints what passed over it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from placer.emulation.isolation import PRIVATE_FOLDER
from placer.emulation.network import Network, find_wire
from placer.emulation.topology import lay_network
from placer.problem import Device, Flow, Link, Op, Option, Problem

PORT = 9
RECEIVE = f"""
import socket, sys, time
server = socket.create_server(("", {PORT}))
print("ready", flush=True)
connection, _ = server.accept()
received, began = len(connection.recv(1)), time.monotonic()
while data := connection.recv(1 << 16):
    received += len(data)
print(received / (time.monotonic() - began))
"""
SEND = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {PORT})) as connection:
    connection.sendall(bytes(int(sys.argv[2])))
"""
ANSWER = f"""
import socket
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.bind(("", {PORT}))
print("ready", flush=True)
while True:
    data, who = opened.recvfrom(2048)
    opened.sendto(data, who)
"""
ASK = f"""
import socket, sys, time
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.settimeout(float(sys.argv[2]))
for _ in range(10):
    began = time.monotonic()
    opened.sendto(b"?", (sys.argv[1], {PORT}))
    try:
        opened.recv(2048)
        print(time.monotonic() - began)
    except TimeoutError:
        print("nan")
        break
"""


def problem(bytes_per_s: float, latency_s: float) -> Problem:
    op = Op(name="op", options=(Option(device="a", mode="m", seconds=0.1, joules=1.0),))
    link = Link(source="a", target="b", latency_s=latency_s, bytes_per_s=bytes_per_s, energy_j_per_byte=0.0)
    return Problem(
        devices=(Device(name="a"), Device(name="b")), links=(link,), flows=(Flow(name="f", ops=(op,), rate_hz=1.0),)
    )


def main() -> None:
    bytes_per_s, latency_s, size_bytes = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    subprocess.run(["mount", "-t", "tmpfs", "placer", PRIVATE_FOLDER], check=True)
    topology = lay_network(problem(bytes_per_s, latency_s), ["a", "b"])
    network = Network(topology, Path(PRIVATE_FOLDER))

    def start(device: str, program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [*network.inside(device), sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def served(program: str) -> subprocess.Popen[str]:
        server = start("b", program)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        return server

    server = served(RECEIVE)
    start("a", SEND, topology.address("b"), size_bytes).communicate()
    goodput = float(server.communicate()[0])
    server = served(ANSWER)
    round_trips = start("a", ASK, topology.address("b"), 5.0).communicate()[0].split()
    network.cut(find_wire(topology, "a:b"))
    after = start("a", ASK, topology.address("b"), 0.5).communicate()[0].split()
    server.kill()
    found = {"goodput_bytes_per_s": goodput, "round_trip_s": sorted(map(float, round_trips)), "after_cut": after}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
