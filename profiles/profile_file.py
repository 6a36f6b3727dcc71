"""Profiles of a site's own as files beside it: written by what measures, read where a site names one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from profiles.decode import decode
from profiles.device import DeviceProfile
from profiles.errors import ProfileError
from profiles.link import LinkProfile
from profiles.strict_yaml import dump_yaml, read_yaml

if TYPE_CHECKING:
    from profiles.place import Place

P = TypeVar("P", DeviceProfile, LinkProfile)


def read_profile(path: Path, kind: type[P]) -> P:
    """Read one device or link profile in the catalog's form; its figures name their sources in words.

    Raises
    ------
    ProfileError
        Naming the file, the field, the value found there and what is allowed.
    """
    return decode(read_yaml(path, ProfileError), kind, str(path), ProfileError)


def own_file(profile: str, place: Place) -> Path | None:
    """Find the file beside the site that a profile's name stands for; None for one of the catalog."""
    return Path(place.file).parent / profile if profile.endswith((".yaml", ".yml")) else None


def encode_profile(profile: DeviceProfile | LinkProfile) -> bytes:
    """Encode a profile as YAML that `read_profile` reads back.

    What is not known is left out, and numbers have six digits, whole ones all of theirs: nothing is measured closer.
    """
    return dump_yaml(_known(msgspec.to_builtins(profile))).encode()


def _known(value: object) -> object:
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items() if inner is not None and inner != ""}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    if isinstance(value, float) and not value.is_integer():
        return float(f"{value:.6g}")
    return value
