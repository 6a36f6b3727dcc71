"""Keep the C library from giving large tensors' memory back to the system between two requests.

With glibc's defaults every tensor above 128 kB is mapped and unmapped, and page faults are most of the time
of a large request: these settings are worth a factor of three at 8 MB (measured, docs/runtime.md).
"""

from __future__ import annotations

import ctypes
import os

# Names and numbers of glibc's malloc.h.
_SETTINGS = (
    (-1, 128 << 20),  # M_TRIM_THRESHOLD
    (-2, 16 << 20),  # M_TOP_PAD
    (-3, 64 << 20),  # M_MMAP_THRESHOLD
    (-8, 2),  # M_ARENA_MAX
)


def keep_large_blocks() -> bool:
    """Set it for this process; says whether the C library is glibc, which alone knows these settings."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return False
    if not glibc:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(setting, value) == 1 for setting, value in _SETTINGS)
