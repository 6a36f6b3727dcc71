"""How a module of this product is run in a Python process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python_module(module: str) -> tuple[list[str], dict[str, str]]:
    """Give the beginning of a command line, and the environment, that run a module.

    It is this very package, from wherever it was imported, and nothing of the working directory.
    """
    ours = str(Path(__file__).resolve().parent.parent)
    path = [ours, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # Once each: agents start processes, and are started, by this.
    return [sys.executable, "-P", "-m", module], {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
