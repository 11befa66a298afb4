"""An offline OpenAI-compatible Chat Completions server.

It is strict where OpenAI is (`chatrules`), so that a transcript it accepts is accepted elsewhere.
It answers by itself (`brain`) or by a script, and fails on request (`replies` has both's values):

    model = ModelServer(script=[Reply(calls=(ToolCall("bash", {"command": "ls"}),)), "done"])
    base_url = await nursery.start(model.serve)      # http://127.0.0.1:PORT/v1
    model.faults.add(ModelFault(status=500))
    model.latency = 0.5                              # seconds before the first byte
    await model.wait_for(lambda model: len(model.requests) == 2)

Deltas without a pause between them leave in one write: to a client they are the same events, and a
benchmark then measures the client.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NoReturn, TypeVar

import trio

from daemon.demo.brain import respond
from daemon.demo.changes import Changes
from daemon.demo.chatrules import check_request
from daemon.demo.forms import FormError, read_form
from daemon.demo.http import Answer, Cut, Request, Response, Stream, serve
from daemon.demo.replies import (
    ARGUMENT_CHARACTERS,
    ERROR_KINDS,
    ChatRequest,
    Item,
    ModelFault,
    ModelFaults,
    Reply,
    Script,
    pieces,
    text_of,
)
from daemon.demo.sound import silence

T = TypeVar("T")

MODEL_NAME = "famulus-demo"

# A rough count, as everybody's rule of thumb has it.
CHARACTERS_PER_TOKEN = 4
CHARACTERS_A_SECOND = 15  # of speech
TOKENS_PER_PART = 800  # of a picture or file


class ModelServer:
    """The server: run `serve` in a nursery, then read `requests` and set script and faults.

    With `api_key` a request must bear it; without one any key will do. `models` are the only names
    that are answered, if given.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        latency: float = 0.0,
        api_key: str | None = None,
        models: tuple[str, ...] = (),
    ) -> None:
        self.latency = latency
        self.api_key = api_key
        self.models = models
        self.base_url = ""
        self.faults = ModelFaults()
        self.requests: list[ChatRequest] = []
        self.refusals: list[str] = []
        self._changes = Changes()
        self.script = script

    @property
    def script(self) -> Script | None:
        """What answers the requests; None: the default behaviour."""
        return self._script

    @script.setter
    def script(self, script: Script | None) -> None:
        self._script = script
        self._items: Iterator[Item] = iter(() if script is None or callable(script) else script)

    async def serve(
        self,
        *,
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Serve until cancelled; reports the base URL, which ends in /v1."""
        async with trio.open_nursery() as nursery:
            root = await nursery.start(partial(serve, self._handle, port=port))
            self.base_url = f"{root}/v1"
            task_status.started(self.base_url)
        raise AssertionError("a server ends only by cancellation")

    async def wait_for(self, look: Callable[[ModelServer], T], timeout: float = 20.0) -> T:
        """Return the first true value of `look(self)`, looked at after every request.

        Raises NeverHappened after `timeout` seconds.
        """
        return await self._changes.wait_for(lambda: look(self), timeout, self.account)

    def account(self) -> str:
        """Say in a few lines what was asked last, for a test that failed."""
        lines = [
            f"  {len(r.messages)} messages: {r.user_text[:100]!r}" for r in self.requests[-10:]
        ]
        return "\n".join([*lines, *(f"  refused: {text}" for text in self.refusals[-5:])])

    async def _handle(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        if path == "/v1/models" and request.method == "GET":
            return self._list_models()
        answer = POSTS.get(path)
        if answer is None:
            return _error(404, f"Invalid URL ({request.method} {request.path})")
        if request.method != "POST":
            return _error(405, f"Not allowed to {request.method} on {request.path}")
        return await answer(self, request)

    async def _transcribe(self, request: Request) -> Answer:
        """What is known of a recording without ears."""
        try:
            form = read_form(request.headers.get("content-type", ""), "", await request.body())
        except FormError as error:
            return _error(error.status, str(error))
        if "file" not in form.files or not form.values.get("model"):
            return _error(400, "A transcription needs a file and a model.")
        file = form.files["file"]
        text = f"(offline demo model) I cannot hear {file.filename}, {len(file.data)} bytes."
        return Response(200, _json({"text": text}))

    async def _speak(self, request: Request) -> Answer:
        """Silence, as long as it would take to say the text."""
        body = _read(await request.body()) or {}
        if not all(isinstance(body.get(name), str) for name in ("model", "input", "voice")):
            return _error(400, "Speech needs a model, an input and a voice.")
        return Response(200, silence(len(body["input"]) / CHARACTERS_A_SECOND), "audio/ogg")

    def _list_models(self) -> Response:
        names = self.models or (MODEL_NAME,)
        data = [{"id": n, "object": "model", "created": 0, "owned_by": "famulus"} for n in names]
        return Response(200, _json({"object": "list", "data": data}))

    async def _complete(self, request: Request) -> Answer:
        body = _read(await request.body())
        refusal = self._refusal(request, body)
        chat = ChatRequest(body or {}, request.headers, time.monotonic(), refusal[1])
        self.requests.append(chat)
        self._changes.tell()
        if refusal[0]:
            self.refusals.append(refusal[1])
            return _error(*refusal)
        reply, fault = self._decide(chat)
        self._changes.tell()
        await self._wait(request, fault, self.latency + fault.delay + reply.delay)
        if fault.cut_before:
            raise Cut
        if fault.status or fault.body is not None:
            return _faulty(fault)
        return self._stream(chat, reply, fault) if chat.streams else _whole(chat, reply, fault)

    def _refusal(self, request: Request, body: dict[str, Any] | None) -> tuple[int, str, str, str]:
        """Give status, text, parameter and code of the refusal; status 0 when there is none."""
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return 401, "Incorrect API key provided.", "", "invalid_api_key"
        if body is None:
            return 400, "We could not parse the JSON body of your request.", "", ""
        if wrong := check_request(body):
            return 400, wrong.text, wrong.param, ""
        if self.models and body["model"] not in self.models:
            text = f"The model `{body['model']}` does not exist or you do not have access to it."
            return 404, text, "", "model_not_found"
        return 0, "", "", ""

    def _decide(self, chat: ChatRequest) -> tuple[Reply, ModelFault]:
        """Give the reply and what goes wrong with it; a fault without a cause harms nothing."""
        fault = self.faults.take()
        if fault is not None and (fault.status or fault.body is not None or fault.cut_before):
            return Reply(), fault
        item = self._next_item(chat)
        if isinstance(item, ModelFault):
            return respond(chat), item
        reply = Reply(item) if isinstance(item, str) else item
        return reply, fault or ModelFault()

    def _next_item(self, chat: ChatRequest) -> Item:
        if callable(self._script):
            return self._script(chat)
        item = next(self._items, None)
        return respond(chat) if item is None else item

    async def _wait(self, request: Request, fault: ModelFault, seconds: float) -> None:
        """Let the seconds and the stall pass. Raises Cut when the client leaves meanwhile."""

        async def wait() -> bool:
            await trio.sleep(seconds)
            if fault.stall is not None:
                await fault.stall.wait()
            return True

        if seconds or fault.stall is not None:
            await request.unless_hung_up(wait)

    def _stream(self, chat: ChatRequest, reply: Reply, fault: ModelFault) -> Stream:
        return Stream(_events(chat, reply, fault))


POSTS: dict[str, Callable[[ModelServer, Request], Awaitable[Answer]]] = {
    "/v1/chat/completions": ModelServer._complete,  # noqa: SLF001  (its own table)
    "/v1/audio/transcriptions": ModelServer._transcribe,  # noqa: SLF001
    "/v1/audio/speech": ModelServer._speak,  # noqa: SLF001
}


async def _events(
    chat: ChatRequest, reply: Reply, fault: ModelFault
) -> AsyncGenerator[bytes, None]:
    """Give the server-sent events of a reply, as far as the fault lets them come."""
    held: list[bytes] = []
    for count, delta in enumerate(_deltas(reply)):
        if fault.deltas is not None and count > fault.deltas:
            break
        held.append(_event(_chunk(chat, delta)))
        if reply.pause:
            yield b"".join(held)
            held.clear()
            await trio.sleep(reply.pause)
    if fault.deltas is not None:
        if fault.stream_error:
            held.append(_event({"error": {"message": fault.stream_error, "type": "server_error"}}))
        yield b"".join(held)
        if fault.stream_error:
            return
        raise Cut
    held.append(_event(_chunk(chat, {}, reply.finish_reason)))
    if (chat.body.get("stream_options") or {}).get("include_usage"):
        held.append(_event({**_chunk(chat, {}), "choices": [], "usage": _usage(chat, reply)}))
    yield b"".join(held) + b"data: [DONE]\n\n"


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    """Give the deltas; the first only names the role and does not count as one."""
    yield {"role": "assistant", "content": "" if reply.text or not reply.calls else None}
    for piece in reply.text_pieces():
        yield {"content": piece}
    for index, call in enumerate(reply.calls):
        head = {"name": call.name, "arguments": ""}
        call_id = call.call_id or f"call_{time.monotonic_ns():x}{index}"
        first = {"index": index, "id": call_id, "type": "function", "function": head}
        yield {"tool_calls": [first]}
        for piece in pieces(call.raw, ARGUMENT_CHARACTERS):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _chunk(chat: ChatRequest, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_envelope(chat, "chat.completion.chunk"), "choices": [choice]}


def _whole(chat: ChatRequest, reply: Reply, fault: ModelFault) -> Response:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    calls = [
        {
            "id": call.call_id or f"call_{time.monotonic_ns():x}{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.raw},
        }
        for index, call in enumerate(reply.calls)
    ]
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }
    whole = {
        **_envelope(chat, "chat.completion"),
        "choices": [choice],
        "usage": _usage(chat, reply),
    }
    body = _json(whole)
    return Response(200, body, cut_at=None if fault.deltas is None else len(body) // 2)


def _envelope(chat: ChatRequest, kind: str) -> dict[str, Any]:
    created = int(time.time())
    return {
        "id": f"chatcmpl-{int(chat.at * 1e6):x}",
        "object": kind,
        "created": created,
        "model": chat.body["model"],
    }


def _usage(chat: ChatRequest, reply: Reply) -> dict[str, int]:
    prompt = sum(map(_tokens, chat.messages))
    answer = len(reply.text) + sum(len(call.raw) for call in reply.calls)
    given = reply.usage or (prompt, answer // CHARACTERS_PER_TOKEN)
    return {
        "prompt_tokens": given[0],
        "completion_tokens": given[1],
        "total_tokens": sum(given),
    }


def _tokens(message: dict[str, Any]) -> int:
    """A message's tokens; pictures and files are counted as such, and not by their letters."""
    content = message.get("content")
    shown = (
        [part for part in content if part["type"] != "text"] if isinstance(content, list) else []
    )
    said = {**message, "content": text_of(message)}
    return len(str(said)) // CHARACTERS_PER_TOKEN + len(shown) * TOKENS_PER_PART


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _faulty(fault: ModelFault) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if fault.retry_after is not None:
        headers = (("retry-after", f"{fault.retry_after:g}"),)
    if fault.body is not None:
        return Response(fault.status or 200, fault.body, fault.content_type, headers)
    error = _error(
        fault.status, fault.message or f"The demo model was told to answer {fault.status}."
    )
    return Response(error.status, error.body, headers=headers)


def _error(status: int, text: str, param: str = "", code: str = "") -> Response:
    kind = ERROR_KINDS.get(status, "server_error")
    error = {"message": text, "type": kind, "param": param or None, "code": code or None}
    return Response(status, _json({"error": error}))


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
