from benchmarks.unseen_cuts import CUTS, Errors, _one, has_ends, op_cuts, rows, spread
from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.models.cut import cut
from placer.planning import read_model


def test_cuts_lie_between_any_two_ops_and_every_part_can_be_timed():
    graph = read_model(str(MODEL), {INPUT_NAME: INPUT_SHAPE})
    ops = [_one(graph, op.name) for op in graph.ops]
    found = op_cuts(graph, ops)
    assert len(set(found)) == CUTS
    for spans in found:
        assert [place for first, last in spans for place in range(first, last)] == list(range(len(ops)))
        assert all(has_ends(graph, ops, span) for span in spans)
    for part in cut(graph, [[graph.ops[place].name for place in range(*span)] for span in found[0]]):
        assert part.inputs
        assert part.outputs
    normalizations = [place for place, op in enumerate(graph.ops) if op.type == "BatchNormalization"]
    # Some cut a fused unit in two, which no unit of the profile does.
    assert any(first in normalizations for spans in found for first, _ in spans)


def test_errors_are_shown_as_sizes_in_percent():
    assert spread([-0.1] * 9 + [0.2]) == "11.0 / 10.0 / 19.0"
    errors = [0.1, -0.3]
    shown = rows([Errors(model="m", fitted=errors, measured=errors, fitted_beside=errors, measured_beside=errors,
                         segments=errors)])  # fmt: skip
    assert shown[-1] == "| mean of the models' means | 20.0 | 20.0 | 20.0 | 20.0 | 20.0 |"
    assert len({line.count("|") for line in shown}) == 1
