"""Schemas as providers take them: what is completed, and what is left out with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mcp.schemas import Unfit, fitted


def with_part(part: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}}


def deep(levels: int) -> Any:
    return {"type": "array", "items": deep(levels - 1)} if levels else True


@pytest.mark.parametrize(
    "schema",
    [
        with_part({"type": "string"}),
        with_part({"type": ["integer", "null"], "enum": [1, None]}),
        with_part({"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}),
        with_part({"type": "object", "additionalProperties": False, "required": []}),
        with_part({"type": "array", "prefixItems": [True]}),
        with_part({"type": "array", "items": [{"type": "string"}]}),
        with_part({}),
        with_part(True),
        with_part(deep(10)),
        {**with_part({"$ref": "#/$defs/t"}), "$defs": {"t": {"$ref": "#/properties/a"}}},
        {**with_part({"$ref": "#"}), "required": ["a"]},
        {**with_part({"$ref": "#/$defs/a~1b"}), "$defs": {"a/b": {"title": "x"}}},
        {"type": "object", "properties": {"type": {"type": "string"}, "$ref": {"enum": ["x"]}}},
    ],
)
def test_what_is_right_is_passed_on_as_it_is(schema: dict[str, Any]) -> None:
    """Also what refers to itself, and arguments that are named like words of the language."""
    assert fitted(schema) == schema


def test_what_is_not_said_is_completed() -> None:
    """Without properties, or an array's items, some providers refuse the whole request."""
    assert fitted({"type": "object"}) == {"type": "object", "properties": {}}
    assert fitted(with_part({"type": "array"})) == with_part({"type": "array", "items": {}})
    either = with_part({"anyOf": [{"type": ["array", "null"]}]})
    assert fitted(either) == with_part({"anyOf": [{"type": ["array", "null"], "items": {}}]})


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("string", "a part of its schema is none"),
        (None, "a part of its schema is none"),
        ({"type": "text"}, "the type 'text', which there is not"),
        ({"type": {"a": 1}}, "which there is not"),
        ({"type": "array", "items": "string"}, "a part of its schema is none"),
        ({"type": "array", "items": []}, "items in its schema is no list"),
        ({"properties": []}, "properties in its schema are no names"),
        ({"anyOf": {}}, "anyOf in its schema is no list"),
        ({"oneOf": []}, "oneOf in its schema is no list"),
        ({"required": True}, "required in its schema is no list"),
        ({"required": [1]}, "required in its schema is no list"),
        ({"enum": []}, "enum in its schema has no choices"),
        ({"$ref": "https://example.org/schema"}, "which is not in it"),
        ({"$ref": "#/$defs/nowhere"}, "which is not in it"),
        ({"$ref": 7}, "which is not in it"),
        (deep(40), "nested too deeply"),
    ],
)
def test_what_no_provider_takes_is_told(part: Any, why: str) -> None:
    """Wherever it stands."""
    for schema in (with_part(part), with_part({"items": part}), with_part({"anyOf": [part]})):
        with pytest.raises(Unfit) as caught:
            fitted(schema)
        assert why in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "items", "properties", "$ref", "enum", "anyOf", "required"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_a_server_lists_is_fit_or_is_not(part: Any) -> None:
    """And what was made fit is fit, and JSON."""
    try:
        once = fitted(with_part(part))
    except Unfit:
        return
    assert fitted(once) == once
    json.dumps(once)
