"""From parsed YAML to typed values, with messages that quote the bad value and say what is allowed."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from profiles.errors import choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiles.errors import ProfileError

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>(?:key in )?\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_BELOW = re.compile(r"^(?P<path>\w+\[\d+\][^:\s]*|\w+\.[^:\s]*|source): ")
_QUOTED = re.compile(r"`(?P<name>[^`]*)`")
_SHAPE = re.compile(r"[\s(]*\d+(?:\s*[xX×*,;\s]\s*\d+)*[\s)]*")
# A field's unit stands at the end of its name; rates per something else have none of these.
_UNITS = {
    "_bytes_per_s": ("bytes per second", "1e8"),
    "_bytes": ("bytes", "1e9"),
    "_bps": ("bits per second", "1e8"),
    "_hz": ("hertz", "4"),
    "_s": ("seconds", "0.05"),
    "_w": ("watts", "2.5"),
    "_j": ("joules", "0.01"),
}


def decode(raw: object, kind: type[T], where: str, error: type[ProfileError]) -> T:
    """Turn plain dicts and lists into a validated value.

    Parameters
    ----------
    raw
        What a YAML parser returned.
    kind
        The struct to make of it.
    where
        The file's name, for messages.
    error
        The exception to raise.

    Returns
    -------
    T
        The value.

    Raises
    ------
    ProfileError
        As `error`: file, path of the field, the value found there, and what is allowed.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as reason:
        raise error(_explain(str(reason), raw, kind, where)) from None


def _explain(message: str, raw: object, kind: type, where: str) -> str:
    found = _AT.match(message)
    what, path = (message, "$") if found is None else (found["what"], found["path"] or "$")
    steps = _steps(message, raw, kind, path)
    value, info, field = _walk(raw, msgspec.inspect.type_info(kind), steps)
    place = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in steps).removeprefix(".")
    if (below := _BELOW.match(what)) is not None:
        # A value that checks its parts against each other says in which of them it found something.
        place, what = f"{place}.{below['path']}" if place else below["path"], what[below.end() :]
    prefix = f"{where}: {place}: " if place else f"{where}: "
    name = _QUOTED.search(what)
    struct = _struct_in(info)
    if what.startswith("Object contains unknown field") and name is not None and struct is not None:
        known = choices(name["name"], (field.encode_name for field in struct.fields), limit=30)
        return f"{prefix}there is no field {name['name']!r}; {known}"
    if what.startswith("Object missing required field") and name is not None:
        return f"{prefix}field {name['name']!r} is missing"
    if what.startswith("Invalid enum value"):
        allowed = sorted(str(choice) for choice in _literals_in(info))
        return f"{prefix}{_quote(value)} is not allowed; {choices(str(value), allowed)}"
    if what.startswith("Expected"):
        return f"{prefix}{_quote(value)} is not allowed; expected {_expected(what)}{_instead(value, info, field)}"
    return f"{prefix}{what}"


def _expected(what: str) -> str:
    # msgspec: "Expected `float | object`, got `str`".
    name = _QUOTED.search(what)
    if name is None:
        return what.removeprefix("Expected ")
    words = {
        "float": "a number",
        "int": "a whole number",
        "bool": "true or false",
        "str": "text (quote what looks like a number)",
        "array": "a list",
        "object": "fields (key: value)",
        "null": "nothing",
    }
    parts = name["name"].split(" | ")
    if "float" in parts:
        parts = [part for part in parts if part != "int"]  # a whole number is one
    return " or ".join(words.get(part, part) for part in parts)


def _instead(value: object, info: msgspec.inspect.Type, field: str) -> str:
    """Say what to write for text that stands where a shape, or a number in a field's unit, is wanted."""
    if not isinstance(value, str):
        return ""
    if isinstance(_child_type(info, 0), msgspec.inspect.IntType):
        shape = list(map(int, re.findall(r"\d+", value))) if _SHAPE.fullmatch(value) else [1, 3, 224, 224]
        return f" of whole numbers, for example {shape}"
    if any(isinstance(option, msgspec.inspect.FloatType) for option in _options(info)):
        for suffix, (unit, example) in _UNITS.items():
            if field.endswith(suffix) and "_per" not in field.removesuffix(suffix):
                return f"; give {unit} as a number alone, for example {example}"
    return ""


def _quote(value: object) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    return reprlib.repr(value)


def _steps(message: str, raw: object, kind: type, path: str) -> list[str | int]:
    """Read msgspec's path, which does not say which key of a mapping it was: the first that alone gives the message."""
    steps: list[str | int] = []
    for found in _STEP.finditer(path):
        if found["index"] != "...":
            steps.append(found["key"] or int(found["index"]))
            continue
        mapping = raw
        for step in steps:
            mapping = _child_value(mapping, step)
        for key, value in mapping.items() if isinstance(mapping, dict) else ():
            try:
                msgspec.convert(_replaced(raw, steps, {key: value}), kind)
            except msgspec.ValidationError as reason:
                if str(reason) == message:
                    steps.append(str(key))
                    break
        else:
            break
    return steps


def _replaced(raw: object, steps: Sequence[str | int], value: object) -> object:
    """Give what a parser returned with another value at one place."""
    if not steps:
        return value
    changed = _replaced(_child_value(raw, steps[0]), steps[1:], value)
    if isinstance(raw, dict):
        return raw | {steps[0]: changed}
    return [changed if i == steps[0] else item for i, item in enumerate(raw)] if isinstance(raw, list) else raw


def _walk(
    raw: object, info: msgspec.inspect.Type, steps: Sequence[str | int]
) -> tuple[object, msgspec.inspect.Type, str]:
    """Follow a path through a value and its type together; also give the field whose unit counts there."""
    value: object = raw
    field = ""
    for step in steps:
        if isinstance(step, str) and step != "value" and _struct_in(info) is not None:
            field = step
        value = _child_value(value, step)
        info = _child_type(info, step)
    return value, info, field


def _child_value(value: object, step: str | int) -> object:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _child_type(info: msgspec.inspect.Type, step: str | int) -> msgspec.inspect.Type:
    for option in _options(info):
        if isinstance(step, str) and isinstance(option, msgspec.inspect.StructType):
            for field in option.fields:
                if field.encode_name == step:
                    return field.type
        if isinstance(step, str) and isinstance(option, msgspec.inspect.DictType):
            return option.value_type
        if isinstance(step, int) and isinstance(option, (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)):
            return option.item_type
    return msgspec.inspect.AnyType()


def _options(info: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    return info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)


def _struct_in(info: msgspec.inspect.Type) -> msgspec.inspect.StructType | None:
    return next((kind for kind in _options(info) if isinstance(kind, msgspec.inspect.StructType)), None)


def _literals_in(info: msgspec.inspect.Type) -> tuple[object, ...]:
    for kind in _options(info):
        if isinstance(kind, msgspec.inspect.LiteralType):
            return kind.values
    return ()
