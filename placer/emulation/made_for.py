"""Refuses a plan whose problem is not the one that the given site makes: what is emulated is the plan's."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, Any

import msgspec

from placer.errors import ProblemError
from placer.planning import build_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from placer.plan import Plan
    from profiles import Site

_SHOWN = 3
_KEYS = (("name",), ("from", "to"), ("device", "mode"))
_ROUNDING = 1e-9


def check_made_for(site: Site, plan: Plan, path: Path, progress: Callable[[str], None] | None = None) -> None:
    """Build the site's problem, without measuring, and compare it with the plan's.

    Parameters
    ----------
    site
        The site that the plan is said to be of.
    plan
        The plan.
    path
        Where the site was read, for messages.
    progress
        Called with a line of text before each longer step.

    Raises
    ------
    ProblemError
        The two differ, in what, and what to do; or the site's models cannot be read.

    Notes
    -----
    Seconds that ``costs: measured`` measures are others each time: those of such devices' ops are not compared.
    """
    measured = {device.name for device in site.devices if device.costs == "measured"}
    devices = tuple(msgspec.structs.replace(device, costs="profile") for device in site.devices)
    built, _ = build_site(msgspec.structs.replace(site, devices=devices), progress=progress)
    found = list(_differences("", _plain(plan.problem, measured), _plain(built.problem, measured)))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ProblemError(
            f"{path}: the plan was not made for this site as it now is: {'; '.join(found[:_SHOWN])}{more}; give the "
            f"plan's own site, or run `placer plan {path}` again"
        )


def _plain(value: Any, measured: set[str]) -> Any:
    """Write a problem or a part of it in plain values, what has a name by its name."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        own = value.get("mode") is not None and value.get("device") in measured
        return {k: _plain(v, measured) for k, v in value.items() if not (own and k in ("seconds", "joules"))}
    if isinstance(value, (list, tuple)):
        for keys in _KEYS:
            if value and all(isinstance(v, dict) and all(k in v for k in keys) for v in value):
                return {"->".join(v[k] for k in keys): _plain(v, measured) for v in value}
        return sorted(value, key=repr)
    return value


def _differences(where: str, planned: Any, given: Any) -> Iterator[str]:
    if isinstance(planned, dict) and isinstance(given, dict):
        for key in planned | given:
            inside = f"{where} {key}".strip()
            if key not in given:
                yield f"{inside} is in the plan only"
            elif key not in planned:
                yield f"{inside} is in the site only"
            else:
                yield from _differences(inside, planned[key], given[key])
    elif not _same(planned, given):
        yield f"{where} is {_words(planned)} in the plan and {_words(given)} in the site"


def _same(planned: Any, given: Any) -> bool:
    if isinstance(planned, float) and isinstance(given, float):
        return isclose(planned, given, rel_tol=_ROUNDING)
    return bool(planned == given)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(value)
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
