"""Talks to an OpenAI-compatible model: the only module that imports openai.

The library costs half a second and 33 MB to import, so that happens in a worker thread when the
first answer is wanted, never at start. Two of its habits are not ours: it retries inside the call
(off: `agent.retry` is the one policy), and its typed path costs 18 ms for a stream of 200 chunks,
so requests are plain dictionaries and streams are read raw by `agent.stream`.

What happens when an answer breaks off depends on how far it had come:

- before its first word: the request is made again as if nothing had been;
- later: what was said is kept, and the next attempt shows it to the model and asks it to go on from
  there; so nobody reads anything twice, and nothing that was said is lost. Tool calls of the cut
  attempt are dropped, since the last of them may be half a call: the model makes them again;
- after the model had said why it ends: it is whole, and losing the connection changes nothing.

When the attempts are used up, ModelFailed carries the text so far in `partial`. The driver then
delivers that text with a remark that it breaks off and why; it never passes for an answer.
"""

from __future__ import annotations

import email.utils
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio
from attrs import define, field, frozen

from agent import retry
from agent.importing import collector_resting
from agent.ports import ModelFailed
from agent.retry import Failure
from agent.stream import (
    DONE,
    MAX_DETAIL,
    BadStream,
    Completion,
    Endless,
    Events,
    ReportedError,
)
from agent.text import clean
from agent.transcript import Answer

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError, AsyncOpenAI

CONTINUE = (
    "Your last answer was cut off by a lost connection. Go on exactly where it stopped,"
    " without repeating anything and without a remark about it."
)
NO_KEY = "none"  # servers without keys still want the header
KEEP_CONNECTION = 30.0  # seconds; a tool's run is shorter, and a new TLS connection costs 50 ms
# How long the end of a body may take after its last event, with which it comes nearly always.
DRAIN_SECONDS = 0.1

OUT_OF_REACH = "I cannot reach the model provider."
NO_COMPLETION = "The model provider did not answer as a model does; model.base_url may be wrong."
CUT = "The connection to the model was lost."
TOO_SLOW = "The model did not answer in time."

# Answers that end for one of these reasons are not whole: what their readers are told, and what is
# said if there is no answer at all. Asking again would bring the same.
BROKEN_OFF = {
    "length": (
        "\n\n[The answer ends here: it reached the model's length limit.]",
        "The model reached its length limit before it had answered.",
    ),
    "content_filter": (
        "\n\n[The answer ends here: the provider's content filter stopped it.]",
        "The model provider's content filter stopped the answer.",
    ),
}


@frozen
class ModelOptions:
    """Where the model is and how long to wait for it; times are seconds."""

    base_url: str
    name: str
    api_key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None  # shared with the program's other clients; None: its own
    connect_timeout: float = 10.0
    read_timeout: float = 120.0  # between two chunks
    max_attempts: int = 4


