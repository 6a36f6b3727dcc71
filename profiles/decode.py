"""From parsed YAML to typed values, with messages that quote the bad value and say what is allowed."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from profiles.errors import choices

if TYPE_CHECKING:
    from profiles.errors import ProfileError

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>(?:key in )?\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_BELOW = re.compile(r"^(?P<path>\w+\[\d+\][^:\s]*|\w+\.[^:\s]*|source): ")
_QUOTED = re.compile(r"`(?P<name>[^`]*)`")


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
    value, info = _walk(raw, msgspec.inspect.type_info(kind), path)
    place = path.replace("key in ", "").removeprefix("$").removeprefix(".")
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
        return f"{prefix}{_quote(value)} is not allowed; expected {_expected(what)}"
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


def _quote(value: object) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    return reprlib.repr(value)


def _walk(raw: object, info: msgspec.inspect.Type, path: str) -> tuple[object, msgspec.inspect.Type]:
    """Follow msgspec's path as far as it is known, through the value and its type together."""
    value: object = raw
    for step in _STEP.finditer(path):
        key, index = step["key"], step["index"]
        if index == "...":  # msgspec does not say which key of a mapping it was
            break
        value = _child_value(value, key, index)
        info = _child_type(info, key)
    return value, info


def _child_value(value: object, key: str | None, index: str | None) -> object:
    if isinstance(value, dict) and key is not None:
        return value.get(key)
    if isinstance(value, list) and index is not None and int(index) < len(value):
        return value[int(index)]
    return None


def _child_type(info: msgspec.inspect.Type, key: str | None) -> msgspec.inspect.Type:
    for option in _options(info):
        if key is not None and isinstance(option, msgspec.inspect.StructType):
            for field in option.fields:
                if field.encode_name == key:
                    return field.type
        if key is None and isinstance(option, (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)):
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
