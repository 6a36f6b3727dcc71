import pytest

from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.errors import MeasureError
from placer.measuring.profile_device import Subject, profile_device
from placer.measuring.profile_journal import Journal
from placer.measuring.profile_model import _timed, robust_s
from placer.measuring.profile_power import Declared
from placer.measuring.units import random_cuts, units_of, windows
from placer.planning import read_model
from runtimes.client import AgentClient
from runtimes.local import LocalAgents


@pytest.fixture(scope="module")
def demo():
    return read_model(str(MODEL), {INPUT_NAME: INPUT_SHAPE})


def test_a_machine_that_was_slower_for_a_while_leaves_no_trace(demo):
    units = units_of(demo)
    batches = [random_cuts(len(units), 4, 0), *((window,) for window in windows(len(units)))]

    def results(slowness):
        """Every unit takes 1 ms, everything of a batch so many times as long."""
        return [
            [
                [[factor * 1e-3 * (last - first)] * 5 for first, last in spans]
                for spans in (((0, len(units)),), *batch)
            ]
            for batch, factor in zip(batches, slowness, strict=True)
        ]  # fmt: skip

    steady = _timed(demo, units, batches, results([1.0] * len(batches)))
    drifting = _timed(demo, units, batches, results([1.0, 1.0, 3.0][: len(batches)]))
    assert [each.seconds for each in drifting.segments] == pytest.approx([each.seconds for each in steady.segments])
    assert len(steady.cuts) == len(batches[0])
    alone = [each for each in steady.segments if each.partition not in steady.cuts]
    assert sum(each.span[1] - each.span[0] == 1 for each in alone) == len(units)


def test_a_few_disturbed_runs_do_not_count():
    assert robust_s([1.0, 1.0, 1.0, 1.0, 9.0, 9.0]) == 1.0


def test_an_agent_that_dies_leaves_what_was_measured(demo, tmp_path):
    journal = Journal(tmp_path / "box.yaml", {})
    with LocalAgents(["box"], options=("--no-isolation",)) as agents, AgentClient(agents.addresses["box"]) as client:

        def kill_later(text):
            if "part 2 of" in text:
                agents.process("box").kill()
                agents.process("box").wait()

        with pytest.raises(MeasureError, match="went away while orientation was measured"):
            profile_device(
                client, [demo], Subject(id="box", name="box", tier="edge", host="here", memory_bytes=None),
                Declared(idle_w=1.0, active_w=2.0, wait_w=None, boundary="board"), journal,
                threads=[1], runs=3, window_s=1.0, progress=kill_later,
            )  # fmt: skip
    assert journal.path.read_bytes().count(b"\n") == 2  # what it is about, and one result
