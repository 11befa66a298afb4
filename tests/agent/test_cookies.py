"""Cookies of a conversation: what is kept of an answer's, and where it goes."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from agent.cookies import LONGEST, MOST, PAIR, Jar, merged
from agent.fallback import Models
from agent.model import OpenAIModel
from agent.request import ModelOptions
from agent.request import Request as Ask
from daemon.demo.http import Request, Response, serve

NOW = 1_800_000_000.0
HELLO = [{"role": "user", "content": "hello"}]
FINE = b'{"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}'


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        ("", ["a=1; Path=/; HttpOnly; Secure"], "a=1"),
        ("a=1", ["a=2"], "a=2"),
        ("a=1; b=2", ["c=3; Max-Age=60"], "a=1; b=2; c=3"),
        ("a=1; b=2", ["a=; Max-Age=0"], "b=2"),
        ("a=1", ["a=1; max-age=-1"], ""),
        ("a=1", ["a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], ""),
        ("a=1", ["a=2; Expires=Thu, 01 Jan 2099 00:00:00 GMT"], "a=2"),
        ("a=1", ["a=2; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "a=2"),
        ("a=1", ["a=2; Expires=soon"], "a=2"),
        ("", ['a="quoted"', "b=x=y"], 'a="quoted"; b=x=y'),
        ("a=1", ["no pair", "=nameless", "b=\u00fc", "c=1 2", "d=1\r\nX-Evil: 1"], "a=1"),
        ("", [f"a={'x' * LONGEST}"], ""),
    ],
)
def test_lines_become_a_header(before: str, lines: list[str], after: str) -> None:
    """The newest value, without what is said about it; what could break a header is left out."""
    assert merged(before, lines, NOW) == after


@given(st.lists(st.text(max_size=30) | st.from_regex(PAIR), max_size=20))
def test_a_header_is_harmless_and_short(lines: list[str]) -> None:
    """Whatever a provider sends, and the same lines again change nothing."""
    header = merged("", lines, NOW)
    assert header.isprintable()
    assert header.isascii()
    assert len([pair for pair in header.split("; ") if pair]) <= MOST
    assert merged(merged(header, lines, NOW), lines, NOW) == merged(header, lines, NOW)


def test_a_jar_tells_what_has_changed() -> None:
    """By address; a cookie that comes again with every answer is no change."""
    jar = Jar({"x": "a=1"})
    jar.take("x", ["a=1"], NOW)
    jar.take("y", [], NOW)
    assert (jar.changed, jar.headers) == (set(), {"x": "a=1"})
    jar.take("y", ["b=2"], NOW)
    assert (jar.changed, jar.headers["y"]) == ({"y"}, "b=2")


async def test_conversations_do_not_share_cookies() -> None:
    """Each sends back what it was given, to that provider only; the client keeps nothing."""
    sent: list[str] = []

    async def handle(request: Request) -> Response:
        await request.body()
        sent.append(request.headers.get("cookie", ""))
        if len(sent) == 4:
            return Response(503, b"{}")
        return Response(200, FINE, headers=(("set-cookie", f"machine={len(sent)}; Path=/"),))

    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        options = [ModelOptions(f"{root}/{name}", name, max_attempts=1) for name in "ab"]
        models = Models([OpenAIModel(each) for each in options])
        mine, yours = Jar(), Jar()
        for jar in (mine, yours, mine, mine):
            await models.ask(Ask(HELLO, [], jar=jar))
        await models.complete(HELLO, [])
        await models.aclose()
        nursery.cancel_scope.cancel()
    # The fourth was refused by the first model, so that the fifth went to the other.
    assert sent == ["", "", "machine=1", "machine=3", "", ""]
    assert mine.headers == {f"{root}/a": "machine=3", f"{root}/b": "machine=5"}
    assert yours.headers == {f"{root}/a": "machine=2"}
