"""What a server says unasked: a little of it is of use, and none of it costs much."""

from __future__ import annotations

from typing import Any

import mcp.types as protocol
import pytest
import trio
from mcp.shared.message import SessionMessage

from agent.mcp import streams
from agent.mcp.streams import LIST_CHANGED, ROOM, Relay, news


def notification(method: str, params: dict[str, Any] | None = None) -> SessionMessage:
    said = protocol.JSONRPCNotification(jsonrpc="2.0", method=method, params=params)
    return SessionMessage(said)


def request(method: str, number: int = 1) -> SessionMessage:
    return SessionMessage(protocol.JSONRPCRequest(jsonrpc="2.0", id=number, method=method))


ANSWER = SessionMessage(protocol.JSONRPCResponse(jsonrpc="2.0", id=1, result={}))


def open_relay() -> tuple[Relay, Any, Any]:
    send_in, inbound = trio.open_memory_channel[SessionMessage | Exception](10)
    send_out, outbound = trio.open_memory_channel[SessionMessage](ROOM)
    return Relay(send_in, send_out), inbound, outbound


async def test_answers_and_news_of_tools_reach_the_session_and_nothing_else() -> None:
    """Log lines, progress and the like go nowhere."""
    relay, inbound, outbound = open_relay()
    changed = notification(LIST_CHANGED, {"_meta": 7})
    for item in (ANSWER, notification("notifications/message"), changed):
        await relay.take(item)
    relay.close()
    assert [item async for item in inbound] == [ANSWER, news()]
    assert [item async for item in outbound] == []


async def test_a_ping_is_answered_and_every_other_request_refused() -> None:
    """The model, the person and the files are nothing that a server may ask for."""
    relay, _, outbound = open_relay()
    for method in ("ping", "sampling/createMessage", "elicitation/create", "roots/list"):
        await relay.take(request(method))
    relay.close()
    pong, *refusals = [item.message async for item in outbound]
    assert pong.result == {}
    assert [each.error.code for each in refusals] == [protocol.METHOD_NOT_FOUND] * 3


async def test_a_server_that_asks_and_never_listens_takes_no_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Half of the room is left for what we have to say, and the flood is read at a pace."""
    relay, _, outbound = open_relay()
    for number in range(10_000):
        await relay.take(request("ping", number))
    assert outbound.statistics().current_buffer_used == ROOM // 2
    assert trio.current_time() == pytest.approx(10_000 / streams.UNASKED * streams.PAUSE)


async def test_what_comes_after_the_end_of_the_session_is_dropped() -> None:
    """Without a word, and without harm."""
    relay, inbound, outbound = open_relay()
    inbound.close()
    outbound.close()
    for item in (ANSWER, notification(LIST_CHANGED), request("ping")):
        await relay.take(item)
