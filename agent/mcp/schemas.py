"""Schemas of tools as every provider takes them, or a reason why one is not. Pure.

A provider checks the schemas of a request against JSON Schema, and refuses the request for one that
is none: a type that there is not, a reference to nowhere, an array that does not say of what. What
only leaves something unsaid is completed; anything else cannot be mended here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

MAX_DEPTH: Final = 20  # of schemas within schemas

_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
# At the top of a schema, providers refuse these.
_REFUSED: Final = ("anyOf", "oneOf", "allOf", "not", "enum")
# Where schemas stand within one: by names, in a list, alone. `items` may be a list, as it once was.
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_ALONE: Final = (
    *("items", "additionalProperties", "additionalItems", "not", "contains", "propertyNames"),
    *("if", "then", "else", "unevaluatedProperties", "unevaluatedItems"),
)


class Unfit(Exception):
    """No provider would take it; the text says why."""


def fitted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, complete. Raises Unfit.

    It gets the key that some providers insist on, and loses one that tells a model nothing.
    """
    kept = {key: value for key, value in schema.items() if key != "$schema"}
    kept.setdefault("properties", {})
    if kept.get("type") != "object" or not isinstance(kept["properties"], Mapping):
        raise Unfit("its schema does not describe an object")
    if found := [key for key in _REFUSED if key in kept]:
        raise Unfit(f"its schema has {found[0]} at the top")
    return _Fitting(kept).whole(kept, 0)


@frozen
class _Fitting:
    root: Mapping[str, Any]

    def schema(self, schema: Any, depth: int) -> Any:  # noqa: ANN401  (any JSON)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise Unfit("a part of its schema is none")
        if depth > MAX_DEPTH:
            raise Unfit("its schema is nested too deeply")
        return self.whole(schema, depth)

    def whole(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        self._check(schema)
        fit = {key: self._part(key, value, depth + 1) for key, value in schema.items()}
        if "array" in _types(schema) and not {"items", "prefixItems"} & fit.keys():
            fit["items"] = {}
        return fit

    def _part(self, key: str, value: Any, depth: int) -> Any:  # noqa: ANN401
        if key in _NAMED:
            if not isinstance(value, Mapping):
                raise Unfit(f"{key} in its schema are no names")
            return {name: self.schema(each, depth) for name, each in value.items()}
        if key in _LISTED or (key == "items" and isinstance(value, list)):
            if not isinstance(value, list) or not value:
                raise Unfit(f"{key} in its schema is no list")
            return [self.schema(each, depth) for each in value]
        return self.schema(value, depth) if key in _ALONE else value

    def _check(self, schema: Mapping[str, Any]) -> None:
        if unknown := [each for each in _types(schema) if each not in _TYPES]:
            raise Unfit(f"its schema has the type {unknown[0]!r:.40}, which there is not")
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
            raise Unfit("required in its schema is no list of names")
        choices = schema.get("enum", [None])
        if not isinstance(choices, list) or not choices:
            raise Unfit("enum in its schema has no choices")
        if "$ref" in schema and not self._is_there(schema["$ref"]):
            raise Unfit(f"its schema refers to {schema['$ref']!r:.60}, which is not in it")

    def _is_there(self, reference: Any) -> bool:  # noqa: ANN401
        """Whether a reference leads to a schema of the same document."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return False
        found: Any = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return isinstance(found, Mapping | bool)


def _types(schema: Mapping[str, Any]) -> list[Any]:
    found = schema.get("type", [])
    return found if isinstance(found, list) else [found]
