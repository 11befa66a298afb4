"""Models that stand in for each other, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from attrs import define, field

from agent import retry
from agent.circuit import FAILURES_TO_OPEN
from agent.fallback import Models
from agent.model import OpenAIModel
from agent.parameters import Parameters
from agent.parts import Takes
from agent.ports import ModelFailed
from agent.request import ModelOptions, Request
from agent.sizes import DEFAULT_WINDOW
from agent.transcript import Answer, Usage
from daemon.demo.http import Request as HttpRequest
from daemon.demo.http import Response, serve
from daemon.demo.model import ModelServer
from daemon.demo.replies import ModelFault, Reply

HELLO = [{"role": "user", "content": "hello"}]


@define
class Pair:
    """Two servers, the models at them, and what was remarked."""

    first: ModelServer
    second: ModelServer
    models: Models
    remarks: list[str] = field(factory=list)

    async def ask(self, **more: Any) -> Answer:
        return await self.models.complete(HELLO, [], **more)

    def asked(self) -> tuple[int, int]:
        return len(self.first.requests), len(self.second.requests)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    first, second = (
        ModelServer(lambda _: "from the first"),
        ModelServer(lambda _: "from the second"),
    )
    async with trio.open_nursery() as nursery:
        urls = [await nursery.start(server.serve) for server in (first, second)]
        options = [
            ModelOptions(url, name, max_attempts=2) for url, name in zip(urls, "ab", strict=True)
        ]
        models = Models([OpenAIModel(each) for each in options])
        pair = Pair(first, second, models)
        models.remark = pair.remarks.append
        yield pair
        await models.aclose()
        nursery.cancel_scope.cancel()


async def failure_of(pair: Pair) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await pair.ask()
    return caught.value


async def test_the_first_answers_while_it_can(pair: Pair) -> None:
    """The others are not even connected to; nothing is remarked."""
    assert await pair.ask() == Answer("from the first", (), (await pair.ask()).usage)
    assert pair.asked() == (2, 0)
    assert pair.models.models[1]._client is None
    assert pair.remarks == []


@pytest.mark.parametrize(
    ("status", "tries"), [(500, 2), (429, 2), (401, 1), (402, 1), (403, 1), (404, 1)]
)
async def test_the_next_steps_in(pair: Pair, status: int, tries: int) -> None:
    """After the first one's own attempts; the answer says who gave it, and the log why."""
    pair.first.faults.add(ModelFault(status=status, times=-1))
    answer = await pair.ask()
    assert (answer.text, answer.model) == ("from the second", "b")
    assert pair.asked() == (tries, 1)
    assert pair.remarks[0].startswith(f"a gave no answer: HTTP {status}")


async def test_a_long_wait_is_not_waited_for_while_another_can_be_asked(pair: Pair) -> None:
    """The provider's wait keeps the first from being asked again before its time."""
    pair.first.faults.add(ModelFault(status=429, retry_after=40))
    assert (await pair.ask()).model == "b"
    assert (await pair.ask()).model == "b"
    assert pair.asked() == (1, 2)
    assert pair.remarks[-1] == "a is not asked for the next 40 s"


async def test_a_window_that_is_too_small_is_passed_on(pair: Pair) -> None:
    """The model is not down: the next message is its own again."""
    words = "This model's maximum context length is 8192 tokens."
    for _ in range(FAILURES_TO_OPEN + 1):
        pair.first.faults.add(ModelFault(status=400, message=words))
        assert (await pair.ask()).model == "b"
    assert (await pair.ask()).text == "from the first"


async def test_a_request_at_fault_is_nobody_elses(pair: Pair) -> None:
    """It would be refused by all, and no model is down for it."""
    for _ in range(FAILURES_TO_OPEN + 1):
        pair.first.faults.add(ModelFault(status=400, message="bad messages"))
        assert "bad messages" in (await failure_of(pair)).error
    assert pair.asked() == (FAILURES_TO_OPEN + 1, 0)
    assert (await pair.ask()).text == "from the first"


