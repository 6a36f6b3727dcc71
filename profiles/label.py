"""Privacy: ordered labels on data, zones that may see them, and the rules that bind them."""

from __future__ import annotations

import msgspec

from profiles.errors import ProfileError, choices
from profiles.figure import Figure, require_name


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sensitive data can be: names in order, least sensitive first.

    Parameters
    ----------
    names
        At least one, all different.

    Raises
    ------
    ProfileError
        If there is no name, or one stands twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ProfileError("labels is empty: name at least one, least sensitive first")
        for name in self.names:
            require_name("label", name)
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ProfileError(f"label {twice!r} stands twice: labels are ordered, so each has one place")

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def rank(self, name: str) -> int:
        """Return the place of a label in the order: 0 is the least sensitive.

        Raises
        ------
        ProfileError
            If there is no such label.
        """
        if name not in self.names:
            raise ProfileError(f"{name!r} is no label; {choices(name, self.names)}")
        return self.names.index(name)

    def at_least(self, name: str, floor: str) -> bool:
        """Say whether a label is as sensitive as `floor` or more so."""
        return self.rank(name) >= self.rank(floor)

    def highest(self, names: tuple[str, ...]) -> str:
        """Return the most sensitive of some labels, the least sensitive of all if there are none."""
        return max(names, key=self.rank, default=self.names[0])


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trust domain of devices.

    Parameters
    ----------
    name
        Unique in its site.
    sees
        The most sensitive label that its devices may hold.
    region
        Where it stands, in the words of the site's region rules.
    carbon_g_per_j, cost_per_j
        What a joule counts there: grams of CO2e, and money. None where nobody said; a plan that counts them needs them.
    """

    name: str
    sees: str
    region: str
    carbon_g_per_j: Figure | None = None
    cost_per_j: Figure | None = None

    def __post_init__(self) -> None:
        require_name("zone", self.name)
        require_name("region", self.region)


class RegionRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data at or above a label may be held only by devices of zones in some regions.

    Parameters
    ----------
    name
        What a refusal quotes.
    label
        The least sensitive label that the rule binds.
    regions
        Where such data may be, at least one.
    """

    name: str
    label: str
    regions: tuple[str, ...]

    def __post_init__(self) -> None:
        require_name("rule", self.name)
        if not self.regions:
            raise ProfileError(f"rule {self.name!r} has no regions: name those in which the data may be")


class Declassify(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor of a raw model counts as less sensitive than what it was made of.

    Only that tensor is lowered: a skip connection around it stays as sensitive as it was.

    Parameters
    ----------
    name
        What a plan quotes when it relies on the rule.
    tensor
        Name of the tensor in the raw model.
    to
        The label it gets.
    """

    name: str
    tensor: str
    to: str

    def __post_init__(self) -> None:
        require_name("declassification", self.name)
        require_name("tensor", self.tensor)
