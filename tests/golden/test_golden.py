"""Small instances whose optimum was worked out by hand; each file says why it is the optimum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from placer.baselines import starting_choices
from placer.index import ProblemIndex
from placer.problem import read_problem
from placer.solver.plain import search
from placer.solver.solve import solve

FILES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_optimum_is_the_reviewed_one(path: Path) -> None:
    facts = json.loads(path.read_text(encoding="utf-8"))
    assert len(facts["x_reason"]) > 100
    problem, expected = read_problem(path), facts["x_optimum"]
    plan = solve(problem)
    assert plan.status == "optimal"
    assert plan.objective == pytest.approx(expected["objective"], rel=1e-9)
    for flow in plan.flows:
        where = {op: device for op, (device, _) in flow.assignment.items()}
        assert where.items() >= expected["assignment"][flow.name].items()
    index = ProblemIndex(problem)
    plain = search(index, starts=starting_choices(index))
    assert plain.evaluation is not None
    assert plain.evaluation.objective == pytest.approx(expected["objective"], rel=1e-6)


def test_there_are_instances() -> None:
    assert len(FILES) >= 8