async def test_a_model_that_is_down_is_left_alone(pair: Pair) -> None:
    """After some failures in a row it is not waited for, and the log says for how long."""
    pair.first.faults.add(ModelFault(status=500, times=-1))
    for _ in range(FAILURES_TO_OPEN):
        await pair.ask()
    before = pair.asked()
    assert (await pair.ask()).model == "b"
    assert pair.asked() == (before[0], before[1] + 1)
    assert pair.remarks[-1] == "a is not asked for the next 30 s"


async def test_when_all_are_down_one_is_asked(pair: Pair) -> None:
    """Somebody waits for an answer, and it may be back."""
    for server in (pair.first, pair.second):
        server.faults.add(ModelFault(status=500, times=-1))
    for _ in range(FAILURES_TO_OPEN):
        await failure_of(pair)
    pair.first.faults.clear()
    pair.second.faults.clear()
    assert (await pair.ask()).text == "from the first"


async def test_when_none_answers_the_first_failure_is_told(pair: Pair) -> None:
    """It is about the model that people chose; and it was paid for if any may have been."""
    pair.first.faults.add(ModelFault(status=401, times=-1))
    pair.second.faults.add(ModelFault(cut_before=True, times=-1))
    failure = await failure_of(pair)
    assert "refused the API key" in failure.sentence
    assert failure.lost == (Usage(model="b"),) * 2, "whose they were decides what they cost"


async def test_the_next_is_asked_the_same(pair: Pair) -> None:
    """Its answer is whole; what was lost before it is told with it."""
    pair.first.script = [Reply("Once upon a time", chunks=4)]
    pair.first.faults.add(ModelFault(cut_after=2))
    pair.first.faults.add(ModelFault(status=401))
    pair.second.script = [Reply("too soon", chunks=2), Reply("There was a bot.")]
    pair.second.faults.add(ModelFault(cut_after=1))
    seen: list[str] = []
    answer = await pair.ask(on_text=seen.append)
    assert answer.text == "There was a bot." == seen[-1]
    assert answer.lost == (Usage(), Usage(model="b"))
    assert [request.messages for request in pair.second.requests] == [HELLO, HELLO]


async def test_the_longest_text_is_kept_when_nobody_answers(pair: Pair) -> None:
    """It reaches the person with the remark that it breaks off, whoever it is by."""
    pair.first.script = [Reply("one two", chunks=2)] * 2
    pair.second.script = [Reply("three and four", chunks=2)]
    pair.first.faults.add(ModelFault(cut_after=1, times=-1))
    pair.second.faults.add(ModelFault(cut_after=1))
    pair.second.faults.add(ModelFault(status=503))
    failure = await failure_of(pair)
    assert failure.partial == "three a"
    assert failure.sentence == "The connection to the model was lost."
    assert len(failure.lost) == 3, "the error that came in place of a stream cost nothing"


# --- A model that is named ---


async def test_a_model_that_is_named_is_asked_of_the_same_provider(pair: Pair) -> None:
    """With the first one's key and wishes; what is known of the first's window is not of it."""
    chosen = Parameters(temperature=0.5)
    for model in pair.models.models[:1]:
        model.options = attrs.evolve(model.options, parameters=chosen, context_window=9000)
    answer = await pair.models.ask(Request(HELLO, []), "large")
    assert (answer.text, answer.model) == ("from the first", "")
    (asked,) = pair.first.requests
    assert (asked.body["model"], asked.body["temperature"]) == ("large", 0.5)
    assert pair.models.window_so_far("large") == DEFAULT_WINDOW
    await pair.models.ask(Request(HELLO, []), "large")
    assert len(pair.models._named) == 1


