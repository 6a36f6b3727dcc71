"""Namespaces in which a process may build a network of its own: with root's rights or, where the kernel lets, without.

Whatever is made inside ends with the first process there, and that one with its starter: the kernel tears down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from placer.errors import DeployError

PRIVATE_FOLDER = "/dev/shm"
"""Holds a file system of the emulation's own, in memory, which goes with it."""

_TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "mount": "util-linux", "ip": "iproute2"}
_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_OWN_USER = ("--user", "--map-root-user")
_TRIAL = f"mount -t tmpfs placer {PRIVATE_FOLDER} && ip link add w0 type veth peer name w1"
_TRIAL_S = 20.0


def isolating_command() -> tuple[str, ...]:
    """Find the command that runs another in namespaces of its own.

    Returns
    -------
    tuple of str
        What to put before a command.

    Raises
    ------
    DeployError
        This is no Linux, a tool is missing, or the kernel permits no namespaces; the message says what to do.
    """
    if sys.platform != "linux":
        raise DeployError(f"emulating a site needs Linux with network namespaces; this is {sys.platform}")
    if missing := sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None}):
        raise DeployError(f"emulating a site needs the tools of {' and '.join(missing)}; install these packages")
    as_anybody = (*_NAMESPACES, *_OWN_USER)
    said = ""
    for command in ([_NAMESPACES] if os.geteuid() == 0 else []) + [as_anybody]:
        try:
            tried = subprocess.run(
                [*command, "sh", "-c", _TRIAL], capture_output=True, text=True, timeout=_TRIAL_S, check=False
            )
        except subprocess.TimeoutExpired:
            said = f"no answer within {_TRIAL_S:g} s"
            continue
        if tried.returncode == 0:
            return command
        said = tried.stderr.strip()
    raise DeployError(
        f"this machine permits no network namespaces: {said or 'no reason was given'}; run as root, allow user "
        "namespaces (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), or give "
        "the container CAP_SYS_ADMIN and CAP_NET_ADMIN"
    )
