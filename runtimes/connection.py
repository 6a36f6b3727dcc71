"""A connection to one agent that outlives its certificates, and says why it could not be made.

gRPC takes a channel's certificates once, when it is opened, so renewed ones need a new channel.
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from runtimes.channel import CONNECTION_AGE_S, open_channel
from runtimes.errors import BadCredentials

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from runtimes.tls import Credentials

Calls = TypeVar("Calls")

# Before an agent ends a connection for its age, which would cost a request that sets out in that moment.
_OPEN_AGAIN_S = CONNECTION_AGE_S / 2

# What gRPC says where a handshake failed; only the reason is for people.
_REFUSED_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([a-z ]+)")
# What OpenSSL calls a certificate of an authority that is not believed here.
_FOREIGN = ("unable to get local issuer certificate", "self signed certificate in certificate chain")
_OTHER_NAME = "Hostname Verification Check failed"
_NO_TLS = "WRONG_VERSION_NUMBER"
# What it says where nobody listens: a chain of layers, of which the last word is for people.
_UNREACHED = ("failed to connect to all addresses", "errors resolving ")
_REASONS = {
    "connection refused": "connection refused", "timed out": "timed out", "timeout": "timed out",
    "no route to host": "no route to host", "network is unreachable": "network is unreachable",
    "domain name not found": "no machine of that name is known",
}  # fmt: skip
# A listener that refuses a handshake closes the connection without a word that gRPC would hand on.
_CLOSED = re.compile(r"Socket closed|Connection reset|recvmsg|Broken pipe")


class Connection(Generic[Calls]):
    """The way to one agent.

    Parameters
    ----------
    address
        Its ``host:port``.
    bind
        Makes the callables out of a channel.
    max_message_bytes
        The largest message's tensors.
    credentials
        The own certificates; without them the connection is neither encrypted nor authenticated.
    device
        The device whose certificate the agent must have; if not given, one that names the address.
    alone
        Share nothing with this process's other connections to that address.

    Raises
    ------
    BadCredentials
        If the device's name cannot stand in a certificate.
    """

    def __init__(
        self, address: str, bind: Callable[[grpc.Channel], Calls], *, max_message_bytes: int,
        credentials: Credentials | None = None, device: str | None = None, alone: bool = False,
    ) -> None:  # fmt: skip
        self.address = address
        self._bind = bind
        self._max_message_bytes = max_message_bytes
        self._credentials = credentials
        self._device = device
        self._alone = alone
        self._lock = threading.Lock()
        self._material = None if credentials is None else credentials.material()
        self._opened_at = time.monotonic()
        self._channel = self._open()
        self._calls = bind(self._channel)

    def calls(self) -> Calls:
        """Give the callables of a channel with the present certificates."""
        if self._credentials is not None:
            material = self._credentials.material()
            now = time.monotonic()
            with self._lock:
                if material is not self._material or now - self._opened_at >= _OPEN_AGAIN_S:
                    self._material, self._opened_at = material, now
                    # Closing the former channel would cancel calls; it goes when the last one lets go of it.
                    self._channel = self._open()
                    self._calls = self._bind(self._channel)
        return self._calls

    def close(self) -> None:
        """Close it; calls under way are cancelled."""
        with self._lock:
            self._channel.close()

    def why(self, details: str) -> str:
        """Say why no connection could be made, in a few words where it is known; else repeat what gRPC says."""
        theirs = "" if self._device is None else f" of device {self._device!r}"
        if refused := _REFUSED_CERTIFICATE.search(details):
            reason = refused[1].strip()
            return "its certificate is refused here: " + ("another authority made it" if reason in _FOREIGN else reason)
        if _OTHER_NAME in details:
            named = self.address.rpartition(":")[0] if self._device is None else f"device {self._device!r} of this site"
            return f"its certificate does not name {named}"
        if _NO_TLS in details:
            return "it listens without certificates; start it with --authority, --certificate and --key"
        if not _CLOSED.search(details):
            return _shortened(details)
        if self._credentials is None:
            return f"{details}; if the agent{theirs} asks for certificates, give --authority, --certificate and --key"
        try:
            self._credentials.require_valid()
        except BadCredentials as error:
            return f"the own certificate is of no use: {error}"
        return f"{details}; if it refused the certificate of {self._credentials.identity}, its log says why"

    def _open(self) -> grpc.Channel:
        return open_channel(self.address, self._max_message_bytes, self._material, self._device, alone=self._alone)


def _shortened(details: str) -> str:
    """Keep the reason of what gRPC says where nobody listens."""
    if not details.startswith(_UNREACHED):
        return details
    said = details.lower()
    reason = next((reason for word, reason in _REASONS.items() if word in said), None)
    return details if reason is None else f"{reason} (does the agent run, and is the address right?)"
