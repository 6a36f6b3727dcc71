"""The journal: in order, numbered, bounded."""

from __future__ import annotations

from runtimes.observation import Journal


def add(journal: Journal, request: str) -> None:
    journal.add(
        "segment",
        flow="f",
        segment="f/0",
        device="d",
        to="",
        request=request,
        seconds=0.1,
        padded_s=0.2,
        queue_s=0.0,
        size_bytes=4,
        epoch=1,
        variant="",
    )


def test_the_last_observations_are_kept():
    journal = Journal(capacity=3)
    assert journal.since(0) == ()
    assert journal.last_sequence == 0
    for i in range(5):
        add(journal, str(i))
    assert [(o.sequence, o.request) for o in journal.since(0)] == [(3, "2"), (4, "3"), (5, "4")]
    assert [o.sequence for o in journal.since(4)] == [5]
    assert journal.last_sequence == 5
