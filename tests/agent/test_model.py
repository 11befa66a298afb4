"""The model's client against a model server, over real HTTP."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest
import trio

from agent import retry
from agent.model import OpenAIModel
from agent.ports import ModelFailed
from agent.request import ModelOptions
from agent.transcript import UNCOUNTED, Answer, CallRequest, Usage
from daemon.demo.http import Request, Response, Stream, serve
from daemon.demo.model import ModelServer
from daemon.demo.replies import ModelFault, Reply, ToolCall

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "bash",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {},
            "required": [],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A model server that answers "fine" unless a test says otherwise."""
    server = ModelServer(lambda _request: "fine")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
async def model(server: ModelServer) -> AsyncIterator[OpenAIModel]:
    """A client that tries three times."""
    model = OpenAIModel(ModelOptions(server.base_url, "some-model", max_attempts=3))
    yield model
    await model.aclose()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What the retry policy decided, without waiting for it."""
    decided: list[float | None] = []
    policy = retry.delay

    def at_once(*args: Any) -> float | None:
        decided.append(policy(*args))
        return None if decided[-1] is None else 0.0

    monkeypatch.setattr(retry, "delay", at_once)
    return decided


async def ask(model: OpenAIModel, **more: Any) -> Answer:
    return await model.complete(HELLO, [], **more)


async def failure_of(model: OpenAIModel) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await ask(model)
    return caught.value


def connections(model: OpenAIModel) -> list[Any]:
    """The connections in the client's pool, whose names are the library's."""
    assert model._client is not None
    pool: list[Any] = model._client._client._transport._pool.connections  # type: ignore[attr-defined]  # no public way
    return pool


# --- Requests ---


async def test_a_plain_answer(server: ModelServer, model: OpenAIModel) -> None:
    """Text, which is seen as it grows, and what it took."""
    server.script = [Reply("a longer answer", chunks=4, usage=(20, 5), pause=0.01)]
    seen: list[str] = []
    answer = await ask(model, on_text=seen.append)
    assert answer == Answer("a longer answer", (), Usage(20, 0, 5))
    assert len(seen) > 2
    assert seen == sorted(set(seen), key=len)
    assert seen[-1] == answer.text


async def test_the_request_is_what_was_asked_for(server: ModelServer, model: OpenAIModel) -> None:
    """Each message once, the tools only if there are any, the usage wanted, the key sent."""
    await model.complete([{"role": "system", "content": "s"}, *HELLO], [TOOL])
    await model.complete(HELLO, [])
    with_tools, without = server.requests
    assert with_tools.body == {
        "messages": [{"role": "system", "content": "s"}, *HELLO],
        "model": "some-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [TOOL],
    }
    assert without.messages == HELLO
    assert "tools" not in without.body
    assert without.headers["authorization"] == "Bearer none"
    assert server.refusals == []


async def test_tool_calls_come_whole(server: ModelServer, model: OpenAIModel) -> None:
    """Arguments in fragments, malformed ones too, and text beside calls."""
    calls = (ToolCall("bash", {"command": "ls -l"}, "a"), ToolCall("bash", "{not json", "a"))
    server.script = [Reply("Let me look.", calls, finish="stop")]
    answer = await model.complete(HELLO, [TOOL])
    assert answer.text == "Let me look."
    assert answer.calls == (
        CallRequest("a", "bash", '{"command": "ls -l"}'),
        CallRequest("a", "bash", "{not json"),
    )


async def test_a_connection_is_used_again(server: ModelServer, model: OpenAIModel) -> None:
    """A stream is read to its end, so the next call needs no handshake."""
    await ask(model)
    (first,) = connections(model)
    await ask(model)
    assert connections(model) == [first]


async def test_the_library_is_built_once(model: OpenAIModel) -> None:
    """However many turns begin at once."""
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(model.warm)
    client = model._client
    await model.warm()
    assert model._client is client
    assert client is not None
    assert client.max_retries == 0


# --- Refusals and faults ---


@pytest.mark.parametrize(
    ("status", "words", "tries"),
    [
        (400, "refused the request", 1),
        (401, "model.api_key", 1),
        (402, "paid", 1),
        (404, "'some-model'", 1),
        (408, "refused the request", 3),
        (429, "limiting", 3),
        (500, "trouble at its end", 3),
        (503, "trouble at its end", 3),
    ],
)
async def test_a_refusal_is_one_clear_sentence(
    server: ModelServer, model: OpenAIModel, status: int, words: str, tries: int
) -> None:
    """What may pass is tried again, what was refused is not; and the next message works."""
    fault = server.faults.add(ModelFault(status=status, message="because", times=-1))
    failure = await failure_of(model)
    assert words in failure.sentence
    assert failure.error == f"HTTP {status}: because"
    assert fault.used == tries
    assert failure.partial == ""
    lost = tries if status == 408 else 0
    assert len(failure.lost) == lost, "only who gave up waiting may have had a model at work"
    server.faults.clear()
    assert (await ask(model)).text == "fine"


@pytest.mark.parametrize(
    "fault",
    [
        ModelFault(status=429, retry_after=1),
        ModelFault(status=500),
        ModelFault(status=502, body=b"<html>Bad Gateway</html>"),
        ModelFault(status=200, body=b"<html>Welcome to the hotel's network</html>"),
        ModelFault(status=200, body=b""),
        ModelFault(status=200, body=b"", content_type="text/event-stream"),
        ModelFault(status=200, body=b"data: {nonsense\n\n"),
        ModelFault(status=200, body=b"data: [DONE]\n\n"),
        ModelFault(cut_before=True),
        ModelFault(cut_after=0),
        ModelFault(stream_error="overloaded"),
    ],
    ids=lambda fault: f"{fault.status}-{fault.body}-{fault.cut_before}-{fault.stream_error}",
)
async def test_one_fault_is_not_noticed(
    server: ModelServer, model: OpenAIModel, fault: ModelFault
) -> None:
    """The request is made again, the same to the letter, and the answer is the answer."""
    server.faults.add(fault)
    assert (await ask(model)).text == "fine"
    assert [request.messages for request in server.requests] == [HELLO, HELLO]


@pytest.mark.parametrize(
    ("fault", "sentence", "error"),
    [
        (
            ModelFault(status=200, body=b"<html>"),
            "The model provider did not answer as a model does; model.base_url may be wrong.",
            "a body without events",
        ),
        (
            ModelFault(status=200, body=b"data: {x\n\n"),
            "The model provider did not answer as a model does; model.base_url may be wrong.",
            "bad stream: an event that is not JSON: '{x'",
        ),
        (
            ModelFault(stream_error="overloaded"),
            "The model provider reported an error: overloaded",
            "reported: overloaded",
        ),
        (ModelFault(cut_before=True), "I cannot reach the model provider.", "connection: "),
        (ModelFault(cut_after=0), "The connection to the model was lost.", "connection: "),
    ],
    ids=["a page", "nonsense", "an error", "cut at once", "cut at the first"],
)
async def test_a_lasting_fault_is_named(
    server: ModelServer, model: OpenAIModel, fault: ModelFault, sentence: str, error: str
) -> None:
    """The person hears what is wrong, and the log more precisely."""
    fault.times, fault.used = -1, 0
    server.faults.add(fault)
    failure = await failure_of(model)
    assert failure.sentence == sentence
    assert failure.error.startswith(error)
    assert fault.used == 3


async def test_nobody_listens(server: ModelServer) -> None:
    """A port where no server is."""
    model = OpenAIModel(ModelOptions("http://127.0.0.1:1/v1", "m", max_attempts=2))
    failure = await failure_of(model)
    assert failure.sentence == "I cannot reach the model provider."
    assert "refused" in failure.error.lower()
    assert failure.lost == ()
    await model.aclose()


async def test_one_try_that_may_have_been_paid_for_is_enough() -> None:
    """Though the last one was refused."""
    async with trio.open_nursery() as nursery:
        server = ModelServer()
        base_url = await nursery.start(server.serve)
        model = OpenAIModel(ModelOptions(base_url, "m", max_attempts=2))
        server.faults.add(ModelFault(cut_before=True))
        server.faults.add(ModelFault(status=401))
        failure = await failure_of(model)
        assert failure.error.startswith("HTTP 401")
        assert failure.lost == UNCOUNTED
        await model.aclose()
        nursery.cancel_scope.cancel()


async def test_a_server_that_takes_no_connection_was_asked_nothing() -> None:
    """Its queue is full: the connection is waited for, and nothing of the request was sent."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        model = OpenAIModel(ModelOptions(url, "m", max_attempts=1, connect_timeout=0.1))
        failure = await failure_of(model)
        await model.aclose()
    assert (failure.sentence, failure.error) == ("I cannot reach the model provider.", "timeout")
    assert failure.lost == ()


