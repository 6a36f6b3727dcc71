"""What a segment's process may touch beside its tensors: code to read, and nothing else (Landlock, Linux 5.13 on).

An executor parses foreign files in C++. Whoever breaks out of it finds neither the agent's key nor the store, can write
no file and start no program; from Linux 6.7 on he can open no TCP connection, from 6.12 on send no signal to the agent.
"""

from __future__ import annotations

import ctypes
import os
import sys

from runtimes.errors import AgentError

# Numbers of the system calls, the same on every architecture, and of landlock.h and prctl.h.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
# Every right to files that each version knows: the first has 13, later ones add renaming, truncating, device control.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_FILE_RIGHTS_FROM_5 = (1 << 16) - 1
_TCP_RIGHTS, _TCP_FROM = 0b11, 4
# Sockets without a file, and signals, to processes outside.
_SCOPES, _SCOPES_FROM = 0b11, 6
# What libraries look up when they are loaded or choose their kernels by the processor.
_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/self", "/proc/sys/vm", "/dev/urandom",
)  # fmt: skip


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("directory", ctypes.c_int32))


def landlock_version() -> int:
    """Version of the kernel's Landlock; 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    version: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, version)


def confine() -> None:
    """Confine this process for good, where the kernel can; threads that run already are not.

    Raises
    ------
    AgentError
        If the kernel can and does not.
    """
    version = landlock_version()
    if version == 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    files = _FILE_RIGHTS.get(version, _FILE_RIGHTS_FROM_5)
    rules = _Ruleset(files, _TCP_RIGHTS if version >= _TCP_FROM else 0, _SCOPES if version >= _SCOPES_FROM else 0)
    # A kernel knows as much of the structure as its version: less of it where the rest is zero would do as well.
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), _known_bytes(version), 0))
    try:
        for path in _readable():
            _allow(libc, ruleset, path, _READ_FILE | _READ_DIR)
        _allow(libc, ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _known_bytes(version: int) -> int:
    if version >= _SCOPES_FROM:
        return ctypes.sizeof(_Ruleset)
    return _Ruleset.scopes.offset if version >= _TCP_FROM else _Ruleset.tcp.offset


def _readable() -> list[str]:
    """Give the interpreter's and the packages' directories, and the system's libraries."""
    return [path for path in dict.fromkeys((sys.prefix, sys.base_prefix, *sys.path, *_SYSTEM)) if os.path.exists(path)]


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # Of a file no rights to directories can be given.
        allowed = rights if os.path.isdir(path) else rights & ~_READ_DIR
        rule = _PathBeneath(allowed, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        raise AgentError(f"the segment's process cannot be confined: {os.strerror(ctypes.get_errno())}")
    return result
