"""A number together with where it comes from, because a plan is only as good as its figures."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import msgspec

from profiles.errors import ProfileError

Origin: TypeAlias = Literal["measured", "fitted", "spec", "declared"]
"""From the strongest to the weakest."""


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of a profile, in the SI unit which the field's name carries.

    Parameters
    ----------
    value
        Finite and not negative.
    source
        Ids of the catalog's sources, joined by ``", "``, or the site file that declares it.
    origin
        ``measured`` on the thing itself, ``fitted`` to measurements, ``spec`` of its maker, or
        ``declared`` by a site.
    relative_uncertainty
        Expected relative error of a value taken from this figure, where it is known.
    year
        Year in which the figure was published.
    note
        What has to be known to read the figure right.

    Raises
    ------
    ProfileError
        If the value is not finite or is negative, or the source is empty.
    """

    value: float
    source: str
    origin: Origin
    relative_uncertainty: float | None = None
    year: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value < 0:
            raise ProfileError(f"{self.value!r} is no figure: give a finite number that is not negative")
        if not self.source.strip():
            raise ProfileError("a figure needs a source")
        if self.relative_uncertainty is not None and not 0 <= self.relative_uncertainty < math.inf:
            raise ProfileError(
                f"relative_uncertainty {self.relative_uncertainty!r}: give a finite number that is not negative"
            )


def weakest(*origins: Origin) -> Origin:
    """Return the origin of what was computed from figures of these: the weakest, declared before measured."""
    return max(origins, key=get_args(Origin).index)


def require_positive(name: str, value: float) -> None:
    """Refuse a quantity that must be finite and larger than zero.

    Raises
    ------
    ProfileError
        Naming the quantity and its value.
    """
    if not math.isfinite(value) or value <= 0:
        raise ProfileError(f"{name} is {value!r}: give a finite number larger than zero")


def require_not_negative(name: str, value: float) -> None:
    """Refuse a quantity that must be finite and at least zero.

    Raises
    ------
    ProfileError
        Naming the quantity and its value.
    """
    if not math.isfinite(value) or value < 0:
        raise ProfileError(f"{name} is {value!r}: give a finite number that is not negative")


def require_fraction(name: str, value: float) -> None:
    """Refuse a share that is not in (0, 1].

    Raises
    ------
    ProfileError
        Naming the share and its value.
    """
    if not 0 < value <= 1:
        raise ProfileError(f"{name} is {value!r}: give a number larger than 0 and at most 1")


def require_name(what: str, name: str) -> None:
    """Refuse a name that is empty or is padded with white space.

    Raises
    ------
    ProfileError
        Naming the thing which has that name.
    """
    if not name or name != name.strip():
        raise ProfileError(f"{name!r} is no name of a {what}: give text without blanks around it")
