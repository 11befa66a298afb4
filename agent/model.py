"""Talks to an OpenAI-compatible model: the only module that imports openai.

The library costs half a second and 33 MB to import, so that happens in a worker thread when the
first answer is wanted, never at start. Two of its habits are not ours: it retries inside the call
(off: `agent.retry` is the one policy), and its typed path costs 18 ms for a stream of 200 chunks,
so requests go through `extra_body` and streams are read raw by `agent.stream`.

A stream that is cut before its first word is tried again as if nothing had been. One that is cut
later is gone on with: what was said is kept, and the next attempt is asked to continue from there.
"""

from __future__ import annotations

import email.utils
import random
import ssl
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs
import trio
from attrs import define, field, frozen

from agent import retry
from agent.ports import ModelFailed
from agent.retry import Failure
from agent.stream import DONE, BadStream, Completion, EventLines
from agent.transcript import Answer

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

CONTINUE = (
    "Your last answer was cut off by a lost connection. Go on exactly where it stopped,"
    " without repeating anything and without a remark about it."
)
LENGTH_NOTE = "\n\n[The answer ends here: it reached the model's length limit.]"
NO_KEY = "none"  # servers without keys still want the header
MAX_DETAIL = 300  # characters of a provider's own words that are kept

OUT_OF_REACH = "I cannot reach the model provider."
NONSENSE = "The model provider's answer made no sense; model.base_url may be wrong."
CUT = "The connection to the model was lost."


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
        """The model's next answer; raises ModelFailed when the retry policy gives up."""
        await self.warm()
        said = ""
        for attempt in count(1):
            request = self._request([*messages, *_continuation(said)], tools)
            outcome = await self._attempt(request, on_text or _ignore)
            if isinstance(outcome, Answer):
                return attrs.evolve(outcome, text=said + outcome.text)
            said += outcome.said
            wait = retry.delay(outcome, attempt, self.options.max_attempts, random.random())  # noqa: S311  (jitter)
            if wait is None:
                raise ModelFailed(outcome.sentence, outcome.error, said)
            await trio.sleep(wait)
        raise AssertionError  # count() has no end

    def _request(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"messages": messages, "stream_options": {"include_usage": True}}
        return {**request, "tools": tools} if tools else request

    async def _attempt(
        self, request: dict[str, Any], on_text: Callable[[str], None]
    ) -> Answer | Failure:
        """Make the request once. Every fault of the far side is a Failure, never raised."""
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        completion = Completion()
        try:
            await self._stream(request, completion, on_text)
        except openai.APIStatusError as error:
            return _status_failure(error, self.options.name)
        except (openai.APITimeoutError, httpx2.TimeoutException):
            return Failure("The model did not answer in time.", "timeout", said=completion.text)
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            sentence = CUT if completion.text else OUT_OF_REACH
            return Failure(sentence, f"connection: {_root(error)}", said=completion.text)
        except BadStream as error:
            return Failure(NONSENSE, f"bad stream: {error}", said=completion.text)
        return _judge(completion)

    async def _stream(
        self, request: dict[str, Any], completion: Completion, on_text: Callable[[str], None]
    ) -> None:
        assert self._client is not None  # noqa: S101  (`complete` has warmed it)
        lines = EventLines()
        async with self._client.chat.completions.with_streaming_response.create(
            model=self.options.name, messages=[], stream=True, extra_body=request
        ) as response:
            async for chunk in response.iter_bytes():
                for payload in lines.feed(chunk):
                    if payload == DONE:
                        return
                    if said := completion.feed(payload):
                        on_text(said)


def _build(options: ModelOptions) -> AsyncOpenAI:
    """Import openai and make a client (0.5 s and 33 MB the first time)."""
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
            timeout=timeout, trust_env=False, verify=options.tls or True
        ),
    )
    client.platform_headers()  # reads the system's release files once; here, not on the loop
    return client


def _continuation(said: str) -> list[dict[str, Any]]:
    if not said:
        return []
    return [{"role": "assistant", "content": said}, {"role": "user", "content": CONTINUE}]


def _ignore(_text: str) -> None:
    """Nobody watches the answer grow."""


def _judge(completion: Completion) -> Answer | Failure:
    """Whether a stream that ended without an error was an answer."""
    if not completion.finish_reason:
        return Failure(CUT, "the stream ended before the answer did", said=completion.text)
    answer = completion.answer()
    if completion.finish_reason == "length":
        return attrs.evolve(answer, text=answer.text + LENGTH_NOTE)
    if answer.text.strip() or answer.calls:
        return answer
    return Failure("The model gave an empty answer.", f"empty ({completion.finish_reason})")


def _status_failure(error: APIStatusError, model: str) -> Failure:
    status = error.status_code
    return Failure(
        _status_sentence(status, model, error.message),
        f"HTTP {status}: {error.message[:MAX_DETAIL]}",
        status=status,
        retry_after=_retry_after(error.response.headers.get("retry-after"), time.time()),
    )


def _status_sentence(status: int, model: str, detail: str) -> str:
    match status:
        case 401 | 403:
            return "The model provider refused the API key (model.api_key)."
        case 402:
            return "The model provider wants to be paid first."
        case 404:
            return f"The model provider does not know {model!r}, or model.base_url is wrong."
        case 429:
            return "The model provider is limiting our requests; please try again later."
        case _ if status >= 500:  # noqa: PLR2004
            return "The model provider has trouble at its end; please try again later."
        case _:
            return f"The model provider refused the request: {detail[:MAX_DETAIL]}"


def _retry_after(value: str | None, now: float) -> float | None:
    """Seconds in a Retry-After header, which holds seconds or a date; None if neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        parsed = email.utils.parsedate_tz(value)
        return max(0.0, email.utils.mktime_tz(parsed) - now) if parsed else None


def _root(error: BaseException) -> str:
    """The innermost cause, which is the one that says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__)[:MAX_DETAIL]
