"""What a model can take in, as providers tell it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from agent import windows
from agent.model import OpenAIModel
from agent.request import ModelOptions
from agent.sizes import DEFAULT_WINDOW as DEFAULT
from agent.windows import ASK_AGAIN, PATIENCE, Window, found_in
from daemon.demo.http import Request, Response, serve


def listing(**fields: Any) -> bytes:
    other = {"id": "other", "context_length": 9000}
    return json.dumps({"object": "list", "data": [other, {"id": "m", **fields}]}).encode()


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        ({"context_length": 128_000}, 128_000),
        ({"context_window": 131_072}, 131_072),
        ({"max_model_len": 40_960}, 40_960),
        ({"max_model_len": "8192"}, 8192),
        ({"meta": {"n_ctx_train": 9216}}, 9216),
        ({"context_length": None, "top_provider": {"context_length": 200_000}}, 200_000),
        ({"context_length": 2e5}, 200_000),
        ({"context_length": 0, "max_model_len": 8192}, 8192),
        ({"context_length": 10**12}, None),
        ({"context_length": "large"}, None),
        ({}, None),
    ],
)
def test_each_provider_says_it_in_its_way(fields: dict[str, Any], window: int | None) -> None:
    """In this model's own entry; what cannot be a window is none."""
    assert found_in(listing(**fields), "m") == window


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["data", "id", "context_length", "meta"]), inner)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_nonsense_is_no_window(body: bytes) -> None:
    """Nothing is raised, whatever comes."""
    found = found_in(body, "m")
    assert found is None or found > 0


@pytest.mark.parametrize("name", [[], {}, [{"id": "m"}], None, 1, True])
def test_an_entry_with_an_odd_name_is_another_models(name: Any) -> None:
    """And keeps nobody from finding the right one."""
    odd = {"id": name, "name": name, "context_length": 9000}
    body = json.dumps({"data": [odd, {"id": "m", "context_length": 64_000}]}).encode()
    assert found_in(body, "m") == 64_000


class Lists:
    """A source of lists that counts how often it was asked."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        return self.bodies.pop(0)


async def test_a_list_is_asked_for_once() -> None:
    """However many turns want to know at the same time."""
    lists = Lists(listing(context_length=64_000))
    window = Window("m", 0)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(window.get, lists)
    assert await window.get(lists) == 64_000
    assert lists.asked == 1


async def test_the_owner_knows_best() -> None:
    """What the configuration says is not asked for."""
    lists = Lists()
    assert await Window("m", 9000).get(lists) == 9000
    assert lists.asked == 0


async def test_a_list_that_did_not_come_is_asked_for_later(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the usual window is assumed, without another wait."""

    async def here(function: Any, *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(windows.trio.to_thread, "run_sync", here)
    lists = Lists(b"", listing(context_length=64_000))
    window = Window("m", 0)
    assert [await window.get(lists), await window.get(lists)] == [DEFAULT, DEFAULT]
    await trio.sleep(ASK_AGAIN)
    assert await window.get(lists) == 64_000
    assert lists.asked == 2


async def test_nobody_waits_long(autojump_clock: trio.testing.MockClock) -> None:
    """A provider that is silent is not waited for."""

    async def silent() -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    began = trio.current_time()
    assert await Window("m", 0).get(silent) == DEFAULT
    assert trio.current_time() - began == PATIENCE


@pytest.fixture
async def bodies() -> AsyncIterator[tuple[str, list[Response]]]:
    """A server of lists: its address, and what it answers next."""
    answers: list[Response] = []

    async def handle(request: Request) -> Response:
        assert (request.method, request.path) == ("GET", "/v1/models")
        assert request.headers["authorization"] == "Bearer key"
        return answers.pop(0)

    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        yield f"{root}/v1", answers
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "window"),
    [
        (Response(200, listing(context_length=64_000)), 64_000),
        (Response(404, b"{}"), DEFAULT),
        (Response(200, b"<html>"), DEFAULT),
    ],
)
async def test_the_client_asks_its_provider(
    bodies: tuple[str, list[Response]], answer: Response, window: int
) -> None:
    """With its key; a provider without such a list is no failure."""
    url, answers = bodies
    answers.append(answer)
    model = OpenAIModel(ModelOptions(url, "m", "key"))
    assert await model.window() == window
    assert await model.window() == window
    await model.aclose()


async def test_a_provider_out_of_reach_is_no_failure() -> None:
    """The turn will find out by itself."""
    model = OpenAIModel(ModelOptions("http://127.0.0.1:1/v1", "m"))
    assert await model.window() == DEFAULT
    await model.aclose()
