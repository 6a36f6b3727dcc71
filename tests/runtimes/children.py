"""The processes that an agent has started for its segments."""

from __future__ import annotations

from pathlib import Path


def children(process_id: int) -> dict[str, int]:
    """The processes of an agent's segments, by the segments' names."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(") ")[2].split()
            name = status.with_name("cmdline").read_text().rstrip("\0").rpartition("\0")[2]
        except OSError:
            continue
        if int(fields[1]) == process_id and fields[0] != "Z":
            found[name] = int(status.parent.name)
    return found
