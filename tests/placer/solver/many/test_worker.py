from __future__ import annotations

from typing import Any, cast

from placer.solver.many.worker import Worker


def test_what_is_sent_to_a_process_that_was_ended_is_lost_in_silence() -> None:
    worker = Worker()
    worker.start((), cast("Any", None))
    worker.end()
    worker.send("nobody reads this")
