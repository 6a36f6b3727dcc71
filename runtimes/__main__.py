"""The ``placer-agent`` command: serve one device until told to stop."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import re
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runtimes.errors import AgentError, BadCredentials
from runtimes.isolation.limits import Limits, default_memory_bytes
from runtimes.isolation.sandbox import landlock_version
from runtimes.logs import set_up_logs
from runtimes.malloc import keep_large_blocks
from runtimes.prober import is_loopback
from runtimes.server import Agent, Options, available_threads
from runtimes.tls import CredentialFiles, Credentials

if TYPE_CHECKING:
    from profiles.meters import Meter

_LOG = logging.getLogger(__name__)
_DRAIN_S = 5.0
_CUT_OFF = 5
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]*):(?P<port>\d{1,5})", re.ASCII)
_EXECUTION_LIMIT_S = 60.0
_MAX_MESSAGE_BYTES = 64 << 20


def main(arguments: list[str] | None = None) -> int:
    """Run an agent.

    Parameters
    ----------
    arguments
        The command line without the program; ``sys.argv`` if not given.

    Returns
    -------
    int
        Exit code: 0 after an orderly stop, 2 for wrong options, 4 if it cannot serve; the process ends with 5
        where requests had to be cut off.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    set_up_logs(given.name, given.log_format, given.log_level.upper())
    files = _credential_files(parser, given)
    limits = _limits(parser, given)
    keep_large_blocks()
    _allow_connections()
    stopping = _stop_signal()
    try:
        credentials = None if files is None else Credentials(files, serves=True)
        agent = Agent(
            Options(
                device=given.name,
                listen=given.listen,
                store=given.store,
                threads=given.threads,
                max_message_bytes=given.max_message_bytes,
                limits=limits,
                credentials=credentials,
                metrics=given.metrics,
                meter=None if given.meter is None else _meter(parser, given.meter),
                otlp=given.otlp,
            )
        )
    except BadCredentials as error:
        sys.stderr.write(f"placer-agent: {error}\n")
        return 2
    except (AgentError, OSError) as error:
        sys.stderr.write(f"placer-agent: {error}\n")
        return 4
    # What is here for good need not be looked through for garbage again and again.
    gc.collect()
    gc.freeze()
    if agent.metrics_url is not None:
        _LOG.info("metrics on %s", agent.metrics_url)
    if given.port_file is not None:
        _write_whole(given.port_file, agent.address.rpartition(":")[2] + "\n")
    sys.stdout.write(f"listening on {agent.address}\n")
    sys.stdout.flush()
    stopping.recv(1)
    if not agent.stop(given.drain_s):
        _LOG.warning("requests were still under way after %.3g s and are cut off", given.drain_s)
        logging.shutdown()
        # Not by a return: the threads that run them would be waited for.
        os._exit(_CUT_OFF)
    return 0


