"""Files as inputs and outputs of a flow."""

from __future__ import annotations

import io

import numpy as np
import pytest

from placer.deployment.feeds import encode_outputs, read_feeds
from placer.errors import ProblemError
from runtimes.specs import TensorSpec

A = TensorSpec(name="a", port="a", dtype="FP32", shape=(2,))
B = TensorSpec(name="b", port="b", dtype="INT64", shape=(1, 3))
VALUES = {"a": np.array([1, 2], np.float32), "b": np.array([[4, 5, 6]])}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in VALUES.items():
        np.save(f"{name}.npy", value)
    np.savez("both.npz", **VALUES)
    np.save("a=1.npy", VALUES["a"])
    return tmp_path


def equal(found, names="ab"):
    assert sorted(found) == list(names)
    for name in names:
        np.testing.assert_array_equal(found[name], VALUES[name])


@pytest.mark.parametrize(
    "items", [["a=a.npy", "b=b.npy"], ["both.npz"], ["a=a=1.npy", "b=b.npy"]], ids=["named", "npz", "equals sign"]
)
def test_several_inputs_go_by_their_names(folder, items):
    equal(read_feeds(items, [A, B]))


@pytest.mark.parametrize("item", ["a.npy", "a=a.npy"])
def test_the_only_input_needs_no_name(folder, item):
    equal(read_feeds([item], [A]), "a")


def test_a_file_whose_name_looks_like_an_input_is_found(folder):
    np.save("c=1.npy", VALUES["a"])
    equal(read_feeds(["c=1.npy"], [A]), "a")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["a.npy"], "the flow has several inputs; give NAME=FILE"),
        (["a=a.npy"], r"takes \['a', 'b'\], the files give \['a'\]"),
        (["a=a.npy", "a=a.npy"], "a was given before"),
        (["c=a.npy"], "has no input 'c'"),
        (["a=b.npy", "b=b.npy"], r"'a' is of type int64 \(INT64\), the flow takes FP32"),
        (["a=wide.npy", "b=b.npy"], r"'a' has shape \[3\], the flow takes \[2\]"),
        (["a=text.npy", "b=b.npy"], "not a .npy or .npz file of numbers"),
        (["a=broken.npz", "b=b.npy"], "not a .npy or .npz file of numbers"),
        (["a=empty.npy", "b=b.npy"], "not a .npy or .npz file of numbers"),
        (["a=objects.npy", "b=b.npy"], "not a .npy or .npz file of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(folder, items, words):
    np.save("wide.npy", np.ones(3, np.float32))
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    (folder / "text.npy").write_text("hello")
    (folder / "broken.npz").write_bytes((folder / "both.npz").read_bytes()[:99])
    (folder / "empty.npy").write_bytes(b"")
    with pytest.raises(ProblemError, match=words):
        read_feeds(items, [A, B])


def test_outputs_keep_their_names_whatever_these_are():
    given = {"file": VALUES["a"], "stage/out:0": VALUES["b"], "scalar": np.float32(3)}
    with np.load(io.BytesIO(encode_outputs(given))) as found:
        assert sorted(found.files) == sorted(given)
        for name, value in given.items():
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
