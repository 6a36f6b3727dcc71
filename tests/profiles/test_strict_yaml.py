from pathlib import Path

import pytest

from profiles.errors import SiteError
from profiles.strict_yaml import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4e9", 4e9),
        ("1E-3", 1e-3),
        (".5", 0.5),
        ("2.", 2.0),
        ("-3", -3),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("null", None),
        ("'5'", "5"),
        ("-.inf", float("-inf")),
        ("[a, 1, {b: 2}]", ["a", 1, {"b": 2}]),
        ("a: &x {b: 1}\nc: {<<: *x, b: 2, d: 3}", {"a": {"b": 1}, "c": {"b": 2, "d": 3}}),
    ],
)
def test_scalars_are_read_as_their_writers_mean_them(text: str, value: object) -> None:
    parsed = parse_yaml(text, "f", SiteError)
    assert parsed == value
    assert type(parsed) is type(value)


def test_not_a_number_is_read_as_such() -> None:
    parsed = parse_yaml(".nan", "f", SiteError)
    assert isinstance(parsed, float)
    assert parsed != parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"f, line 3, column 1: the key 'a' stands twice"),
        ("x:\n  - {a: 1, a: 2}", r"f, line 2, column 12: the key 'a' stands twice"),
        ("1: x", r"f, line 1, column 1: the key 1 is no text"),
        ("a: [1,\nb: 2", r"f, line \d"),
        ("a: *nowhere", r"undefined alias"),
        ("!!python/object/apply:os.getcwd []", r"could not determine a constructor"),
        ("a: b\x01", r"no YAML"),
        ("[" * 5000, r"nested too deeply"),
        ("--- 1\n--- 2", r"f, line 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        parse_yaml(text, "f", SiteError)


def test_a_number_that_is_too_long_is_refused_with_its_place() -> None:
    with pytest.raises(SiteError, match="here, line 2, column 4: a number of 5000 digits is too long"):
        parse_yaml("a: 1\nb: " + "1" * 5000, "here", SiteError)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "site.yaml", SiteError)
    (tmp_path / "b.yaml").write_bytes(b"a: \xff")
    with pytest.raises(SiteError, match="byte 3"):
        read_yaml(tmp_path / "b.yaml", SiteError)
