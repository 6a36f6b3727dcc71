from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.one_flow import Line, PlainRun, main, read_lines, summarize

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _line(name: str, cpu_s: float, plain_s: float, done: bool) -> Line:
    plain = (
        PlainRun("highs", plain_s * 3, done=True, wrong=False),
        PlainRun("cp-sat", plain_s, done=done, wrong=False),
    )
    return Line(name, 10, "optimal", 1.0, 1.0, 0.0, cpu_s, 2, 0.1, plain)


def test_a_long_run_can_be_made_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines"
    pieces = ["one_flow", "--devices", "3", "--limit", "5", "--append", str(file), "--graphs"]
    monkeypatch.setattr("sys.argv", [*pieces, "zfnet512"])
    main()
    first = capsys.readouterr().out
    assert first.count("| site/zfnet512/3/") == 3
    monkeypatch.setattr("sys.argv", [*pieces, "zfnet512", "bvlc_alexnet"])
    main()
    # What the file holds is not run again, but it counts in the summary.
    second = capsys.readouterr().out
    assert second.count("| site/zfnet512/3/") == 0
    assert "proven optimal: 6 of 6" in second
    assert list(read_lines([file])) == [f"site/{g}/3/{f}" for g in ("zfnet512", "bvlc_alexnet") for f in (0.05, 0.3, 1)]
    monkeypatch.setattr("sys.argv", ["one_flow", "--table", str(file)])
    main()
    assert capsys.readouterr().out.count("| optimal |") == 6


def test_a_stopped_solver_counts_with_the_seconds_it_had(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        _line("a", 0.1, 1.5, done=True),
        _line("b", 0.1, 3.0, done=False),
        _line("c", 0.1, 9.0, done=False),
        _line("quick", 0.1, 0.5, done=True),
    ]
    summarize(lines)
    told = capsys.readouterr().out
    assert "over 1 s on 3 of 4, stopped by its limit on 2" in told
    assert "(a lower bound): median 30 (20), least 15.0" in told
    assert "where it was done: median 15" in told
    assert "a, > b, > c" in told
