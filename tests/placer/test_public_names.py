"""What `import placer` offers: every name is what it says, whatever was imported before it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

import placer


def test_every_public_name_is_there_and_no_module():
    assert sorted(placer.__all__) == list(placer.__all__)
    for name in placer.__all__:
        assert not isinstance(getattr(placer, name), ModuleType), name


def test_no_module_takes_the_place_of_a_function():
    # Importing `placer.solve` would put a module of that name where the function was.
    for name in placer.__all__:
        assert find_spec(f"placer.{name}") is None, name


def test_importing_the_package_loads_no_library():
    script = """
import sys, placer
heavy = {"ortools", "onnx", "networkx", "grpc", "numpy", "onnxruntime"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'placer' has no attribute 'sovle'"):
        placer.sovle  # noqa: B018


def test_dir_lists_the_public_names_before_anybody_has_used_them():
    script = "import placer; missing = set(placer.__all__) - set(dir(placer)); assert not missing, missing"
    subprocess.run([sys.executable, "-c", script], check=True)
