"""The line that says what a tool is doing: short, plain, and without what nobody should read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.activity import LINES, LONGEST, line
from agent.transcript import CallRequest


def of(name: str, arguments: object = None) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return line(CallRequest("id", name, text))


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        ("python_execute", {"code": "print('secret')"}, "running Python ..."),
        ("bash", {"command": "ls"}, "running a command ..."),
        ("web_search", {"query": "my illness"}, "searching the web ..."),
        ("web_fetch", {"url": "https://example.org/a?key=1"}, "reading example.org ..."),
        ("web_fetch", {"url": "https://me:pw@Example.org:8443/"}, "reading example.org ..."),
        ("web_fetch", {"url": "https://[::1"}, "reading a page ..."),
        ("web_fetch", {"url": 7}, "reading a page ..."),
        ("web_fetch", "not JSON", "reading a page ..."),
        (
            "http_client",
            {"method": "POST", "url": "http://a.example/x"},
            "sending to a.example ...",
        ),
        ("http_client", {"url": "http://a.example/x"}, "reading a.example ..."),
        ("read_file", {"path": "notes/a.txt"}, "reading a.txt ..."),
        ("send_file", {"path": "/workspace/plot.png"}, "sending plot.png ..."),
        ("read_file", {"path": "a\u202eb"}, "reading a file ..."),
        ("delegate", {"agent": "cook", "task": "dinner"}, "asking cook ..."),
        ("github__create_issue", {"title": "x"}, "using github ..."),
        ("something", {}, "using something ..."),
        ("", {}, "using a tool ..."),
    ],
)
def test_a_line_names_what_is_done(name: str, arguments: object, shown: str) -> None:
    """A verb, and at most a host or a file's name."""
    assert of(name, arguments) == shown


@given(
    st.sampled_from([*LINES, "mcp__x", "\n", "a b"]) | st.text(),
    st.dictionaries(st.sampled_from(["url", "path", "agent", "method"]), st.text()) | st.text(),
)
def test_a_line_is_one_short_line_whatever_the_model_writes(name: str, arguments: object) -> None:
    """Nothing that a model writes breaks the line or makes it long."""
    shown = of(name, arguments)
    assert len(shown) <= LONGEST
    assert shown.isprintable()
    assert shown.endswith(" ...")


@given(st.text(alphabet="abc123", min_size=1), st.text(alphabet="abc123", min_size=1))
def test_credentials_of_an_address_are_not_shown(user: str, password: str) -> None:
    """Only the host of an address is named."""
    address = f"https://{user}:{password}xyz@host.example/{password}xyz?{password}xyz"
    assert of("web_fetch", {"url": address}) == "reading host.example ..."
