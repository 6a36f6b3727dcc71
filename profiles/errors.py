"""What the profiles package refuses, as exceptions whose messages say what, where, which value and what to do.

ProfileError (a ValueError)     a value that no device, link or site can have
|-- SiteError                   a site file: missing, not YAML, or a field that does not hold
|-- CatalogError                a file of the catalog, or an id that the catalog does not know
`-- MeterError                  an energy meter that is not there, not readable, or used out of order
    `-- UnknownMeterError       a name that is no meter's, on whatever machine
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProfileError(ValueError):
    """A value that no device, link or site can have."""


class SiteError(ProfileError):
    """A site file that cannot be read or does not hold together."""


class CatalogError(ProfileError):
    """A catalog file that does not hold, or an id that the catalog does not know."""


class MeterError(ProfileError):
    """An energy meter that is not there, not readable, or used out of order."""


class UnknownMeterError(MeterError):
    """A name that is no meter's, on whatever machine."""


def choices(value: str, known: Iterable[str], *, limit: int = 12) -> str:
    """Say what is allowed in place of a name that is unknown.

    Parameters
    ----------
    value
        The name as it was written.
    known
        The names that exist.
    limit
        At most this many of them are listed.

    Returns
    -------
    str
        ``did you mean 'x'? known: x, y`` with the first part only where a name is close.
    """
    names = list(dict.fromkeys(known))
    if not names:
        return "none are known here"
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{hint}known: {', '.join(names[:limit])}{more}"


def not_in_catalog(kind: str, value: str, known: Iterable[str]) -> CatalogError:
    """Make the error to raise for an id that the catalog does not know: its entries are too many to list here."""
    near = choices(value, known, limit=3)
    return CatalogError(f"{value!r} is no {kind} of the catalog; {near}; `placer catalog list` shows all")
