import pytest

from placer.errors import ProblemError
from placer.measuring.profile_journal import Journal

ABOUT = {"models": ["a"], "runs": 3}


def test_results_are_there_when_it_is_opened_again(tmp_path):
    target = tmp_path / "device.yaml"
    first = Journal(target, ABOUT)
    assert not first.path.exists()  # nothing measured, nothing left
    first.put("one", [1.5])
    first.put("two", {"x": None})
    again = Journal(target, ABOUT)
    assert (again.get("one"), again.get("two"), again.get("three")) == ([1.5], {"x": None}, None)
    again.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 5, 20, 30, 45])
def test_a_line_that_was_cut_short_is_measured_again(tmp_path, cut):
    target = tmp_path / "device.yaml"
    journal = Journal(target, ABOUT)
    journal.put("one", [1.5])
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    again = Journal(target, ABOUT)
    assert again.get("one") is None
    again.put("one", [2.5])
    assert Journal(target, ABOUT).get("one") == [2.5]


def test_a_journal_about_something_else_is_not_taken_up(tmp_path):
    target = tmp_path / "device.yaml"
    Journal(target, ABOUT).put("one", 1)
    with pytest.raises(ProblemError, match="of a run with other models, options or another device"):
        Journal(target, {**ABOUT, "runs": 4})


def test_a_journal_that_is_none_is_refused(tmp_path):
    (tmp_path / "device.yaml.journal").write_text("hello\n")
    with pytest.raises(ProblemError, match=r"device\.yaml\.journal: .*delete it to measure from the beginning"):
        Journal(tmp_path / "device.yaml", ABOUT)
