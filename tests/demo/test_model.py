"""The offline model, joined with the real client library."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.chatrules import check_messages, check_request
from daemon.demo.model import ModelServer
from daemon.demo.replies import ModelFault, Reply, ToolCall
from daemon.demo.servers import DemoServers
from daemon.demo.sound import silence

# The library leaves the generators of a stream to the collector, which Trio's mode reports.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"}},
                "required": [key],
                "additionalProperties": False,
            },
        },
    }
    for name, key in (
        ("calculate_expression", "expression"),
        ("current_datetime", "timezone"),
        ("python_execute", "code"),
        ("bash", "command"),
    )
]


def client_of(model: ModelServer, http: Any = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=model.base_url, api_key="key", max_retries=0, timeout=5, http_client=http
    )


@pytest.fixture
async def client(demo: DemoServers) -> Any:
    http = openai.DefaultAsyncHttpxClient(verify=False, trust_env=False)
    async with client_of(demo.model, http) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, *texts: str, **more: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": text} for text in texts]
    return await client.chat.completions.create(model="m", messages=messages, **more)


async def stream(client: openai.AsyncOpenAI, text: str, **more: Any) -> list[Any]:
    answer = await ask(client, text, stream=True, stream_options={"include_usage": True}, **more)
    return [chunk async for chunk in answer]


def joined(chunks: list[Any]) -> tuple[str, list[tuple[str, str, str]]]:
    """Give the text and the calls that a stream's chunks amount to."""
    text, calls = "", {}
    for chunk in chunks:
        delta = chunk.choices[0].delta if chunk.choices else None
        text += (delta and delta.content) or ""
        for part in (delta and delta.tool_calls) or ():
            call = calls.setdefault(part.index, ["", "", ""])
            call[0] += part.id or ""
            call[1] += part.function.name or ""
            call[2] += part.function.arguments or ""
    return text, [(a, b, c) for a, b, c in calls.values()]


async def test_a_plain_answer_streams(client: openai.AsyncOpenAI) -> None:
    """An answer comes in several deltas, then a finish reason, then the usage."""
    chunks = await stream(client, "the quick brown fox jumps")
    assert len(chunks) > 5
    assert joined(chunks)[0] == "(offline demo model) You said: the quick brown fox jumps"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens > 0


async def test_a_plain_answer_at_once(client: openai.AsyncOpenAI) -> None:
    """Without streaming it is one object."""
    answer = await ask(client, "hello")
    assert "offline demo model" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0


async def test_a_tool_call_goes_round(client: openai.AsyncOpenAI) -> None:
    """A sum becomes a tool call in fragments, and its result a sentence."""
    chunks = await stream(client, "what is 17 * (3 + 4)?", tools=TOOLS)
    ((call_id, name, arguments),) = joined(chunks)[1]
    assert (name, arguments) == ("calculate_expression", '{"expression": "17 * (3 + 4)"}')
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    function = {"name": name, "arguments": arguments}
    messages: list[Any] = [
        {"role": "user", "content": "what is 17 * (3 + 4)?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": "119"},
    ]
    answer = await client.chat.completions.create(model="m", messages=messages)
    assert answer.choices[0].message.content == "17 * (3 + 4) = 119"


async def test_a_recording_is_described(client: openai.AsyncOpenAI) -> None:
    """The model has no ears and says so, with what it knows of the file."""
    heard = await client.audio.transcriptions.create(model="m", file=("a.wav", b"12345"))
    assert heard.text == "(offline demo model) I cannot hear a.wav, 5 bytes."
    with pytest.raises(openai.BadRequestError, match="needs a file"):
        await client.audio.transcriptions.create(model="", file=("a.wav", b"12345"))


async def test_speech_is_silence_of_the_right_length(client: openai.AsyncOpenAI) -> None:
    """The model has no voice, and what it gives is a voice message all the same."""
    said = await client.audio.speech.create(model="m", voice="alloy", input="Good morning.")
    assert said.content == silence(13 / 15)
    with pytest.raises(openai.BadRequestError, match="needs a model"):
        await client.post("/audio/speech", cast_to=object, body={"model": "m"})


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    """The demo's model has a name."""
    assert [model.id async for model in client.models.list()] == ["famulus-demo"]


async def test_a_script_answers_in_order(demo: DemoServers, client: openai.AsyncOpenAI) -> None:
    """A script's items answer one request each; then the model answers by itself."""
    demo.model.script = [Reply("one", chunks=2), ToolReply, "three"]
    assert joined(await stream(client, "a"))[0] == "one"
    assert joined(await stream(client, "b"))[1] == [("call_7", "bash", "{not json")]
    assert (await ask(client, "c")).choices[0].message.content == "three"
    assert "You said: d" in (await ask(client, "d")).choices[0].message.content
    assert [request.user_text for request in demo.model.requests] == ["a", "b", "c", "d"]


ToolReply = Reply(calls=(ToolCall("bash", "{not json", "call_7"),))


