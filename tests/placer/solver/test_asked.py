"""What no search can do is refused, in the words of whichever function it was asked of."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from placer.errors import ProblemError
from placer.fallbacks import add_fallbacks
from placer.measuring.replan import replan
from placer.planning import plan_site
from placer.solver.asked import check_asked
from placer.solver.solve import solve
from placer.why.explain import explain
from placer.why.pareto import pareto
from placer.why.sensitivity import sensitivity
from tests.oracles.random_problem import random_problem

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value"),
    [("time_limit_s", v) for v in (-1, NAN, float("inf"), "x", None)]
    + [("gap", v) for v in (-0.1, 2, NAN, "x", None)]
    + [("seed", v) for v in (0.5, "x", None)],
)
def test_what_is_out_of_range_or_of_another_type_is_named(name, value):
    with pytest.raises(ProblemError, match=f"^{name}: {value!r} is no "):
        check_asked(**({"time_limit_s": 1.0} | {name: value}))


def test_numbers_of_any_kind_are_taken():
    check_asked(time_limit_s=0, gap=1, seed=-3)
    check_asked(time_limit_s=np.float32(2), gap=np.float64(0), seed=np.int64(5))


@pytest.mark.parametrize("name", ["solve", "explain", "sensitivity", "pareto", "plan_site", "add_fallbacks", "replan"])
def test_every_function_that_searches_looks_at_what_it_is_asked_first(name):
    plan = solve(random_problem(3, devices=2, ops=2))
    asked = {
        "solve": partial(solve, plan.problem),
        "explain": partial(explain, plan),
        "sensitivity": partial(sensitivity, plan.problem, "no such rule"),
        "pareto": partial(pareto, plan.problem),
        "plan_site": partial(plan_site, "no such site.yaml"),
        "add_fallbacks": partial(add_fallbacks, plan),
        "replan": partial(replan, None, plan),
    }[name]
    with pytest.raises(ProblemError, match=r"^time_limit_s: -1 "):
        asked(time_limit_s=-1)
    with pytest.raises(ProblemError, match=r"^seed: 'x' "):
        asked(seed="x")
    if name in ("solve", "plan_site", "add_fallbacks", "replan"):
        with pytest.raises(ProblemError, match=r"^gap: 2 "):
            asked(gap=2)


def test_what_is_no_site_is_named():
    with pytest.raises(ProblemError, match=r"^site: 3 is no site; give one that"):
        plan_site(3)