async def test_a_handshake_that_fails_costs_nothing(server: ModelServer) -> None:
    """A server that does not speak TLS has read no request."""
    url = server.base_url.replace("http:", "https:")
    model = OpenAIModel(ModelOptions(url, "m", max_attempts=1))
    failure = await failure_of(model)
    assert failure.sentence == "I cannot reach the model provider."
    assert failure.lost == ()
    await model.aclose()


EVENT = b'data: {"choices": [{"delta": {"content": ""}}]}\n\n'
LIMITED = b'data: {"error": {"code": 429, "message": "limited"}}\n\n'


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        (ModelFault(status=200, body=LIMITED), 0),
        (ModelFault(status=200, body=EVENT + LIMITED), 1),
        (ModelFault(status=200, body=LIMITED.replace(b"429", b"null")), 1),
        (ModelFault(status=504), 1),
        (ModelFault(status=400, body=b'{"error": {"code": "content_filter"}}'), 1),
    ],
    ids=["in place of a stream", "in a stream", "without a status", "given up", "filtered"],
)
async def test_what_may_have_been_billed_is_counted(fault: ModelFault, lost: int) -> None:
    """All but an error that came in place of an answer, with the status of one."""
    server = ModelServer()
    fault.times, fault.content_type = -1, "application/json"
    server.faults.add(fault)
    async with trio.open_nursery() as nursery:
        model = OpenAIModel(ModelOptions(await nursery.start(server.serve), "m", max_attempts=1))
        assert len((await failure_of(model)).lost) == lost
        await model.aclose()
        nursery.cancel_scope.cancel()