async def test_a_script_may_be_a_function(demo: DemoServers, client: openai.AsyncOpenAI) -> None:
    """A function sees the request."""
    demo.model.script = lambda request: request.user_text.upper()
    assert joined(await stream(client, "loud"))[0] == "LOUD"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ModelFault(status=401), openai.AuthenticationError),
        (ModelFault(status=404), openai.NotFoundError),
        (ModelFault(status=429, retry_after=2), openai.RateLimitError),
        (ModelFault(status=500), openai.InternalServerError),
        (ModelFault(status=502, body=b"<html>"), openai.InternalServerError),
        (ModelFault(cut_before=True), openai.APIConnectionError),
        (ModelFault(cut_after=0), openai.APIConnectionError),
        (ModelFault(cut_after=2), openai.APIConnectionError),
        (ModelFault(stream_error="overloaded"), openai.APIError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_faults_arrive_as_the_library_knows_them(
    demo: DemoServers, client: openai.AsyncOpenAI, fault: ModelFault, error: type[Exception]
) -> None:
    """Each fault is the library's error for it, and the next request is answered."""
    demo.model.faults.add(fault)
    with pytest.raises(error) as caught:
        await stream(client, "a longer text so that there are some deltas")
    if fault.retry_after is not None:
        assert isinstance(caught.value, openai.RateLimitError)
        assert caught.value.response.headers["retry-after"] == "2"
    assert await stream(client, "next")


async def test_a_cut_stream_gives_the_deltas_before_it(demo: DemoServers) -> None:
    """Exactly so many deltas with text come before the cut."""
    demo.model.script = [Reply("x" * 100, chunks=10)]
    demo.model.faults.add(ModelFault(cut_after=3))
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    received = b""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        url = f"{demo.model.base_url}/chat/completions"
        async with http.stream("POST", url, json=body) as response:
            with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 (reading is the loop)
                async for chunk in response.aiter_raw():
                    received += chunk
    assert received.count(b"xxxxxxxxxx") == 3
    assert b"[DONE]" not in received


async def test_an_empty_body_is_an_empty_body(demo: DemoServers) -> None:
    """A 200 with nothing in it can be had."""
    demo.model.faults.add(ModelFault(body=b""))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.post(f"{demo.model.base_url}/chat/completions", json=body)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_stall_lasts_until_it_is_released(
    demo: DemoServers, client: openai.AsyncOpenAI
) -> None:
    """A stalled request is answered once released."""
    stall = demo.model.faults.add(ModelFault.stalled())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream, client, "hello")
        await demo.model.wait_for(lambda _model: stall.used)
        stall.release()


async def test_key_and_model_may_be_demanded(demo: DemoServers, client: openai.AsyncOpenAI) -> None:
    """A wrong key is a 401, an unknown model a 404."""
    demo.model.api_key = "other"
    with pytest.raises(openai.AuthenticationError):
        await ask(client, "hello")
    demo.model.api_key, demo.model.models = "key", ("only-this",)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await ask(client, "hello")


async def test_a_transcript_that_breaks_the_rules_is_refused(
    demo: DemoServers, client: openai.AsyncOpenAI
) -> None:
    """The server enforces what `check_request` says."""
    messages: list[Any] = [{"role": "tool", "tool_call_id": "x", "content": "y"}]
    with pytest.raises(openai.BadRequestError, match="must be a response to"):
        await client.chat.completions.create(model="m", messages=messages)
    assert len(demo.model.refusals) == 1


def shown(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


USER = {"role": "user", "content": "hi"}
TEXT = {"type": "text", "text": "hi"}
PICTURE = shown("data:image/png;base64,QUJD")
FILE = {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,QQ=="}}


def call(*ids: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": i, "type": "function", "function": function} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "ok"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, call("a"), result("a")],
        [USER, call("a", "b"), result("b"), result("a"), USER],
        [USER, call("a"), result("a"), call("a"), result("a")],
        [{"role": "system", "content": "s"}, {"role": "user", "content": [TEXT]}],
        [{"role": "user", "content": [TEXT, PICTURE, FILE]}],
        [{"role": "assistant", "content": [TEXT]}],
    ],
)
def test_transcripts_in_order(messages: list[Any]) -> None:
    """What OpenAI accepts is accepted."""
    assert check_messages(messages) is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        None,
        ["hi"],
        [{"role": "robot", "content": "x"}],
        [{"role": "", "content": "x"}],
        [{"role": "user", "content": None}],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "content": "", "tool_calls": []}],
        [USER, call("a")],
        [USER, call("a"), USER],
        [USER, call("a", "b"), result("a")],
        [USER, call("a"), result("a"), result("a")],
        [USER, call("a"), result("b")],
        [USER, call("a", "a"), result("a"), result("a")],
        [USER, result("a")],
        [USER, {"role": "tool", "content": "x"}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": ["text"]}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]}],
        [{"role": "user", "content": [shown("data:image/svg+xml;base64,QUJD")]}],
        [{"role": "user", "content": [shown("data:image/png;base64,QUJ")]}],
        [{"role": "system", "content": [PICTURE]}, USER],
        [{"role": "assistant", "content": [PICTURE]}],
        [USER, call("a"), {**result("a"), "content": [PICTURE]}],
    ],
)
def test_transcripts_out_of_order(messages: Any) -> None:
    """What OpenAI refuses is refused."""
    assert check_messages(messages) is not None


@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "stream", "tools", "stream_options", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "content", "tool_calls", "type", "function"]), inner
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_no_request_breaks_the_check(body: dict[str, Any]) -> None:
    """Any JSON object is judged without an error of our own."""
    check_request(body)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"mesages": []}, "mesages"),
        ({"model": ""}, "model"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": []}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0]"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_options_out_of_order(change: dict[str, Any], param: str) -> None:
    """Unknown arguments and misplaced options are refused by name."""
    wrong = check_request({"model": "m", "messages": [USER], **change})
    assert wrong is not None
    assert wrong.param == param


def test_strict_tools_must_be_strict() -> None:
    """A strict schema names every property as required and allows no others."""
    loose = {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}
    for schema in (loose, {**loose, "additionalProperties": False}):
        function = {"name": "f", "strict": True, "parameters": schema}
        tools = [{"type": "function", "function": function}]
        wrong = check_request({"model": "m", "messages": [USER], "tools": tools})
        assert wrong is not None
        assert "strict" in wrong.text
