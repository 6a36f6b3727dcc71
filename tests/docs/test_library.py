"""The library's page has every public name, with the signature and the attributes that it has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import placer
import profiles

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
# Name, arguments where it is a function, and what the row says of it.
ROWS = re.findall(r"^\| `(\w+)(\(.*?\))?` \| (.*) \|$", PAGE, flags=re.M)


def _bare(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def test_every_public_name_has_one_row() -> None:
    assert sorted(name for name, _, _ in ROWS) == placer.__all__


@pytest.mark.parametrize(("name", "arguments", "row"), ROWS, ids=[name for name, _, _ in ROWS])
def test_a_row_says_what_there_is(name: str, arguments: str, row: str) -> None:
    offered = getattr(placer, name)
    if not inspect.isclass(offered):
        assert arguments == _bare(offered)
        *_, raises = row.split("|")
        named = set(re.findall(r"`(\w+)`", raises))
        documented = (inspect.getdoc(offered) or "").partition("Raises\n------\n")[2]
        assert named >= set(re.findall(r"(?:^|[ .])(\w+Error|Infeasible|NoPlanFound)(?=,|$)", documented, flags=re.M))
        for error in named:
            assert issubclass(getattr(placer, error, None) or getattr(profiles, error), Exception), error
    elif not issubclass(offered, Exception):
        *_, attributes = row.split("|")
        public = {n + "()" * inspect.isfunction(getattr(offered, n)) for n in dir(offered) if not n.startswith("_")}
        assert set(re.findall(r"`(.+?)`", attributes)) == public
