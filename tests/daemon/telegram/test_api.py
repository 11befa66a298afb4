"""One call, one answer, and errors that say how far the call got: against a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers, open_demo_servers
from daemon.telegram import api as module
from daemon.telegram.api import (
    CONNECTIONS,
    Ambiguous,
    ApiError,
    BotApi,
    NotSent,
    Refused,
    RefusedToken,
    ServerFailed,
    TooMany,
    open_api,
    read_answer,
)

HELLO = {"chat_id": 1, "text": "hello"}


@pytest.fixture
async def demo() -> AsyncIterator[DemoServers]:
    async with open_demo_servers() as servers:
        servers.bot.user_says("/start")
        yield servers


@pytest.fixture
async def api(demo: DemoServers) -> AsyncIterator[BotApi]:
    async with open_api(demo.bot.base_url, demo.bot.token) as opened:
        yield opened


async def test_a_call_returns_its_result(demo: DemoServers, api: BotApi) -> None:
    message = await api.call("sendMessage", HELLO)
    assert (message["text"], demo.bot.texts(1)) == ("hello", ["hello"])


async def test_text_that_utf_8_cannot_carry_is_sent_mended(demo: DemoServers, api: BotApi) -> None:
    await api.call("sendMessage", {"chat_id": 1, "text": "half \ud800 pair"})
    assert demo.bot.texts(1) == ["half ? pair"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(method="sendMessage", status=400), Refused),
        (Fault(method="sendMessage", status=403), Refused),
        (Fault(method="sendMessage", status=500), ServerFailed),
        (Fault.bad_gateway(method="sendMessage"), ServerFailed),
        (Fault.cut_before(method="sendMessage"), Ambiguous),
        (Fault.cut_after(method="sendMessage"), Ambiguous),
    ],
)
async def test_each_fault_has_its_own_error(
    demo: DemoServers, api: BotApi, fault: Fault, error: type[ApiError]
) -> None:
    demo.bot.faults.add(fault)
    with pytest.raises(error) as caught:
        await api.call("sendMessage", HELLO)
    assert api.token not in str(caught.value)
    await api.call("sendMessage", HELLO)


async def test_a_throttled_call_says_how_long_to_wait(demo: DemoServers, api: BotApi) -> None:
    demo.bot.faults.add(Fault(method="sendMessage", status=429, retry_after=7))
    with pytest.raises(TooMany) as caught:
        await api.call("sendMessage", HELLO)
    assert caught.value.retry_after == 7


async def test_a_wrong_token_is_told_from_a_refused_call(api: BotApi) -> None:
    api.token = "1000000001:AAnotherTokenThatIsNotTheRightOne00"
    with pytest.raises(RefusedToken):
        await api.call("getMe", {})


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with open_api("http://127.0.0.1:9", "1:x") as api:
        with pytest.raises(NotSent):
            await api.call("getMe", {})


async def test_no_answer_in_time_is_ambiguous(demo: DemoServers, api: BotApi) -> None:
    demo.bot.faults.add(Fault.stalled(method="sendMessage"))
    with pytest.raises(Ambiguous):
        await api.call("sendMessage", HELLO, read_timeout=0.05)


async def test_a_call_as_a_whole_has_an_end(
    demo: DemoServers, api: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that drips meets every timeout of a read, and would never be whole."""
    monkeypatch.setattr(module, "CALL_SLACK", 0.05 - module.READ_TIMEOUT)
    demo.bot.faults.add(Fault.stalled(method="sendMessage"))
    with pytest.raises(Ambiguous, match="end"):
        await api.call("sendMessage", HELLO)


async def test_a_storm_of_cancelled_calls_leaves_every_place_free(
    demo: DemoServers, api: BotApi
) -> None:
    """A request cancelled in httpx's queue loses its place; ours never queue there."""
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS * 5):
            nursery.start_soon(api.call, "getUpdates", {"timeout": 50})
        await demo.bot.wait_for(lambda bot: any(c.method == "getUpdates" for c in bot.calls))
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS * 2):
            nursery.start_soon(api.call, "getMe", {})


# --- Answers ---


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_else(status: int, content: bytes) -> None:
    with pytest.raises(ApiError):
        read_answer(status, content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)


@given(
    st.integers(200, 599),
    st.dictionaries(
        st.sampled_from(["ok", "result", "error_code", "description", "parameters"]), JSON
    ),
)
def test_no_json_whatever_raises_anything_else(status: int, answer: dict[str, object]) -> None:
    try:
        result = read_answer(status, json.dumps(answer).encode())
    except ApiError as error:
        assert str(error) is not None
    else:
        assert answer["ok"] is True
        assert result == answer["result"]


def test_a_yes_without_a_result_is_no_refusal() -> None:
    """Something took effect; to call it refused would be to send it unlabelled again."""
    with pytest.raises(Ambiguous):
        read_answer(200, b'{"ok":true}')


def test_a_group_that_moved_says_where() -> None:
    body = {
        "ok": False,
        "error_code": 400,
        "description": "group upgraded",
        "parameters": {"migrate_to_chat_id": -1001},
    }
    with pytest.raises(Refused) as caught:
        read_answer(400, json.dumps(body).encode())
    assert caught.value.migrate_to == -1001


@pytest.mark.parametrize("status", [200, 400, 502])
@pytest.mark.parametrize(
    ("code", "error"),
    [(400, Refused), (401, RefusedToken), (403, Refused), (429, TooMany), (500, ServerFailed)],
)
def test_the_answer_says_what_is_wrong_and_not_the_status(
    status: int, code: int, error: type[ApiError]
) -> None:
    """Proxies change the status; a no is a no, with 200 too."""
    body = {"ok": False, "error_code": code, "description": "because"}
    with pytest.raises(error):
        read_answer(status, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 1.0),
        ("-3", 1.0),
        ('"7"', 1.0),
        ("null", 1.0),
        ("NaN", 1.0),
        ("Infinity", module.LONGEST_WAIT),
        ("1" + "0" * 400, module.LONGEST_WAIT),
    ],
)
def test_a_wait_is_a_number_of_seconds_whatever_is_told(told: str, seconds: float) -> None:
    """A number that no clock can count is a very long time, and no fault of ours."""
    body = f'{{"ok":false,"error_code":429,"parameters":{{"retry_after":{told}}}}}'
    with pytest.raises(TooMany) as caught:
        read_answer(429, body.encode())
    assert caught.value.retry_after == seconds


async def test_a_method_that_the_server_does_not_know_is_no_refused_token(api: BotApi) -> None:
    """An older Bot API server of one's own refuses the call, and the chat goes on."""
    with pytest.raises(Refused) as caught:
        await api.call("sendTelepathy", {})
    assert not isinstance(caught.value, RefusedToken)