def _limits(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Limits | None:
    """Give the limits of segments' processes; None where they run in this one."""
    if given.no_isolation:
        return None
    if landlock_version() == 0:
        _LOG.warning("this kernel has no Landlock: segments' processes can read whatever this agent's user can")
    try:
        return Limits(memory_bytes=given.segment_memory_bytes, run_s=given.execution_limit_s)
    except ValueError as error:
        parser.error(f"--segment-memory-bytes, --execution-limit-s: {error}")


def _credential_files(parser: argparse.ArgumentParser, given: argparse.Namespace) -> CredentialFiles | None:
    """Give the files that were named; ends the command where they are needed and missing."""
    paths = {name: getattr(given, name) for name in ("authority", "certificate", "key")}
    absent = [f"--{name}" for name, path in paths.items() if path is None]
    if not absent:
        if given.insecure_network:
            parser.error("--insecure-network: with a certificate the network is secure; leave it out")
        return CredentialFiles(**paths)
    if len(absent) < len(paths):
        parser.error(f"{' and '.join(absent)}: missing; --authority, --certificate and --key belong together")
    for option, address in (("--listen", given.listen), ("--metrics", given.metrics)):
        _require_loopback(parser, given, option, address)
    return None


def _require_loopback(
    parser: argparse.ArgumentParser, given: argparse.Namespace, option: str, address: str | None
) -> None:
    if address is not None and not is_loopback(address):
        if not given.insecure_network:
            parser.error(
                f"{option} {address}: outside loopback everybody on the network could call this agent; "
                "give --authority, --certificate and --key (`placer certs` makes them)"
            )
        _LOG.warning(
            "--insecure-network: EVERYBODY who reaches %s can read what passes this device and run models "
            "on it; nothing is encrypted and nobody is asked who they are",
            address,
        )


def _meter(parser: argparse.ArgumentParser, name: str) -> Meter:
    # Imported here: it brings the readers of sites along, which a device without a meter does not need.
    from profiles.errors import MeterError, UnknownMeterError
    from profiles.meters import open_meter

    try:
        return open_meter(name)
    except UnknownMeterError as error:
        parser.error(f"--meter: {error}")
    except MeterError as error:
        raise AgentError(f"--meter {name}: {error}") from error


def _allow_connections() -> None:
    """Take all the descriptors that the system allows, so that idle connections keep nobody out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop_signal() -> socket.socket:
    """Make SIGTERM and SIGINT readable.

    A signal may reach any thread, those of numerical libraries too, and then wakes no main thread that
    waits for a lock; a byte in a socket always does.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # The descriptor must outlive this function, and the process is its scope.
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="placer-agent", description="Run this device's segments and hand their outputs on."
    )
    parser.add_argument("--name", required=True, metavar="DEVICE", help="the device's name in the site")
    parser.add_argument(
        "--listen", type=_address, default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 takes a free one"
    )
    parser.add_argument("--store", required=True, type=Path, metavar="DIR", help="where model files are kept")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port there once it serves")
    parser.add_argument(
        "--threads",
        type=_positive,
        default=available_threads(),
        metavar="N",
        help="the most threads of one execution (default: every processor, %(default)s)",
    )
    parser.add_argument(
        "--max-message-bytes",
        type=_positive,
        default=_MAX_MESSAGE_BYTES,
        metavar="N",
        help="the largest message taken (default: %(default)s)",
    )
    parser.add_argument(
        "--drain-s",
        type=_seconds,
        default=_DRAIN_S,
        metavar="SECONDS",
        help="what requests under way have to end when the agent is told to stop (default: %(default)s)",
    )
    apart = parser.add_argument_group("isolation", "each segment runs in a process of its own, within limits")
    apart.add_argument(
        "--no-isolation", action="store_true", help="run segments in the agent's process, where memory is short"
    )
    apart.add_argument(
        "--segment-memory-bytes",
        type=_positive,
        default=default_memory_bytes(),
        metavar="N",
        help="the most writable memory of one segment's process (default: half of this machine's, %(default)s)",
    )
    apart.add_argument(
        "--execution-limit-s",
        type=_seconds,
        default=_EXECUTION_LIMIT_S,
        metavar="SECONDS",
        help="the longest that one execution may take, whatever its deadline (default: %(default)s)",
    )
    watching = parser.add_argument_group("watching it")
    watching.add_argument(
        "--metrics", type=_address, metavar="HOST:PORT",
        help="serve Prometheus metrics there; outside loopback as --listen does",
    )  # fmt: skip
    watching.add_argument(
        "--meter", metavar="METER",
        help="the whole device's joules too: rapl, hwmon[:SENSOR], battery[:NAME], zeus:gpu, zeus:cpu, replay:FILE",
    )  # fmt: skip
    watching.add_argument("--otlp", metavar="URL", help="send spans to this OpenTelemetry collector (extra: otel)")
    watching.add_argument("--log-format", choices=("text", "json"), default="text", help="default: %(default)s")
    watching.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info",
        help="debug has a line per request (default: %(default)s)",
    )  # fmt: skip
    secure = parser.add_argument_group("certificates", "PEM files; all three are needed to listen outside loopback")
    secure.add_argument("--authority", type=Path, metavar="FILE", help="the site's authority: whom to believe")
    secure.add_argument("--certificate", type=Path, metavar="FILE", help="this device's certificate")
    secure.add_argument("--key", type=Path, metavar="FILE", help="its private key")
    secure.add_argument(
        "--insecure-network",
        action="store_true",
        help="listen outside loopback without them, where the network itself lets no stranger in",
    )
    return parser


def _address(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) >= 1 << 16:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; give HOST:PORT, such as 127.0.0.1:9001 or [::1]:9001"
        )
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{value} is not above 0 and at most 86400")
    return value


def _write_whole(path: Path, text: str) -> None:
    # By a rename: who waits for the file never reads half of it.
    incoming = path.with_name(path.name + ".incoming")
    incoming.write_text(text)
    os.replace(incoming, path)


if __name__ == "__main__":
    sys.exit(main())
