"""Talks to an OpenAI-compatible model: the only module that imports openai.

The library costs half a second and 33 MB to import, so that happens in a worker thread when the
first answer is wanted, never at start. Two of its habits are not ours: it retries inside the call
(off: `agent.retry` is the one policy), and its typed path costs 18 ms for a stream of 200 chunks,
so requests are plain dictionaries and streams are read raw by `agent.stream`.

An answer that breaks off is asked for again, whole, by the same request: nothing of it has reached
anybody, and two halves by two attempts do not join. Only one that breaks off after the model had
said why it ends is whole; losing the connection then changes nothing.

When the attempts are used up, ModelFailed carries the longest text that was cut in `partial`. The
driver then delivers it with a remark that it breaks off and why; it never passes for an answer.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import trio
from attrs import define, field

from agent import outcomes, parts, refusals, retry, sound, wire
from agent.circuit import Circuit
from agent.cookies import Jar
from agent.importing import collector_resting
from agent.outcomes import (
    CUT,
    OUT_OF_REACH,
    TOO_SLOW,
    Reading,
    Refusal,
    causes,
    detail,
    error_of,
    judged,
    root_words,
    unfinished,
)
from agent.parameters import Learnt, accepted
from agent.parts import Takes, fitted, takes
from agent.payload import Payload
from agent.providers import Preset, preset
from agent.request import ModelOptions, Request
from agent.retry import Failure, GaveUp
from agent.sound import Question
from agent.stream import BadStream
from agent.transcript import Answer
from agent.windows import Window

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError, AsyncOpenAI

T = TypeVar("T")

NO_KEY = "none"  # servers without keys still want the header
KEEP_CONNECTION = 30.0  # seconds; a tool's run is shorter, and a new TLS connection costs 50 ms
# How long the end of a body may take after its last event, with which it comes nearly always.
DRAIN_SECONDS = 0.1


@define
class OpenAIModel:
    """A model behind an OpenAI-compatible API. Owns the client; `aclose` ends its connections.

    `remark` is told, in a sentence for the log, what was found out about the model.
    """

    options: ModelOptions
    remark: Callable[[str], None] = lambda _text: None
    _client: AsyncOpenAI | None = None
    _building: trio.Lock = field(factory=trio.Lock)
    _preset: Preset = field(init=False)
    _chosen: dict[str, Any] = field(init=False)
    _learnt: Learnt = field(factory=Learnt)
    _window: Window = field(init=False)
    _takes: Takes = field(init=False)
    circuit: Circuit = field(factory=Circuit, init=False)  # for `agent.fallback`

    def __attrs_post_init__(self) -> None:
        options = self.options
        self._preset = preset(options.provider, options.base_url)
        self._chosen = accepted(options.parameters, self._preset, options.name)
        self._window = Window(options.name, options.context_window)
        self._takes = takes(self._preset, options.name, options.images, options.documents)

    @property
    def sees(self) -> Takes:
        """What it takes besides text, as far as that is known now."""
        return self._takes

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
        may_call: bool = True,
    ) -> Answer:
        """The model's next answer; raises ModelFailed when the retry policy gives up."""
        outcome = await self.answer(Request(messages, tools, on_text, may_call))
        if isinstance(outcome, GaveUp):
            raise error_of(outcome.failure, outcome.attempts)
        return outcome

    async def answer(self, request: Request) -> Answer | GaveUp:
        """The model's next answer, or how each attempt to have it has failed."""
        await self.warm()
        failed: list[Failure] = []
        while True:
            outcome = await self._attempt(request)
            if isinstance(outcome, Answer):
                return attrs.evolve(outcome, lost=retry.lost(failed))
            if outcome.unsupported:
                self._learn(outcome)
                continue
            if (blinder := self._look_away(request, outcome)) is not None:
                request = blinder
                continue
            failed.append(outcome)
            wait = retry.delay(outcome, len(failed), self.options.max_attempts, random.random())  # noqa: S311  (jitter)
            if wait is None or wait > request.patience:
                return GaveUp(tuple(failed))
            await trio.sleep(wait)

    def _learn(self, failure: Failure) -> None:
        """Send a parameter that is not taken under its other name from now on, or not at all."""
        name, refused = self.options.name, failure.unsupported
        if then := self._learnt.learn(refused, failure.instead):
            self.remark(f"{name} does not take {refused}, which is {then} from now on")

    def _look_away(self, request: Request, failure: Failure) -> Request | None:
        """The request without what it shows, if it was refused for that; else None.

        Where the model takes no such thing at all, that is not tried again.
        """
        sent = [view for view in parts.views(request.messages) if self._takes.has(view)]
        if not sent or not (failure.too_long or refusals.concerns(failure.status, failure.error)):
            return None
        before, self._takes = self._takes, refusals.corrected(self._takes, sent, failure.error)
        if self._takes != before:
            self.remark(f"{self.options.name} takes {self._takes}: {failure.error}")
            return request
        return attrs.evolve(request, messages=parts.without(request.messages, failure.error))

    async def _attempt(self, request: Request) -> Answer | Failure:
        """Make the request once."""
        reading = wire.READERS[self._preset.style]()
        failure = await self._stream(request, reading)
        outcome = judged(reading) if reading.finish_reason else failure or unfinished(reading)
        if isinstance(outcome, Failure):
            worked = outcome.worked or reading.begun
            return attrs.evolve(outcome, said=reading.text, usage=reading.usage, worked=worked)
        return outcome

    def _body(self, request: Request, payload: Payload) -> dict[str, Any]:
        messages = fitted(request.messages, self._takes, payload.mark)
        body = wire.body(self._preset, messages, request.tools, may_call=request.may_call)
        return {"model": self.options.name, **self._learnt.sent(body | self._chosen)}

    async def _stream(self, request: Request, reading: Reading) -> Failure | None:
        """Fill the reading. Every fault of the far side is a Failure, never raised."""
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        payload, limit = Payload(), self.options.answer_timeout
        body = self._body(request, payload)
        try:
            with trio.move_on_after(limit) as scope:
                await self._receive(request, await payload.of(body), reading)
        except openai.APIStatusError as error:
            return outcomes.of_refusal(_refusal(error, body), self.options.name, time.time())
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return _connection_failure(error, CUT if reading.begun else OUT_OF_REACH)
        except BadStream as error:
            return outcomes.of_stream(error)
        late = Failure(TOO_SLOW, f"no end within {limit:g} s", final=True)
        return late if scope.cancelled_caught else None

    async def _receive(
        self, request: Request, body: dict[str, Any] | bytes, reading: Reading
    ) -> None:
        address, jar = self.options.base_url, request.jar or Jar()
        async with self._response(body, jar.headers.get(address, "")) as response:
            jar.take(address, response.headers.get_list("set-cookie"), time.time())
            chunks = response.aiter_bytes()
            fault = await wire.fold(chunks, reading, request.on_text)
            await _drain(chunks)
        if fault is not None:
            raise fault

    # --- Beside answers ---

    @property
    def known_window(self) -> int:
        """How many tokens the model takes in at once, as far as is known; 0: ask `window`."""
        return self._window.known

    async def window(self) -> int:
        """How many tokens the model takes in at once. Never fails, and never takes long."""
        return await self._window.get(self._models)

    async def _models(self) -> bytes:
        """The provider's list of models, or nothing."""
        await self.warm()
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  (it has just been warmed)
        try:
            answer = await self._client.get("/models", cast_to=httpx2.Response)
        except (openai.APIError, httpx2.HTTPError):
            return b""
        return answer.content

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str:
        """What is said in a recording; `name` is its file's, `language` a code such as "de".

        Raises ModelFailed when the retry policy gives up, and if no model for this is configured.
        """
        return await self._ask(sound.transcription(self.options, (name, data), language))

    async def speak(self, text: str) -> bytes:
        """A recording of `text`, in whatever format the provider has; raises as `transcribe`."""
        return await self._ask(sound.speech(self.options, text))

    async def _ask(self, question: Question[T]) -> T:
        await self.warm()
        failed: list[Failure] = []
        while True:
            outcome = await self._ask_once(question)
            if not isinstance(outcome, Failure):
                return outcome
            failed.append(outcome)
            wait = retry.delay(outcome, len(failed), self.options.max_attempts, random.random())  # noqa: S311  (jitter)
            if wait is None:
                raise error_of(outcome, failed)
            await trio.sleep(wait)

    async def _ask_once(self, question: Question[T]) -> T | Failure:
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  (`_ask` has warmed it)
        try:
            answer = await self._client.post(
                question.path, cast_to=httpx2.Response, body=question.body, **question.how
            )
        except openai.APIStatusError as error:
            return outcomes.of_refusal(_refusal(error, ()), question.model, time.time())
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return _connection_failure(error, OUT_OF_REACH)
        return question.read(answer.content)

    @asynccontextmanager
    async def _response(
        self, body: dict[str, Any] | bytes, cookie: str
    ) -> AsyncIterator[httpx2.Response]:
        """The raw answer to one request, as a stream; closed on the way out.

        `post` is the library's door for calls without types. Behind the typed one, parameters are
        walked by their annotations, and 25 ms of modules are loaded on the loop the first time.
        """
        import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
        import openai  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  (`complete` has warmed it)
        answer = await self._client.post(
            self._preset.style.value,
            cast_to=httpx2.Response,
            body=None if isinstance(body, bytes) else body,
            content=body if isinstance(body, bytes) else None,
            options={"headers": {"Cookie": cookie}} if cookie else {},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        # Asked for httpx2's Response, it gives just that, whatever its annotations say.
        response = cast("httpx2.Response", answer)
        try:
            yield response
        finally:
            await response.aclose()


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
            # Keeps none and sends none: they belong to conversations.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
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


def _refusal(error: APIStatusError, sent: Collection[str]) -> Refusal:
    """What outcomes are judged from; the library leaves out words that are no `error.message`."""
    words = error.message.removeprefix(f"Error code: {error.status_code}").removeprefix(" - ")
    return Refusal(
        error.status_code,
        detail(words, error.body),
        error.code or "",
        error.param if isinstance(error.param, str) else "",
        _retry_after(error.response.headers),
        sent,
    )


def _connection_failure(error: Exception, sentence: str) -> Failure:
    """A connection that was never made, was lost, or brought nothing for too long."""
    import httpx2  # noqa: PLC0415  (loaded with openai, in `warm`)
    import openai  # noqa: PLC0415

    # Whatever went wrong while connecting, nothing had been asked yet.
    connecting = httpx2.ConnectError | httpx2.ConnectTimeout
    unsent = any(isinstance(each, connecting) for each in causes(error))
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return Failure(OUT_OF_REACH if unsent else TOO_SLOW, "timeout", unsent=unsent)
    return Failure(sentence, f"connection: {root_words(error)}", unsent=unsent)


def _retry_after(headers: httpx2.Headers) -> str | None:
    """The wait that is asked for; some tell it in milliseconds, too, which is nearer to it."""
    milliseconds: str = headers.get("retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit():
        return f"{float(milliseconds) / 1000}"
    return headers.get("retry-after")
