"""Reads the small files in which Linux shows sensors, with errors that say what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.errors import MeterError

if TYPE_CHECKING:
    from pathlib import Path


def read_text(file: Path) -> str:
    """Read one file's line.

    Raises
    ------
    MeterError
        If it may not or cannot be read.
    """
    try:
        return file.read_text(encoding="ascii").strip()
    except PermissionError:
        raise MeterError(
            f"{file} may not be read; run as root, or let a udev rule give your group the right to read it"
        ) from None
    except (OSError, UnicodeDecodeError) as reason:
        raise MeterError(f"{file} cannot be read: {reason}") from None


def read_number(file: Path, unit: str) -> int:
    """Read one file's whole number, which may be negative.

    Parameters
    ----------
    file
        The file.
    unit
        What it counts, for the message.

    Raises
    ------
    MeterError
        If it cannot be read or holds no whole number.
    """
    text = read_text(file)
    try:
        return int(text)
    except ValueError:
        raise MeterError(f"{file} holds {text[:40]!r} where a number of {unit} was expected") from None