async def test_a_used_up_quota_is_not_waited_for(model: OpenAIModel) -> None:
    """It comes as a 429 and does not come back."""
    error = {"message": "You exceeded your quota", "code": "insufficient_quota"}
    body = json.dumps({"error": error}).encode()
    fault = ModelFault(status=429, body=body, content_type="application/json", times=-1)
    failure = await answered_by(fault)
    assert "paid" in failure.sentence
    assert fault.used == 1


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"error": "no such model"}', "no such model"),
        (b'{"detail": [{"msg": "missing"}]}', "{'detail': [{'msg': 'missing'}]}"),
        (b"plain\n  words", "plain words"),
        (b"<html>a page</html>", "without a reason"),
        (b"", "without a reason"),
    ],
)
async def test_the_providers_words_are_found(body: bytes, detail: str) -> None:
    """Not every server puts them where OpenAI does; a page holds none."""
    failure = await answered_by(ModelFault(status=400, body=body, content_type="application/json"))
    assert failure.sentence == f"The model provider refused the request: {detail}"


async def answered_by(fault: ModelFault) -> ModelFailed:
    """How a fault ends a call."""
    server = ModelServer()
    server.faults.add(fault)
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(server.serve)
        model = OpenAIModel(ModelOptions(base_url, "m", max_attempts=3))
        failure = await failure_of(model)
        await model.aclose()
        nursery.cancel_scope.cancel()
    return failure


# --- Retry-After ---


def http_date(seconds: float) -> str:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return email.utils.format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("2.5", 2.5, 2.5),
        (30, 20, 31),
        (-3600, 0, 0.5),
        ("soon", 0, 0.5),
        ("nan", 0, 0.5),
        ("-5", 0, 0.5),
        ("Mon, 99 Foo 99999 99:99:99 GMT", 0, 0.5),
        ("Mon, 01 Jan 0000 00:00:00 GMT", 0, 0.5),
        ("", 0, 0.5),
    ],
)
async def test_retry_after_is_understood(
    waits: list[float | None], value: str | int, low: float, high: float
) -> None:
    """Seconds or a date (so many seconds from now); nonsense is as good as nothing."""
    await throttled(value)
    assert waits[0] is not None
    assert low <= waits[0] <= high


@pytest.mark.parametrize("value", ["86400", "inf", "1e999", 86400])
async def test_a_day_is_not_waited_for(waits: list[float | None], value: str | int) -> None:
    """A person waits for this answer."""
    await throttled(value)
    assert waits == [None]


async def throttled(value: str | int) -> None:
    """Be answered by 429 and this Retry-After."""
    text = value if isinstance(value, str) else http_date(value)

    async def handle(request: Request) -> Response:
        await request.body()
        return Response(429, b"{}", headers=(("retry-after", text),))

    assert isinstance(await with_handler(handle, max_attempts=2), ModelFailed)


async def with_handler(handle: Callable[[Request], Any], **options: Any) -> Answer | ModelFailed:
    """Ask a server that answers with `handle`."""
    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        model = OpenAIModel(ModelOptions(root, "m", **options))
        try:
            outcome: Answer | ModelFailed = await ask(model)
        except ModelFailed as failure:
            outcome = failure
        await model.aclose()
        nursery.cancel_scope.cancel()
    return outcome


