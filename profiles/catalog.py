"""The catalog: sourced profiles of devices, links, networks and grids, shipped with the package."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from profiles.decode import decode
from profiles.device import DeviceProfile
from profiles.errors import CatalogError, ProfileError, choices, not_in_catalog
from profiles.figure import Figure
from profiles.link import LinkProfile
from profiles.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

T = TypeVar("T")

_HOURS = 24


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document or data set that figures were read in.

    Parameters
    ----------
    title, author, year
        What it is.
    where
        How to find it again.
    licence
        Its licence, as far as it matters for what is quoted.
    """

    title: str
    author: str
    year: int | None = None
    where: str
    licence: str = ""


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One accounting of the energy of the network between two ends.

    Parameters
    ----------
    id, name
        Key in the catalog and what is counted.
    kind
        ``average``: all joules of a network over all its bytes, which attributes standing power to
        bytes that do not cause it; ``marginal``: what one more byte adds.
    j_per_byte
        Joules per byte.
    """

    id: str
    name: str
    kind: str
    j_per_byte: Figure


class Facility(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The power usage effectiveness of a kind of data centre."""

    id: str
    name: str
    pue: Figure


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The average carbon intensity of a region's grid, in grams of CO2e per joule.

    Parameters
    ----------
    id, name
        Key in the catalog, and which grid and year.
    g_per_j
        Mean over the year.
    hourly_g_per_j
        Mean over the year of each hour of the day, from 0 to 23; empty where no source has it.

    Raises
    ------
    ProfileError
        If there are some hours, but not 24.
    """

    id: str
    name: str
    g_per_j: Figure
    hourly_g_per_j: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hourly_g_per_j) not in (0, _HOURS):
            raise ProfileError(f"hourly_g_per_j has {len(self.hourly_g_per_j)} figures: give one for each hour, 24")


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies behind the plug: facilities and grids."""

    facilities: tuple[Facility, ...]
    regions: tuple[Region, ...]


Entry: TypeAlias = DeviceProfile | LinkProfile | Network | Facility | Region
"""What the catalog knows by an id."""


class Catalog:
    """Profiles by id, each read and checked when it is first asked for.

    Parameters
    ----------
    root
        The folder with ``devices/``, ``links/``, ``sources.yaml``, ``networks.yaml`` and ``grid.yaml``.
    """

    def __init__(self, root: Traversable) -> None:
        self._root = root
        self._devices: dict[str, DeviceProfile] = {}
        self._links: dict[str, LinkProfile] = {}

    @staticmethod
    @functools.cache
    def load() -> Catalog:
        """Return the catalog that is shipped with the package."""
        return Catalog(resources.files("profiles").joinpath("catalog"))

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """Every source by its id."""
        return self._read(self._root.joinpath("sources.yaml"), dict[str, Source])

    @functools.cached_property
    def networks(self) -> tuple[Network, ...]:
        """Every accounting of a network's energy."""
        return self._sourced(self._root.joinpath("networks.yaml"), tuple[Network, ...])

    @functools.cached_property
    def grid(self) -> Grid:
        """Facilities and grids."""
        return self._sourced(self._root.joinpath("grid.yaml"), Grid)

    def device(self, name: str) -> DeviceProfile:
        """Return the device profile of that id.

        Raises
        ------
        CatalogError
            If there is none, or its file does not hold.
        """
        if name not in self._devices:
            profile = self._sourced(self._file("devices", name), DeviceProfile)
            self._devices[name] = self._named(profile, profile.id, name)
        return self._devices[name]

    def link(self, name: str) -> LinkProfile:
        """Return the link profile of that id.

        Raises
        ------
        CatalogError
            If there is none, or its file does not hold.
        """
        if name not in self._links:
            profile = self._sourced(self._file("links", name), LinkProfile)
            self._links[name] = self._named(profile, profile.id, name)
        return self._links[name]

    def network(self, name: str) -> Network:
        """Return the network accounting of that id.

        Raises
        ------
        CatalogError
            If there is none.
        """
        for network in self.networks:
            if network.id == name:
                return network
        raise not_in_catalog("network", name, (network.id for network in self.networks))

    def devices(self) -> tuple[DeviceProfile, ...]:
        """Return every device profile, sorted by id."""
        return tuple(self.device(name) for name in self._ids("devices"))

    def links(self) -> tuple[LinkProfile, ...]:
        """Return every link profile, sorted by id."""
        return tuple(self.link(name) for name in self._ids("links"))

    def search(self, text: str) -> tuple[Entry, ...]:
        """Return the entries, of all kinds, in whose id, name or note every word of a text occurs.

        Parameters
        ----------
        text
            Words, in any order and case; an empty text finds everything.
        """
        words = text.lower().split()
        entries: tuple[Entry, ...] = (
            *self.devices(),
            *self.links(),
            *self.networks,
            *self.grid.facilities,
            *self.grid.regions,
        )
        return tuple(entry for entry in entries if all(word in _text(entry) for word in words))

    def _ids(self, folder: str) -> list[str]:
        return sorted(
            entry.name.removesuffix(".yaml")
            for entry in self._root.joinpath(folder).iterdir()
            if entry.name.endswith(".yaml")
        )

    def _file(self, folder: str, name: str) -> Traversable:
        known = self._ids(folder)
        if name not in known:
            raise not_in_catalog(f"{folder[:-1]} profile", name, known)
        return self._root.joinpath(folder, f"{name}.yaml")

    def _named(self, profile: T, found: str, name: str) -> T:
        if found != name:
            raise CatalogError(f"{name}.yaml: id: {found!r} is not the file's name {name!r}")
        return profile

    def _sourced(self, file: Traversable, kind: type[T]) -> T:
        value = self._read(file, kind)
        for path, figure in _figures(value, ""):
            for source in figure.source.split(", "):
                if source not in self.sources:
                    raise CatalogError(
                        f"{file.name}: {path}.source: {source!r} is no source; {choices(source, self.sources)}"
                    )
            if figure.origin == "declared":
                raise CatalogError(
                    f"{file.name}: {path}.origin: the catalog holds no declared figures; write measured, fitted or spec"
                )
        return value

    def _read(self, file: Traversable, kind: type[T]) -> T:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as reason:
            raise CatalogError(f"{file}: cannot be read: {reason.strerror}") from None
        return decode(parse_yaml(text, file.name, CatalogError), kind, file.name, CatalogError)


def _text(entry: Entry) -> str:
    match entry:
        case Region():
            note = f"grid {entry.g_per_j.note}"
        case Network():
            note = f"network {entry.kind} {entry.j_per_byte.note}"
        case Facility():
            note = f"facility {entry.pue.note}"
        case _:
            note = entry.note
    return f"{entry.id} {entry.name} {note}".lower()


def _figures(value: object, path: str) -> Iterator[tuple[str, Figure]]:
    """Walk through a value and yield every figure in it with its path."""
    if isinstance(value, Figure):
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _figures(item, f"{path}[{index}]")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _figures(getattr(value, name), f"{path}.{name}" if path else name)
