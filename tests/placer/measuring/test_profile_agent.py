from types import SimpleNamespace

import pytest

from placer.errors import MeasureError
from placer.measuring import profile_agent
from placer.measuring.profile_agent import Staged, segment_name


class Agent:
    """An agent with a clock that moves by a second with each request, and segments numbered in the order they ran."""

    def __init__(self, remembers: int = 1000) -> None:
        self.now_s = 0.0
        self._observed: list[SimpleNamespace] = []
        self._remembers = remembers

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(last_sequence=0)

    def infer(self, flow: str, inputs: object, deadline_s: float, *, epoch: int) -> None:
        self.now_s += 1.0
        place = int(flow.removeprefix("partition "))
        for number in range(place + 1):
            self._observed.append(
                SimpleNamespace(
                    epoch=epoch, kind="segment", segment=segment_name(place, number), seconds=len(self._observed)
                )
            )

    def observations(self, since: int) -> list[SimpleNamespace]:
        return self._observed[-self._remembers :]


def staged(monkeypatch: pytest.MonkeyPatch, agent: Agent) -> Staged:
    monkeypatch.setattr(profile_agent, "time", SimpleNamespace(monotonic=lambda: agent.now_s))
    partitions = [((0, 2),), ((0, 1), (1, 2))]
    return Staged(agent, 7, SimpleNamespace(inputs=()), partitions)  # type: ignore[arg-type]


@pytest.mark.parametrize(("at_least_s", "rounds"), [(0.0, 3), (9.9, 3), (10.1, 4), (30.0, 13)])
def test_rounds_go_on_until_the_time_has_passed_and_those_that_warm_up_do_not_count(monkeypatch, at_least_s, rounds):
    told: list[int] = []
    seconds = staged(monkeypatch, Agent()).time(3, told.append, at_least_s)
    # Two requests a round, a second each, and two rounds to warm up; three segments a round.
    assert [[len(runs) for runs in segments] for segments in seconds] == [[rounds], [rounds, rounds]]
    assert seconds[1][1][:2] == [8, 11]
    assert told == list(range(1, rounds + 3))


def test_an_agent_that_forgot_its_observations_is_an_error(monkeypatch):
    with pytest.raises(MeasureError, match="profile with fewer runs"):
        staged(monkeypatch, Agent(remembers=14)).time(3)
