"""Where in a file a value stands, so that every refusal can say it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import ProfileError, SiteError, choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a site file.

    Parameters
    ----------
    file
        The file's name.
    path
        The field, such as ``devices[1].profile``; empty for the whole file.
    """

    file: str
    path: str = ""

    def at(self, step: str) -> Place:
        """Return the place of a field below this one."""
        return Place(file=self.file, path=f"{self.path}.{step}" if self.path else step)

    def error(self, problem: str) -> SiteError:
        """Return the error to raise for this place."""
        return SiteError(f"{self.file}: {self.path}: {problem}" if self.path else f"{self.file}: {problem}")

    def known(self, what: str, name: str, names: Iterable[str]) -> None:
        """Refuse a name that does not exist.

        Raises
        ------
        SiteError
            With the closest name and the list of those that exist.
        """
        allowed = list(names)
        if name not in allowed:
            raise self.error(f"{name!r} is no {what}; {choices(name, allowed)}")

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Give errors that are raised inside the file and the path of this place."""
        try:
            yield
        except SiteError:
            raise  # it already says where
        except ProfileError as reason:
            raise self.error(str(reason)) from None