async def test_an_answer_that_never_ends_is_given_up() -> None:
    """Though the connection is kept alive for ever: who asked may have no time limit of his own."""

    async def alive() -> AsyncGenerator[bytes, None]:
        yield b'data: {"choices": [{"delta": {"content": "Once"}}]}\n\n'
        while True:
            yield b": still at work\n\n"
            await trio.sleep(0.01)

    async def handle(request: Request) -> Stream:
        await request.body()
        return Stream(alive())

    failure = await with_handler(handle, max_attempts=3, answer_timeout=0.3)
    assert isinstance(failure, ModelFailed)
    assert failure.sentence == "The model did not answer in time."
    assert failure.error == "no end within 0.3 s"
    assert failure.partial == "Once"
    assert failure.lost == UNCOUNTED, "it is not asked for again"


# --- Answers that break off ---


async def test_a_cut_answer_is_asked_for_again(server: ModelServer, model: OpenAIModel) -> None:
    """By the same request, and what comes then is the answer; who watches sees it begin anew."""
    server.script = [Reply("Once upon a time", chunks=4), Reply("There was a bot.", chunks=2)]
    server.faults.add(ModelFault(cut_after=2))
    seen: list[str] = []
    answer = await ask(model, on_text=seen.append)
    assert answer.text == "There was a bot." == seen[-1]
    assert seen[0].startswith("Once")
    first, second = server.requests
    assert first.body == second.body
    assert server.refusals == []


async def test_the_longest_cut_answer_is_not_thrown_away(
    server: ModelServer, model: OpenAIModel
) -> None:
    """When the attempts are used up, the failure carries it; the others are its beginnings."""
    server.script = [Reply(text, chunks=2) for text in ("one two", "three and four", "five")]
    server.faults.add(ModelFault(cut_after=1))
    server.faults.add(ModelFault(cut_after=1, stream_error="overloaded"))
    server.faults.add(ModelFault(cut_after=1))
    failure = await failure_of(model)
    assert failure.partial == "three a"
    assert failure.sentence == "The connection to the model was lost."
    assert len(server.requests) == 3


async def test_a_refusal_after_a_cut_keeps_what_was_said(
    server: ModelServer, model: OpenAIModel
) -> None:
    """An error after the cut is the reason that is given."""
    server.script = [Reply("one two", chunks=2)]
    server.faults.add(ModelFault(cut_after=1))
    server.faults.add(ModelFault(status=401))
    failure = await failure_of(model)
    assert (failure.partial, failure.error[:8]) == ("one ", "HTTP 401")


async def test_a_cut_in_white_space_leaves_nothing_to_tell(
    server: ModelServer, model: OpenAIModel
) -> None:
    """A remark that an answer breaks off needs an answer."""
    server.script = [Reply("\n\nhello", chunks=4)] * 3
    server.faults.add(ModelFault(cut_after=1, times=-1))
    assert (await failure_of(model)).partial == ""


async def test_a_cut_call_is_made_again(server: ModelServer, model: OpenAIModel) -> None:
    """Half a call is no call, and the text before it is said again with it."""
    call = ToolCall("bash", {"command": "something rather long"}, "a")
    server.script = [Reply("Look: ", (call,), chunks=1), Reply("Look here: ", (call,))]
    server.faults.add(ModelFault(cut_after=3))
    answer = await model.complete(HELLO, [TOOL])
    assert answer.text == "Look here: "
    assert answer.calls == (CallRequest("a", "bash", call.raw),)


async def test_what_was_lost_on_the_way_is_told(server: ModelServer, model: OpenAIModel) -> None:
    """An attempt that may have been paid for, as it was counted or not; a refusal is none."""
    server.script = [Reply("cut off", chunks=2), Reply("", usage=(20, 5)), Reply("there")]
    server.faults.add(ModelFault(cut_after=1))
    assert (await ask(model)).lost == (Usage(), Usage(20, 0, 5))
    server.script = None
    server.faults.add(ModelFault(status=429))
    assert (await ask(model)).lost == ()