async def test_the_same_stand_in_for_a_model_that_is_named(pair: Pair) -> None:
    """Not the first of the list, which was not chosen; each circuit is one, whoever asks."""
    pair.first.faults.add(ModelFault(status=500, times=-1))
    for _ in range(FAILURES_TO_OPEN):
        assert (await pair.models.ask(Request(HELLO, []), "large")).model == "b"
    assert {request.body["model"] for request in pair.first.requests} == {"large"}
    assert pair.remarks[-1] == "large is not asked for the next 30 s"
    pair.first.faults.clear()
    assert (await pair.ask()).text == "from the first", "the first model is not down for it"
    assert (await pair.models.ask(Request(HELLO, []), "large")).model == "b"


async def test_a_name_of_the_list_is_that_model(pair: Pair) -> None:
    """At its own address; it does not stand in for itself."""
    answer = await pair.models.ask(Request(HELLO, []), "b")
    assert (answer.text, answer.model) == ("from the second", "")
    pair.second.faults.add(ModelFault(status=404, times=-1))
    with pytest.raises(ModelFailed, match="404"):
        await pair.models.ask(Request(HELLO, []), "b")
    assert pair.asked() == (0, 2)


async def test_what_is_taken_besides_text_is_of_the_model_that_is_named(pair: Pair) -> None:
    """The first model's eyes are not its own."""
    assert pair.models.sees() == Takes()
    assert pair.models.sees("gpt-4o") == Takes(images=True)
    assert pair.models.sees("b") == Takes()


async def test_a_single_model_is_asked_whatever_its_circuit_says(pair: Pair) -> None:
    """So nothing else is remarked."""
    alone = Models(pair.models.models[:1], pair.remarks.append)
    pair.first.faults.add(ModelFault(status=500, times=-1))
    for _ in range(FAILURES_TO_OPEN + 1):
        with pytest.raises(ModelFailed):
            await alone.complete(HELLO, [])
    assert len(pair.first.requests) == 2 * (FAILURES_TO_OPEN + 1)
    assert pair.remarks == []


# --- Windows ---


async def test_a_window_is_learnt_beside_those_who_would_like_to_know() -> None:
    """They are told what fits any model, at once; afterwards, what the provider has said."""
    held, listed = trio.Event(), trio.Event()

    async def handle(request: HttpRequest) -> Response:
        await held.wait()
        listed.set()
        entry = {"id": request.path.split("/")[1], "context_length": 64_000}
        return Response(200, json.dumps({"data": [entry, {"id": "n", "n_ctx": 9000}]}).encode())

    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        models = Models([OpenAIModel(ModelOptions(f"{root}/m", "m"))])
        nursery.start_soon(models.learn)
        asked = [models.window_so_far(), models.window_so_far("n")]
        assert asked == [DEFAULT_WINDOW, DEFAULT_WINDOW]
        await trio.testing.wait_all_tasks_blocked()
        held.set()
        await listed.wait()
        assert [await models.window(), await models.window("n")] == [64_000, 9000]
        assert [models.window_so_far(), models.window_so_far("n")] == [64_000, 9000]
        await models.aclose()
        nursery.cancel_scope.cancel()


async def test_the_window_of_one_that_stands_in_is_learnt_where_it_is_named() -> None:
    """As a specialist's own model may be; nobody asks the others, who were not wanted."""
    asked, listed = list[str](), trio.Event()

    async def handle(request: HttpRequest) -> Response:
        name = request.path.split("/")[1]
        asked.append(name)
        listed.set()
        return Response(200, json.dumps({"data": [{"id": name, "n_ctx": 9000}]}).encode())

    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        models = Models([OpenAIModel(ModelOptions(f"{root}/{name}", name)) for name in "abc"])
        nursery.start_soon(models.learn)
        assert models.window_so_far("b") == DEFAULT_WINDOW
        with trio.fail_after(20):
            await listed.wait()
        assert await models.window("b") == models.window_so_far("b") == 9000
        assert asked == ["b"]
        await models.aclose()
        nursery.cancel_scope.cancel()
