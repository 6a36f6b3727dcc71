"""Standard output belongs to the command alone, and says names as they are."""

from __future__ import annotations

import io
import json
import sys

import msgspec
import pytest

from placer.cli.terminal import Terminal, require_folder, write_file
from placer.errors import ProblemError


class Point(msgspec.Struct):
    x: float


def test_json_is_one_document_whatever_it_is_made_of():
    for value, wanted in [({"a": [1]}, {"a": [1]}), (Point(0.5), {"x": 0.5}), (b'{"b": 2}\n\n', {"b": 2})]:
        out = io.StringIO()
        Terminal(out).json(value)
        assert json.loads(out.getvalue()) == wanted
        assert out.getvalue().endswith("}\n")


def test_what_libraries_print_while_a_command_works_is_no_output(capsys):
    with Terminal(sys.stdout) as terminal:
        print("stray")
        terminal.show("answer")
    print("after")
    assert capsys.readouterr() == ("answer\nafter\n", "stray\n")


@pytest.mark.parametrize("text", ["[red]plan[/red].json", "conv[0]", ":smile:", "[/]", "a [link=x]b"])
def test_text_is_no_markup(text):
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.show(text)
    with terminal:
        terminal.progress(text)
    assert out.getvalue() == text + "\n"


def test_files_are_refused_before_and_when_they_are_written(tmp_path):
    require_folder(None, tmp_path / "new.json")
    write_file(tmp_path / "new.json", b"1")
    assert (tmp_path / "new.json").read_bytes() == b"1"
    for path in (tmp_path, tmp_path / "absent" / "new.json", tmp_path / "new.json" / "newer.json"):
        with pytest.raises(ProblemError, match="cannot be written"):
            require_folder(None, path)
        with pytest.raises(ProblemError, match="cannot be written"):
            write_file(path, b"1")
    with pytest.raises(ProblemError, match="cannot be written: it is a directory; give a file"):
        require_folder(tmp_path)
    with pytest.raises(ProblemError, match="cannot be written: File name too long; give another path"):
        write_file(tmp_path / ("x" * 300), b"1")


def test_a_file_that_is_read_is_not_written(tmp_path):
    given = tmp_path / "given.json"
    given.write_bytes(b"1")
    (tmp_path / "link.json").symlink_to(given)
    (tmp_path / "hard.json").hardlink_to(given)
    for path in (given, tmp_path / ".." / tmp_path.name / "given.json", tmp_path / "link.json", tmp_path / "hard.json"):
        with pytest.raises(ProblemError, match=r"json: would overwrite its input; give another path"):
            require_folder(None, path, inputs=[None, tmp_path / "absent.json", given])
    require_folder(tmp_path / "new.json", inputs=[None, tmp_path / "absent.json", given])
