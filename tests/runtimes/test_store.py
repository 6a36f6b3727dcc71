"""The blob store: whole and right, or not there."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtimes.errors import BadBlob, Exhausted, UnknownName, WrongState
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


def test_an_upload_goes_on_where_it_broke_off(store, tmp_path):
    class Broken(Exception):  # noqa: N818
        pass

    def breaking():
        yield CHUNKS[0]
        raise Broken

    with pytest.raises(Broken):
        store.write(SHA256, breaking(), len(DATA))
    assert not store.has(SHA256)
    assert store.received(SHA256) == 3000
    # After a restart, too.
    again = BlobStore(tmp_path / "store")
    assert again.received(SHA256) == 3000
    assert again.write(SHA256, CHUNKS[1:], len(DATA)) == len(DATA)
    assert again.read(SHA256) == DATA
    assert names(tmp_path) == [SHA256]
    assert again.received(SHA256) == 0


def test_an_upload_may_begin_anew_and_a_wrong_beginning_is_thrown_away(store, tmp_path):
    partial = tmp_path / "store" / f"partial-{SHA256}"
    partial.write_bytes(b"X" * 3000)
    assert store.write(SHA256, CHUNKS, len(DATA)) == len(DATA)
    (tmp_path / "store" / SHA256).unlink()
    # Zeros are what a power cut leaves of bytes that never reached the disk.
    partial.write_bytes(b"\0" * 3000)
    with pytest.raises(BadBlob, match="hash to"):
        store.write(SHA256, CHUNKS[1:], len(DATA))
    assert names(tmp_path) == []
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    partial.symlink_to(outside)
    assert store.received(SHA256) == 0
    store.write(SHA256, CHUNKS, len(DATA))
    assert outside.read_bytes() == b"theirs"


def test_the_latest_upload_of_a_blob_counts(store):
    def overtaken():
        yield CHUNKS[0]
        assert store.write(SHA256, CHUNKS, len(DATA)) == len(DATA)
        yield CHUNKS[1]

    with pytest.raises(WrongState, match="another upload"):
        store.write(SHA256, overtaken(), len(DATA))
    assert store.read(SHA256) == DATA


def test_an_upload_that_begins_while_another_ends_leaves_its_blob_alone(store, monkeypatch):
    flush, wrote, go_on = os.fsync, threading.Event(), threading.Event()

    def later():
        yield CHUNKS[0]
        wrote.set()
        assert go_on.wait(10)
        yield CHUNKS[1]

    with ThreadPoolExecutor(1) as pool:
        following = []

        def overtaking(descriptor: int) -> None:
            flush(descriptor)
            if not following:
                following.append(pool.submit(store.write, SHA256, later(), len(DATA)))
                assert wrote.wait(10)

        monkeypatch.setattr(os, "fsync", overtaking)
        with pytest.raises(WrongState, match="another upload"):
            store.write(SHA256, CHUNKS, len(DATA))
        assert not store.has(SHA256)
        go_on.set()
        assert following[0].result(10) == len(DATA)
    assert store.read(SHA256) == DATA


def test_an_upload_that_nobody_needs_any_more_is_called_that(store):
    def overtaken():
        yield CHUNKS[0]
        store.keep([])
        yield CHUNKS[1]

    with pytest.raises(WrongState, match="no plan that is staged here needs blob"):
        store.write(SHA256, overtaken(), len(DATA))


def test_only_what_is_needed_is_kept(store, tmp_path):
    other = hashlib.sha256(b"other").hexdigest()
    store.write(SHA256, CHUNKS, len(DATA))
    store.write(other, [(0, b"other")], 5)
    (tmp_path / "store" / f"partial-{'0' * 64}").write_bytes(b"begun")
    (tmp_path / "store" / "plans.state").write_bytes(b"no blob")
    store.keep([other])
    assert sorted(names(tmp_path)) == sorted([other, "plans.state"])


def test_a_full_disk_is_said(store, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted, match="No space left"):
        store.write(SHA256, CHUNKS, len(DATA))
    assert names(tmp_path) == []
