"""What in a newer protocol document breaks who was written by the older one.

What a client sends may come to allow more, never less; what it receives may come to hold more, never less. So a
message, a field or a type may not go, a field that was always there may not become optional in what is received, nor a
field become required, nor a limit narrower, in what is sent. A value more in a received enumeration is no break:
readers take a value that they do not know for `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["incompatible_changes"]

_UPPER: Final = ("maximum", "maxLength", "maxItems", "exclusiveMaximum")
_LOWER: Final = ("minimum", "minLength", "minItems", "exclusiveMinimum")


def incompatible_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Compare two documents of `protocol_schema`.

    Returns:
        A sentence for each change that breaks a client of the older; none: clients need not know of the newer.
    """
    return [
        change
        for name in old["$defs"]
        if name.startswith(("client:", "server:"))
        for change in _message_changes(name, old["$defs"], new["$defs"])
    ]


def _message_changes(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if name not in new:
        yield f"{name} is gone"
    else:
        yield from _Comparison(old, new, sent=name.startswith("client:")).of(name, old[name], new[name])


class _Comparison:
    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any], *, sent: bool) -> None:
        self._old = old
        self._new = new
        self._sent = sent
        self._seen: set[tuple[str, str]] = set()

    def of(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        """The breaks from an older to a newer schema of the same thing."""
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and "$ref" in new:
            if pair in self._seen:
                return
            self._seen.add(pair)
        old, new = self._resolved(old, self._old), self._resolved(new, self._new)
        before, after = self._kinds(old, self._old), self._kinds(new, self._new)
        wide, narrow = (after, before) if self._sent else (before, after)
        if wide and not (set(narrow) or {"any"}) <= set(wide):
            yield f"{where}: was {_names(before)}, is {_names(after)}"
            return
        for kind in before:
            if kind in after:
                yield from self._same_kind(where, before[kind], after[kind])

    @staticmethod
    def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = definitions[str(schema["$ref"]).removeprefix("#/$defs/")]
        return schema

    def _kinds(self, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """What JSON types a schema allows, and what it says of each; empty: anything."""
        if "anyOf" in schema:
            found: dict[str, Mapping[str, Any]] = {}
            for one in schema["anyOf"]:
                found.update(self._kinds(self._resolved(one, definitions), definitions))
            return found
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return dict.fromkeys(sorted({_kind_of(value) for value in values}), schema)
        kind = schema.get("type")
        return {} if kind is None else {str(kind): schema}

    def _same_kind(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        values, now = _values(old), _values(new)
        if self._sent and now is not None and (values is None or not values <= now):
            yield f"{where}: no longer takes {_names(values - now if values else ['any value'])}"
        if not self._sent and values is not None and now is None:
            yield f"{where}: was one of {_names(values)}, is any"
        yield from self._limits(where, old, new)
        yield from self._fields(where, old, new)
        if isinstance(old.get("items"), Mapping) and isinstance(new.get("items"), Mapping):
            yield from self.of(f"{where}[]", old["items"], new["items"])

    def _limits(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        if not self._sent:
            return
        for name in (*_UPPER, *_LOWER):
            if name in new:
                sign = 1 if name in _UPPER else -1
                if name not in old or sign * new[name] < sign * old[name]:
                    yield f"{where}: {name} is {new[name]}, was {old.get(name, 'without')}"
        if "pattern" in new and new["pattern"] != old.get("pattern"):
            yield f"{where}: another pattern"

    def _fields(self, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required, needed = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                yield f"{where}.{name} is gone"
                continue
            if self._sent and name in needed - required:
                yield f"{where}.{name} has become required"
            if not self._sent and name in required - needed:
                yield f"{where}.{name} is no longer always there"
            yield from self.of(f"{where}.{name}", before[name], after[name])
        if self._sent:
            for name in sorted(needed - set(before)):
                yield f"{where}.{name} is new and required"


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case _:
            return "number"


def _values(schema: Mapping[str, Any]) -> set[object] | None:
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def _names(values: object) -> str:
    found = sorted(map(str, values)) if isinstance(values, (set, list, dict)) else [str(values)]
    return ", ".join(found) or "anything"
