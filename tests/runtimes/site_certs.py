"""A site's certificates for the tests, made as `placer certs` makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from placer.certs import issue, make_authority
from runtimes.client import AgentClient
from runtimes.tls import CredentialFiles, Credentials
from tests.runtimes.plans import sample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from runtimes.identity import Role
    from runtimes.local import LocalAgents

SITE = "plant"
DEVICES = ("camera", "box", "cloud")


class SiteCerts:
    """An authority in a folder and whom it has signed for."""

    def __init__(self, folder: Path, site: str = SITE) -> None:
        self.folder = folder
        make_authority(folder, site, days=100)

    def files(self, role: Role, name: str, *, valid_for_s: float = 3600, made_ago_s: float = 0):
        """Issue a certificate; one that was made long ago for a short time has expired."""
        now = datetime.now(UTC) - timedelta(seconds=made_ago_s)
        issue(self.folder, role, name, days=valid_for_s / 86400, force=True, now=now, addresses=["127.0.0.1"]
              if role == "device" else [])  # fmt: skip
        path = self.folder / role / f"{name}.pem"
        return CredentialFiles(authority=self.folder / "authority.pem", certificate=path, key=path.with_suffix(".key"))

    def credentials(self, role: Role, name: str) -> Credentials:
        return Credentials(self.files(role, name))


def ask(agents: LocalAgents, credentials: Credentials) -> np.ndarray:
    """Run the branching plan from the camera to the cloud, and fetch its result there."""
    with AgentClient(agents.addresses["camera"], credentials=credentials, device="camera") as source:
        reply = source.infer("flow", sample(), deadline_s=10)
    with AgentClient(agents.addresses["cloud"], credentials=credentials, device="cloud") as sink:
        return sink.fetch(reply.request_id, "flow")["y"]
