"""What is offered of a server's tools, under which names, and what may run without a question."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mcp import offer
from agent.mcp.offer import Listed, choose, kept, public_names, read_kept
from agent.mcp.spec import ServerSpec, Stdio
from agent.ports import Policy
from agent.tools.registry import Kind

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}


def spec(**settings: Any) -> ServerSpec:
    return ServerSpec(name="srv", transport=Stdio(command=("true",)), **settings)


def listed(name: str, **settings: Any) -> Listed:
    return Listed(name, settings.pop("description", ""), settings.pop("schema", SCHEMA), **settings)


# --- Names ---


@given(st.lists(st.text(max_size=80), max_size=12))
def test_every_name_can_be_sent_and_none_is_anothers(tools: list[str]) -> None:
    """Whatever a server calls its tools, in whatever order."""
    names = public_names("srv", tools)
    assert all(re.fullmatch(r"srv__[A-Za-z0-9_-]{0,59}", name) for name in names.values())
    assert len(set(names.values())) == len(set(tools))
    assert public_names("srv", tools[::-1]) == names


def test_a_plain_name_stays_and_a_changed_one_is_marked() -> None:
    """Only where it could be taken for another's, or had to be cut."""
    names = public_names("srv", ["read", "a.b", "a_b", "x/y", "n" * 80])
    assert names["read"] == "srv__read"
    assert names["a_b"] == "srv__a_b"
    assert re.fullmatch(r"srv__a_b-[0-9a-f]{6}", names["a.b"])
    assert names["x/y"] == "srv__x_y"
    assert len(names["n" * 80]) == 64


# --- Which ---


def test_a_tool_is_passed_on_with_its_schema_and_the_servers_words_marked() -> None:
    """On one line, and cut."""
    (tool,) = choose(spec(), [listed("t", description="Reads\n\n  a file. " + "x" * 400)]).tools
    assert tool.schema == SCHEMA
    assert tool.description.startswith("[MCP server srv] Reads a file. xxx")
    assert tool.description.endswith("...")
    assert len(tool.description) == len("[MCP server srv] ") + 300


def test_only_the_tools_that_the_owner_chose_are_offered() -> None:
    """A name that the server does not know is a warning, as a misspelt key would be."""
    found = choose(spec(tools=("a", "c")), [listed("a"), listed("b")])
    assert [each.tool for each in found.tools] == ["a"]
    assert found.warnings == ("c: the server has no such tool",)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string"}, "does not describe an object"),
        ({}, "does not describe an object"),
        ({"type": "object", "properties": []}, "does not describe an object"),
        ({"type": "object", "anyOf": []}, "has anyOf at the top"),
        ({"type": "object", "default": float("nan")}, "is no JSON"),
        ({"type": "object", "description": "x" * 7000}, "more than 6000 bytes of it"),
        ({"type": "object", "description": "x" * 5950}, "bytes to describe"),
    ],
)
def test_a_schema_that_providers_refuse_is_left_out(schema: dict[str, Any], why: str) -> None:
    """It would cost every other tool and every turn."""
    found = choose(spec(), [listed("bad", schema=schema), listed("fine")])
    assert [each.tool for each in found.tools] == ["fine"]
    assert why in found.warnings[0]


def test_no_more_of_a_tool_is_kept_than_is_of_use() -> None:
    """A server may send megabytes of each; what is left out then says why."""
    long, large = "n" * 100_000, {"type": "object", "description": "x" * 100_000}
    for kept_one in (
        Listed.of("large", "d" * 100_000, large, read_only=True),
        Listed.of(long, "d" * 100_000, SCHEMA, read_only=True),
    ):
        assert len(kept([kept_one])) < 2000
        (warning,) = choose(spec(), [kept_one]).warnings
        assert "6000 bytes" in warning or "its name has more than 200 characters" in warning
    assert read_kept(kept([Listed.of("a", "", large, read_only=True)]))[0].schema is None


def test_a_name_that_is_trusted_and_is_not_there_is_a_warning() -> None:
    """It was misspelt, perhaps: the tool that was meant asks before each call."""
    found = choose(spec(trust=("reed",)), [listed("read")])
    assert found.warnings == ("reed: the server has no such tool",)
    assert found.tools[0].policy is Policy.ASK


def test_a_server_has_room_for_so_much() -> None:
    """The first that do not fit any more are left out, and said."""
    large = {"type": "object", "description": "x" * 5000}
    found = choose(spec(), [*(listed(f"t{n}", schema=large) for n in range(6)), listed("small")])
    assert [each.tool for each in found.tools] == ["t0", "t1", "t2", "t3", "small"]
    assert len(found.warnings) == 2
    many = choose(spec(), [listed(f"t{n}", schema={"type": "object"}) for n in range(70)])
    assert len(many.tools) == offer.MAX_TOOLS
    sent = [{"d": each.description, "s": each.schema} for each in many.tools]
    assert len(json.dumps(sent)) < offer.MAX_SCHEMAS


def test_a_schema_loses_its_own_address_and_gets_its_properties() -> None:
    """The one says nothing to a model; without the other some providers refuse it."""
    given_schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    (tool,) = choose(spec(), [listed("t", schema=given_schema)]).tools
    assert tool.schema == {"type": "object", "properties": {}}


# --- What is kept ---


@given(st.text())
def test_a_kept_list_that_is_broken_is_none(text: str) -> None:
    """It is a file, and anything may happen to those."""
    assert read_kept(text) == []


def test_a_kept_list_is_what_was_listed() -> None:
    """Names, words, schemas and marks; a schema that is no JSON is not kept at all."""
    tools = [listed("a", description="A", read_only=True), listed("b")]
    assert read_kept(kept(tools)) == tools
    assert kept([listed("a", schema={"x": {1}})]) == ""
    for odd in ('[["a", "b", []]]', '[["a", "b", [], true]]', "{}", "[1]", '[[1, "", {}, true]]'):
        assert read_kept(odd) == []


# --- What may run ---


@pytest.mark.parametrize(
    ("trust", "reader", "writer"),
    [
        ("read-only", (Kind.READ, Policy.ALLOW), (Kind.OUTWARD, Policy.ASK)),
        ("none", (Kind.OUTWARD, Policy.ASK), (Kind.OUTWARD, Policy.ASK)),
        ("all", (Kind.READ, Policy.ALLOW), (Kind.OUTWARD, Policy.ALLOW)),
        (("writer",), (Kind.OUTWARD, Policy.ASK), (Kind.OUTWARD, Policy.ALLOW)),
    ],
)
def test_what_runs_without_a_question_is_the_owners_choice(
    trust: Any, reader: object, writer: object
) -> None:
    """A server's own word for what only reads counts as far as the owner lets it."""
    tools = [listed("reader", read_only=True), listed("writer")]
    first, second = choose(spec(trust=trust), tools).tools
    assert (first.kind, first.policy) == reader
    assert (second.kind, second.policy) == writer
