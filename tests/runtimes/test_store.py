"""The blob store: whole and right, or not there."""

from __future__ import annotations

import hashlib
import os

import pytest

from runtimes.errors import BadBlob, Exhausted, UnknownName
from runtimes.store import BlobStore

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
CHUNKS = [(0, DATA[:3000]), (3000, DATA[3000:])]


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "store")


def names(tmp_path) -> list[str]:
    return os.listdir(tmp_path / "store")


def test_a_blob_is_kept_under_its_digest(store, tmp_path):
    assert not store.has(SHA256)
    assert store.write(SHA256, CHUNKS, len(DATA)) == len(DATA)
    assert store.has(SHA256)
    assert store.read(SHA256) == DATA
    assert names(tmp_path) == [SHA256]


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([(0, b"other")], "hash to"),
        ([(0, DATA[:3000])], "the 3000 bytes sent hash to"),
        ([(0, DATA[:3000]), (4000, DATA[4000:])], "begins at byte 4000, 3000 are here"),
        ([(1, DATA)], "begins at byte 1, 0 are here"),
        ([*CHUNKS, (len(DATA), b"x")], "more than the 7000 bytes"),
        ([], "hash to"),
    ],
)
def test_wrong_uploads_leave_nothing(store, tmp_path, chunks, says):
    with pytest.raises(BadBlob, match=says):
        store.write(SHA256, chunks, len(DATA))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../x", "A" * 64, "0" * 63, "/etc/passwd", SHA256 + "\n"])
def test_names_that_are_no_digests_are_refused(store, name):
    with pytest.raises(BadBlob, match="no SHA-256"):
        store.write(name, CHUNKS, len(DATA))
    with pytest.raises(BadBlob, match="no SHA-256"):
        store.read(name)


def test_a_damaged_blob_is_removed(store, tmp_path):
    store.write(SHA256, CHUNKS, len(DATA))
    (tmp_path / "store" / SHA256).write_bytes(b"X" + DATA[1:])
    with pytest.raises(BadBlob, match="damaged"):
        store.read(SHA256)
    assert not store.has(SHA256)


def test_links_are_not_followed(store, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(DATA)
    path = tmp_path / "store" / SHA256
    path.symlink_to(outside)
    assert not store.has(SHA256)
    with pytest.raises(UnknownName):
        store.read(SHA256)
    path.unlink()
    os.link(outside, path)
    assert not store.has(SHA256)
    with pytest.raises(BadBlob, match="one name"):
        store.read(SHA256)
    # An upload takes the place of the link and leaves what it led to.
    store.write(SHA256, CHUNKS, len(DATA))
    assert store.read(SHA256) == DATA
    assert outside.read_bytes() == DATA


def test_what_a_crash_left_is_cleared(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "incoming-abc").write_bytes(b"half")
    BlobStore(tmp_path / "store")
    assert names(tmp_path) == []


def test_a_full_disk_is_said(store, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted, match="No space left"):
        store.write(SHA256, CHUNKS, len(DATA))
    assert names(tmp_path) == []