@define
class OpenAIModel:
    """A model behind the Chat Completions API. Owns the client; `aclose` ends its connections."""

    options: ModelOptions
    _client: AsyncOpenAI | None = None
    _building: trio.Lock = field(factory=trio.Lock)

    async def warm(self) -> None:
        """Import openai and build the client, in a thread, unless that is done."""
        async with self._building:
            if self._client is None:
                self._client = await trio.to_thread.run_sync(_build, self.options)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """The model's next answer; raises ModelFailed when the retry policy gives up.

        `on_text` is called with each piece of text as it comes, continuations included.
        """
        await self.warm()
        said, attempt = "", 0
        while True:
            attempt += 1
            request = _request([*messages, *_continuation(said)], tools)
            outcome = await self._attempt(request, said, on_text or _ignore)
            if isinstance(outcome, Answer):
                return attrs.evolve(outcome, text=said + outcome.text)
            said += outcome.said if said or outcome.said.strip() else ""
            wait = retry.delay(outcome, attempt, self.options.max_attempts, random.random())  # noqa: S311  (jitter)
            if wait is None:
                raise ModelFailed(outcome.sentence, outcome.error, said)
            await trio.sleep(wait)

    async def _attempt(
        self, request: dict[str, Any], said: str, on_text: Callable[[str], None]
    ) -> Answer | Failure:
        """Make the request once; `said` is what earlier attempts had brought."""
        completion = Completion()
        failure = await self._stream(request, completion, on_text)
        if completion.finish_reason:
            return _judge(completion, said)
        return attrs.evolve(failure or _unfinished(completion), said=completion.text)

    async def _stream(
        self, request: dict[str, Any], completion: Completion, on_text: Callable[[str], None]
    ) -> Failure | None:
        """Fill the completion. Every fault of the far side is a Failure, never raised."""
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        try:
            await self._receive(request, completion, on_text)
        except openai.APIStatusError as error:
            return _status_failure(error, self.options.name)
        except (openai.APITimeoutError, httpx2.TimeoutException):
            return Failure(TOO_SLOW, "timeout")
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return Failure(CUT if completion.begun else OUT_OF_REACH, f"connection: {_root(error)}")
        except BadStream as error:
            return _stream_failure(error)
        return None

    async def _receive(
        self, request: dict[str, Any], completion: Completion, on_text: Callable[[str], None]
    ) -> None:
        async with self._response(request) as response:
            chunks = response.aiter_bytes()
            fault = await _fold(chunks, completion, on_text)
            await _drain(chunks)
        if fault is not None:
            raise fault

    @asynccontextmanager
    async def _response(self, request: dict[str, Any]) -> AsyncIterator[httpx2.Response]:
        """The raw answer to one request, as a stream; closed on the way out.

        `post` is the library's door for calls without types. Behind the typed one, parameters are
        walked by their annotations, and 25 ms of modules are loaded on the loop the first time.
        """
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  (`complete` has warmed it)
        body = {"model": self.options.name, "stream": True, **request}
        answer = await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        # Asked for httpx2's Response, it gives just that, whatever its annotations say.
        response = cast("httpx2.Response", answer)
        try:
            yield response
        finally:
            await response.aclose()