def events(*values: Any) -> list[bytes]:
    return [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def streaming(*chunks: bytes, cut: bool = False) -> Callable[[Request], Any]:
    """A handler that streams these bytes, and may then cut the connection."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def handle(request: Request) -> Response | Stream:
        await request.body()
        if cut:
            return Response(200, b"".join(chunks) + b"...", cut_at=sum(map(len, chunks)))
        return Stream(body())

    return handle


async def test_an_answer_that_was_whole_survives_the_cut() -> None:
    """The model had said that it was done; only usage and [DONE] are missing."""
    handle = streaming(*events(delta("stop", content="all")), cut=True)
    assert await with_handler(handle, max_attempts=1) == Answer("all")


async def test_an_end_without_a_reason_is_no_end() -> None:
    """A proxy that lost its own connection says [DONE], too."""
    handle = streaming(*events(delta(content="some")), b"data: [DONE]\n\n")
    outcome = await with_handler(handle, max_attempts=1)
    assert isinstance(outcome, ModelFailed)
    assert outcome.partial == "some"


@pytest.mark.parametrize(
    ("reason", "note", "failure"),
    [
        ("length", "length limit", "before it had answered"),
        ("content_filter", "content filter stopped it", "stopped the answer"),
    ],
)
async def test_an_answer_that_was_ended_says_so(
    server: ModelServer, model: OpenAIModel, reason: str, note: str, failure: str
) -> None:
    """A limit or a filter is named in the answer, or in place of it; asking again is no use."""
    server.script = [Reply("As I was", finish=reason), Reply("", finish=reason)]
    answer = await ask(model)
    assert answer.text.startswith("As I was\n\n[The answer ends here: ")
    assert note in answer.text
    assert failure in (await failure_of(model)).sentence
    assert len(server.requests) == 2


async def test_an_empty_answer_is_asked_for_again(server: ModelServer, model: OpenAIModel) -> None:
    """Only thoughts, or nothing at all: it may be better the next time."""
    server.script = [Reply(""), Reply(" \n"), Reply("there")]
    assert (await ask(model)).text == "there"


async def test_a_server_that_does_not_stream() -> None:
    """One object in place of the stream is an answer."""
    choice = {"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3}}, indent=1).encode()

    async def handle(request: Request) -> Response:
        await request.body()
        return Response(200, body)

    assert await with_handler(handle) == Answer("whole", (), Usage(3, 0, 0))


async def test_half_characters_do_not_come_back(server: ModelServer, model: OpenAIModel) -> None:
    """Text that came with a lone surrogate can be sent in the next request."""
    handle = streaming(*events(delta("stop", content="a\ud83d b")))
    answer = await with_handler(handle)
    assert answer == Answer("a\ufffd b")
    await model.complete([*HELLO, {"role": "assistant", "content": answer.text}, *HELLO], [])


# --- Time and cancellation ---


async def test_a_stall_is_a_read_timeout(server: ModelServer) -> None:
    """Silence ends the attempt, and the next one is answered."""
    options = ModelOptions(server.base_url, "m", read_timeout=0.05, max_attempts=2)
    model = OpenAIModel(options)
    server.faults.add(ModelFault.stalled())
    assert (await ask(model)).text == "fine"
    server.faults.add(ModelFault.stalled(times=-1))
    failure = await failure_of(model)
    assert (failure.sentence, failure.error) == ("The model did not answer in time.", "timeout")
    await model.aclose()


async def test_silence_in_the_middle_is_a_cut() -> None:
    """The timeout is for each piece, and what had come is kept."""

    async def body() -> AsyncIterator[bytes]:
        yield events(delta(content="one "))[0]
        await trio.sleep_forever()

    async def handle(request: Request) -> Stream:
        await request.body()
        return Stream(body())

    outcome = await with_handler(handle, read_timeout=0.1, max_attempts=1)
    assert isinstance(outcome, ModelFailed)
    assert (outcome.partial, outcome.error) == ("one ", "timeout")


async def test_cancelled_in_mid_stream_nothing_is_left(
    server: ModelServer, model: OpenAIModel
) -> None:
    """The connection is closed, and the next call opens its own."""
    server.script = [Reply("a long answer indeed", chunks=4, pause=0.02), Reply("next")]
    await model.warm()
    with trio.CancelScope() as scope:
        await ask(model, on_text=lambda _text: scope.cancel())
    assert scope.cancelled_caught
    assert connections(model) == []
    assert (await ask(model)).text == "next"


async def test_a_storm_of_cancellations_leaks_nothing(
    server: ModelServer, model: OpenAIModel
) -> None:
    """Cancelled before, at and after the first byte, fifty times at once; then it just works."""
    await model.warm()
    server.script = lambda _request: Reply("a b c d", chunks=4, pause=0.005)

    async def cancelled(seconds: float) -> None:
        with trio.move_on_after(seconds):
            await ask(model)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(cancelled, number / 1000)
    assert all(connection.is_idle() for connection in connections(model))
    assert (await ask(model)).text == "a b c d"
