"""YAML as its writers mean it, because PyYAML keeps the last of two equal keys and reads `no` as false."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

try:
    import yaml
except ModuleNotFoundError:
    # `from None`: the reader needs the remedy, not the import that failed.
    raise ModuleNotFoundError(
        "site files and the catalog need PyYAML: pip install 'placer-joules[planner]'", name="yaml"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from profiles.errors import ProfileError

_WIDTH = 120

# The core schema of YAML 1.2 (yaml.org/spec/1.2.2, 10.3.2). PyYAML implements 1.1, where 4e9 is text,
# 1_000 is a number, 12:30 is 750 and the region `no` is a boolean.
_CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ("~", "n", "N", "")),
    ("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), tuple("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$"), tuple("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        tuple("-+0123456789."),
    ),
    ("tag:yaml.org,2002:merge", re.compile(r"<<$"), ("<",)),
)


class _StrictLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is no text; put it in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice in one place", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node)
        if node.tag.endswith(":int"):
            try:
                return int(text, 16) if text.startswith("0x") else int(text)
            except ValueError:  # Python converts no number of thousands of digits
                raise yaml.constructor.ConstructorError(
                    None, None, f"a number of {len(text)} digits is too long", node.start_mark
                ) from None
        return float(re.sub(r"\.(?=[inIN])", "", text))  # .inf and .nan are inf and nan to Python


for _tag, _pattern, _first in _CORE_SCHEMA:
    _StrictLoader.add_implicit_resolver(_tag, _pattern, list(_first))
for _tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
    _StrictLoader.add_constructor(_tag, _StrictLoader.construct_number)


class _StrictDumper(yaml.SafeDumper):
    # With the loader's schema, text that the loader would take for a number is written in quotes.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = _StrictLoader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML takes this old line break for the end of a line, and reads it back as a blank.
        return self.represent_scalar("tag:yaml.org,2002:str", text, '"' if "\x85" in text else None)


_StrictDumper.add_representer(str, _StrictDumper.represent_text)


def dump_yaml(value: object) -> str:
    """Write nested dicts, lists, strings, numbers, booleans and None so that `parse_yaml` reads them back equal."""
    return str(yaml.dump(value, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, width=_WIDTH))


def parse_yaml(text: str, where: str, error: type[ProfileError]) -> object:
    """Parse one YAML document by the core schema of YAML 1.2, refusing keys that stand twice.

    Parameters
    ----------
    text
        The document.
    where
        What error messages call it.
    error
        The exception to raise.

    Returns
    -------
    object
        Nested dicts, lists, strings, numbers, booleans and None.

    Raises
    ------
    ProfileError
        As `error`, with line and column.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as reason:
        mark = reason.problem_mark or reason.context_mark
        line = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise error(f"{where}{line}: {reason.problem or reason.context}") from None
    except yaml.YAMLError as reason:
        raise error(f"{where}: no YAML: {reason}") from None
    except RecursionError:
        raise error(f"{where}: nested too deeply") from None


def read_yaml(path: Path, error: type[ProfileError]) -> object:
    """Read and parse a YAML file; see `parse_yaml`.

    Raises
    ------
    ProfileError
        As `error`, if the file cannot be read, is no UTF-8, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as reason:
        raise error(f"{path}: cannot be read: {reason.strerror}") from None
    except UnicodeDecodeError as reason:
        raise error(f"{path}: no UTF-8 text (byte {reason.start})") from None
    return parse_yaml(text, str(path), error)
