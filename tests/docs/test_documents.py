"""What the documents show is what the product does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from placer.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.fixture
def beside_a_site(tmp_path: Path) -> Path:
    """A folder with the demo's site.yaml and model, where documents' code is run."""
    for name in ("site.yaml", "orientation.onnx"):
        shutil.copy(ROOT / "placer" / "demo_data" / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("document", "block"),
    [pytest.param(d, b, id=f"{d.name}-{i}") for d in DOCUMENTS for i, b in enumerate(_blocks(d, "python"))],
)
def test_python_blocks_run(document: Path, block: str, beside_a_site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=beside_a_site,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{document.name}:\n{block}\n{done.stderr}"


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_readme_shows_the_demos_real_plan() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "placer", "plan", str(ROOT / "placer" / "demo_data" / "site.yaml")],
        cwd=ROOT,
        # As wide as where nobody says how wide.
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    printed = {line.rstrip() for line in done.stdout.splitlines()}
    shown = _blocks(ROOT / "README.md", "text")[0].splitlines()
    # The line on privacy is the demo's own; it plans a second time for it.
    missing = [line for line in shown if line not in printed and not line.startswith("Without the privacy rules:")]
    assert not missing, missing
    assert len(shown) > 20


def test_the_readmes_own_site_names_every_command_and_the_certificates_that_are_made(tmp_path: Path) -> None:
    first, own = _blocks(ROOT / "README.md", "bash")[0], _blocks(ROOT / "README.md", "bash")[2]
    # `placer` is found where the commands before have installed it.
    assert ".venv/bin/placer" in first
    assert own.startswith("source .venv/bin/activate ")
    named = {words.split()[1] for words in own.splitlines() if words.startswith("placer ")}
    commands = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert commands - named == {"demo", "solve", "rollback"}
    for line in own.splitlines():
        if line.startswith("placer certs "):
            words = line.partition("#")[0].split()[1:]
            subprocess.run([sys.executable, "-m", "placer", *words], cwd=tmp_path, capture_output=True, check=True)
    paths = set(re.findall(r"certs/[a-z./]+", own))
    assert len(paths) == 5
    assert all((tmp_path / path).is_file() for path in paths), paths


def test_the_continuous_check_runs_the_readmes_command() -> None:
    def command(name: str) -> str:
        return subprocess.run(
            [ROOT / ".ci" / "readme-command", name], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert command("tests").endswith("&& .venv/bin/pytest")
    assert command("demo").endswith("&& .venv/bin/placer demo")


def test_every_option_of_an_agent_is_in_a_document() -> None:
    done = subprocess.run([sys.executable, "-m", "runtimes", "--help"], capture_output=True, text=True, check=True)
    texts = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    options = set(re.findall(r"--[a-z-]+", done.stdout.partition("options:")[2]))
    assert len(options) > 15
    assert {option for option in options if not re.search(rf"{option}(?![a-z-])", texts)} == set()
