"""The small HTTP port that Prometheus scrapes; with the agent's certificates it asks for the scraper's."""

from __future__ import annotations

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from runtimes.access import require_client
from runtimes.errors import AgentError, Forbidden
from runtimes.exposition import CONTENT_TYPE
from runtimes.identity import parse_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtimes.tls import Credentials

_LOG = logging.getLogger(__name__)
_PATH = "/metrics"
# A scraper that says nothing for this long is gone; each holds a thread.
_TIMEOUT_S = 5.0
_SCRAPERS = 8


class MetricsServer:
    """Serves one page from the moment it is made.

    Parameters
    ----------
    listen
        ``host:port``; port 0 takes a free one.
    page
        Writes the page.
    credentials
        The agent's certificates. With them scrapers need a client's or a deployer's of the same site.

    Raises
    ------
    AgentError
        If the address cannot be listened on.
    """

    def __init__(self, listen: str, page: Callable[[], str], credentials: Credentials | None) -> None:
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), page, credentials)
        except (OSError, ValueError, OverflowError) as error:
            raise AgentError(f"cannot serve metrics on {listen!r}: {error}; is the port taken?") from error
        scheme = "http" if credentials is None else "https"
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}{_PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Who hangs must not keep the agent from ending.
    block_on_close = False

    def __init__(self, address: tuple[str, int], page: Callable[[], str], credentials: Credentials | None) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.page = page
        self._credentials = credentials
        self._places = threading.BoundedSemaphore(_SCRAPERS)
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, or close it where too many are open already."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            # Here and not where it is accepted: a handshake waits for a stranger.
            request.settimeout(_TIMEOUT_S)
            super().process_request_thread(self._secured(request), client_address)
        except (OSError, AgentError) as error:
            _LOG.warning("a scrape from %s was refused: %s", client_address[0], error)
            self.shutdown_request(request)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line what went wrong; the usual cause is a scraper that went away."""
        _LOG.warning("a scrape from %s failed", client_address[0], exc_info=True)

    def _secured(self, request: socket.socket) -> socket.socket:
        if self._credentials is None:
            return request
        secured = self._credentials.listening().wrap_socket(request, server_side=True)
        facts: dict[str, Any] = dict(secured.getpeercert() or {})
        names = [value for kind, value in facts.get("subjectAltName", ()) if kind == "URI"]
        caller = parse_identity(names[0] if len(names) == 1 else "")
        if caller.site != self._credentials.identity.site:
            raise Forbidden(f"{caller} is of another site; this is {self._credentials.identity}")
        require_client(caller)
        return secured


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Answer a scrape."""
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404, f"only {_PATH} is here")
            return
        body = self.server.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no line per scrape."""
        _LOG.debug(format, *args)
