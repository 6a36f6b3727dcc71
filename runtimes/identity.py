"""Who somebody is within a site: the SPIFFE identity that a certificate carries.

``spiffe://SITE/device/NAME`` is a device's agent, ``spiffe://SITE/deployer/NAME`` puts plans on devices, and
``spiffe://SITE/client/NAME`` asks for inference. SPIFFE identities and their place in a certificate's URI name are
specified at https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal, get_args

from runtimes.errors import BadCredentials

Role = Literal["device", "deployer", "client"]
ROLES: tuple[Role, ...] = get_args(Role)

_SCHEME = "spiffe://"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST = 63
_ADVICE = {
    "site": "give another, which need not be that of site.yaml",
    "device": "name the device otherwise in site.yaml, and so its agent by --name",
    "deployer": "give another",
    "client": "give another",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One holder of a certificate.

    Parameters
    ----------
    site
        The site's trust domain: whose authority signed it.
    role
        What it may do.
    name
        Its own name; a device's is that of the site's device.

    Raises
    ------
    BadCredentials
        If a name cannot stand in a certificate.
    """

    site: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.role not in ROLES:
            raise BadCredentials(f"role {self.role!r} is unknown; one of {', '.join(ROLES)}")
        require_identity_name("site", self.site)
        require_identity_name(self.role, self.name)

    def __str__(self) -> str:
        """Write it as a SPIFFE identity."""
        return f"{_SCHEME}{self.site}/{self.role}/{self.name}"

    @property
    def host(self) -> str:
        """The DNS name in a device's certificate by which callers know that they have reached this very device."""
        return f"{self.name}.{self.role}.{self.site}"


def require_identity_name(what: Role | Literal["site"], name: str) -> None:
    """Refuse a name that cannot stand in a certificate.

    Raises
    ------
    BadCredentials
        If it is not of lower-case letters, digits and ``- _ .``: names of hosts are compared without regard to case.
    """
    if not _allowed(name):
        raise BadCredentials(
            f"{what} {name[:80]!r} cannot be named in a certificate: names have up to {_LONGEST} lower-case letters, "
            f"digits, '-', '_' and single dots, and begin and end with none of '-' and '.'; {_ADVICE[what]}"
            + (f", such as {name.lower()!r}" if _allowed(name.lower()) else "")
        )


def _allowed(name: str) -> bool:
    return len(name) <= _LONGEST and _NAME.fullmatch(name) is not None


@functools.lru_cache(maxsize=1024)
def parse_identity(text: str) -> Identity:
    """Read a SPIFFE identity.

    Raises
    ------
    BadCredentials
        If it is none of this product's.
    """
    site, *path = text.removeprefix(_SCHEME).split("/")
    if not text.startswith(_SCHEME) or len(path) != 2 or path[0] not in ROLES:
        raise BadCredentials(f"{text[:200]!r} is no identity of a site: spiffe://SITE/ROLE/NAME with a role of "
                             f"{', '.join(ROLES)}")  # fmt: skip
    role: Role = path[0]
    return Identity(site=site, role=role, name=path[1])