async def _fold(
    chunks: AsyncIterator[bytes], completion: Completion, on_text: Callable[[str], None]
) -> BadStream | None:
    """Read events into the completion until the last; returns what was wrong with one."""
    events = Events()
    try:
        async for chunk in chunks:
            if _take(events.feed(chunk), completion, on_text):
                return None
        _take(events.end(), completion, on_text)
    except BadStream as error:
        return error
    return None


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what follows the last event, or the event that made no sense.

    A response that is left before its end takes its connection with it, and the next call would
    begin with a handshake. If the end does not come soon, the wait for it is cancelled, which
    closes the library's nested generators; left in the middle they would be closed by nobody.
    """
    import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)

    with trio.move_on_after(DRAIN_SECONDS), suppress(httpx2.HTTPError):
        async for _ in chunks:
            pass


def _take(payloads: Sequence[str], completion: Completion, on_text: Callable[[str], None]) -> bool:
    """Take in some events; True after the one that says that it is the last."""
    for payload in payloads:
        if payload == DONE:
            return True
        if said := completion.feed(payload):
            on_text(said)
    return False


def _build(options: ModelOptions) -> AsyncOpenAI:
    """Import openai and make a client (0.5 s and 33 MB the first time)."""
    with collector_resting():
        import httpx2  # noqa: PLC0415
        from openai import AsyncOpenAI  # noqa: PLC0415

    timeout = httpx2.Timeout(
        options.read_timeout, connect=options.connect_timeout, read=options.read_timeout
    )
    client = AsyncOpenAI(
        api_key=options.api_key or NO_KEY,
        base_url=options.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=httpx2.AsyncClient(
            timeout=timeout,
            # No bound of its own, so that no request ever waits for a slot in the pool: httpx 0.28
            # loses the slot of one that is cancelled there. The lanes bound how many run at once.
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEP_CONNECTION),
            trust_env=False,
            verify=_tls(options),
        ),
    )
    client.platform_headers()  # reads the system's release files once; here, not on the loop
    return client


def _tls(options: ModelOptions) -> ssl.SSLContext | bool:
    if options.tls is not None:
        return options.tls
    # For a model on plain HTTP: to load the authorities takes 20 ms; a context that trusts nobody
    # takes none.
    return options.base_url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _request(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    request: dict[str, Any] = {"messages": messages, "stream_options": {"include_usage": True}}
    return {**request, "tools": tools} if tools else request


def _continuation(said: str) -> list[dict[str, Any]]:
    if not said:
        return []
    return [{"role": "assistant", "content": said}, {"role": "user", "content": CONTINUE}]


def _ignore(_text: str) -> None:
    """Nobody watches the answer grow."""


# --- What became of an attempt ---


def _judge(completion: Completion, said: str) -> Answer | Failure:
    """What a stream that came to its end has brought, after `said` in earlier attempts."""
    answer, reason = completion.answer(), completion.finish_reason
    note, failed = BROKEN_OFF.get(reason, ("", "The model gave an empty answer."))
    if answer.calls:
        return answer  # arguments that are not whole are not JSON, which the tool will say
    if answer.text.strip() or said:
        # A continuation of nothing says that only the end had been missing.
        return attrs.evolve(answer, text=answer.text + note)
    return Failure(failed, f"empty ({reason})", final=bool(note))


def _unfinished(completion: Completion) -> Failure:
    """A body that ended in good order before the answer in it did, or held none."""
    if completion.begun:
        return Failure(CUT, "the stream ended before the answer did")
    return Failure(NO_COMPLETION, "a body without events")


def _stream_failure(error: BadStream) -> Failure:
    if isinstance(error, ReportedError):
        return Failure(
            f"The model provider reported an error: {error}", f"reported: {error}", error.status
        )
    return Failure(NO_COMPLETION, f"bad stream: {error}", final=isinstance(error, Endless))


def _status_failure(error: APIStatusError, model: str) -> Failure:
    # A quota that is used up comes as 429 too, and does not come back by waiting.
    status = 402 if error.code == "insufficient_quota" else error.status_code
    detail = _detail(error)
    return Failure(
        _status_sentence(status, model, detail),
        f"HTTP {error.status_code}: {detail}",
        status=status,
        retry_after=_retry_after(error.response.headers.get("retry-after"), time.time()),
    )


def _status_sentence(status: int, model: str, detail: str) -> str:
    match status:
        case 401:
            return "The model provider refused the API key (model.api_key)."
        case 402:
            return "The model provider wants to be paid first."
        case 404 | 301 | 302 | 307 | 308:
            return f"The model provider does not know {model!r}, or model.base_url is wrong."
        case 429:
            return "The model provider is limiting our requests; please try again later."
        case _ if status >= 500:  # noqa: PLR2004
            return "The model provider has trouble at its end; please try again later."
        case _:
            return f"The model provider refused the request: {detail}"


def _detail(error: APIStatusError) -> str:
    """The provider's own words; the library leaves out those that are no `error.message`."""
    words = error.message.removeprefix(f"Error code: {error.status_code}").removeprefix(" - ")
    body = str(error.body or "")
    if not words and not body.startswith("<"):
        words = body
    return clean(" ".join(words.split()))[:MAX_DETAIL] or "without a reason"


def _retry_after(value: str | None, now: float) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date; None if neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value, now)
    return max(0.0, seconds) if seconds == seconds else None  # noqa: PLR0124  (NaN is not itself)


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _root(error: BaseException) -> str:
    """The innermost cause, which is the one that says what happened."""
    while (cause := _cause(error)) is not None:
        error = cause
    return (str(error) or type(error).__name__)[:MAX_DETAIL]


def _cause(error: BaseException) -> BaseException | None:
    """What led to an error; of several attempts to connect, the first speaks for all."""
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or error.__context__
