"""The version of the installed distribution, as agents and their spans tell it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def software_version() -> str:
    """Version of the installed distribution; ``"unknown"`` in a bare checkout."""
    try:
        return version("placer-joules")
    except PackageNotFoundError:
        return "unknown"
