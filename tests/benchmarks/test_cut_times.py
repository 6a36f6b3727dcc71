from pathlib import Path

import pytest

from benchmarks import cut_times
from benchmarks.cut_times import CutTimes, after_call_s, chained_s, has_ends, op_cuts, timed
from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.deployment.local_agents import local_agents
from placer.models.cut import cut
from placer.planning import read_model
from runtimes.client import AgentClient

TFLITE = Path(__file__).parents[1] / "data" / "image_classification.tflite"


def test_cuts_lie_between_any_two_ops_and_every_part_can_be_timed():
    graph = read_model(str(MODEL), {INPUT_NAME: INPUT_SHAPE})
    found = op_cuts(graph, 30, 2026)
    assert len(set(found)) == 30
    assert found != op_cuts(graph, 30, 11)
    for spans in found:
        assert [place for first, last in spans for place in range(first, last)] == list(range(len(graph.ops)))
        assert all(has_ends(graph, span) for span in spans)
    for part in cut(graph, [[graph.ops[place].name for place in range(*span)] for span in found[0]]):
        assert part.inputs
        assert part.outputs
    normalizations = [place for place, op in enumerate(graph.ops) if op.type == "BatchNormalization"]
    # Some cut a fused unit in two, which no unit of a profile does.
    assert any(first in normalizations for spans in found for first, _ in spans)


def test_what_a_call_takes_is_told_by_all_segments_but_the_first():
    times = [
        CutTimes(chain=(1.0, 2.0, 3.0), again=(1.0, 2.0, 3.0), alone=(9.0, 2.5, 3.5), whole_s=6.0),
        CutTimes(chain=(1.0, 2.0), again=(1.0, 2.0), alone=(0.0, 4.0), whole_s=6.0),
    ]
    assert after_call_s(times) == 0.5
    assert chained_s((1.0, 2.5, 3.5), 0.5) == 6.0
    assert after_call_s([CutTimes(chain=(1.0, 2.0), again=(1.0, 2.0), alone=(1.0, 1.5), whole_s=3.0)]) == 0.0


def test_cuts_are_timed_as_chains_and_segment_by_segment(monkeypatch):
    monkeypatch.setattr(cut_times, "_AT_LEAST_S", 0.0)
    graph = read_model(str(TFLITE))
    cuts = op_cuts(graph, 12, 5)
    with local_agents(["here"], isolated=False) as addresses, AgentClient(addresses["here"]) as client:
        found = timed(client, graph, cuts, 1)
    assert len(found) == len(cuts)
    for spans, each in zip(cuts, found, strict=True):
        assert len(each.chain) == len(each.again) == len(each.alone) == len(spans)
        assert min(*each.chain, *each.again, *each.alone, each.whole_s) > 0


@pytest.mark.parametrize("span", [(0, 0), (3, 3)])
def test_no_ops_are_no_segment(span):
    assert not has_ends(read_model(str(TFLITE)), span)
