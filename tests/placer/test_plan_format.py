"""docs/plan-format.md names every field of a plan, and docs/cli.md every command, option and exit code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import typer.main

from placer import plan as plan_module
from placer.__main__ import EXIT_CODES
from placer.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
STRUCTS = [
    value
    for value in vars(plan_module).values()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__struct_fields__
    if value.__module__ == plan_module.__name__
]


def section(page: str, title: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"^##+ {re.escape(title)}\b.*?(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no section {title!r}"
    return found.group()


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_of_a_plan_is_documented_in_its_section(struct):
    rows = [line for line in section("plan-format.md", struct.__name__).splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(documented) == sorted(struct.__struct_fields__)


def test_all_structs_of_a_plan_were_found():
    assert {s.__name__ for s in STRUCTS} == {
        "Plan", "FlowPlan", "Segment", "Transfer", "Ledger", "LedgerLine", "Baseline", "Model", "Fallback",
        "Unserved",
    }  # fmt: skip


def commands(group=None, prefix="placer"):
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_documented(name, command):
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert f"`{name}" in text
    for parameter in command.params:
        for option in (o for o in parameter.opts if o.startswith("--") and o != "--help"):
            assert option in text, option


def test_every_exit_code_is_documented():
    rows = section("cli.md", "Exit codes")
    for code in EXIT_CODES.values():
        assert re.search(rf"^\| .*\b{code}\b.* \|", rows, re.MULTILINE), code
