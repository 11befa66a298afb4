"""What became of an attempt to have a model's answer: an answer, or a failure in clear words; pure.

Each failure has a sentence for the person and an error for the log, and says what the retry policy
and the list of fallback models must know: the HTTP status, the wait that was asked for, and whether
the request was at fault.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

import attrs
from attrs import frozen

from agent import parameters, retry
from agent.ports import ModelFailed
from agent.retry import Failure
from agent.stream import MAX_DETAIL, BadStream, Endless, ReportedError, as_object
from agent.text import clean
from agent.transcript import Answer, Usage

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

# Codes that say more than the status they come with: the status that is meant.
CODES: Final = {
    # A quota that is used up comes as 429, and does not come back by waiting.
    "insufficient_quota": 402,
    "model_not_found": 404,
    "invalid_api_key": 401,
}
TOO_LONG_STATUS: Final = frozenset({400, 413, 422})
# Errors before which a model may have been at work: somebody gave up waiting for it, or read the
# prompt and would not pass it. Azure, for one, says that it bills such requests.
MAY_HAVE_WORKED: Final = frozenset({408, 504, 524})
FILTERED: Final = "content_filter"
TOO_LONG: Final = re.compile(
    r"context[ _]length|context[ _]window|context size|maximum context|too many tokens"
    r"|(prompt|input|request)\b.{0,20} too (long|large)|exceeds the maximum number of tokens",
    re.IGNORECASE,
)


class Reading(Protocol):
    """An answer as far as it has been read, in whichever protocol."""

    begun: bool
    finish_reason: str
    usage: Usage

    @property
    def text(self) -> str: ...

    @property
    def over(self) -> bool: ...

    def feed(self, payload: str) -> str: ...

    def answer(self) -> Answer: ...


@frozen
class Refusal:
    """An HTTP error and what came with it; `sent` are the parameters that may be at fault."""

    status: int
    words: str = ""
    code: str = ""
    param: str = ""
    retry_after: str | None = None
    sent: Collection[str] = ()


def judged(reading: Reading) -> Answer | Failure:
    """What a stream that came to its end has brought."""
    answer, reason = reading.answer(), reading.finish_reason
    note, failed = BROKEN_OFF.get(reason, ("", "The model gave an empty answer."))
    if answer.calls:
        return answer  # arguments that are not whole are not JSON, which the tool will say
    if answer.text.strip():
        return attrs.evolve(answer, text=answer.text + note)
    return Failure(failed, f"empty ({reason})", final=bool(note))


def unfinished(reading: Reading) -> Failure:
    """A body that ended in good order before the answer in it did, or held none."""
    if reading.begun:
        return Failure(CUT, "the stream ended before the answer did")
    return Failure(NO_COMPLETION, "a body without events")


def of_stream(error: BadStream) -> Failure:
    """An event that is none, or that says that the provider failed."""
    if isinstance(error, ReportedError):
        return Failure(
            f"The model provider reported an error: {error}",
            f"reported: {error}",
            error.status,
            too_long=_is_too_long(error.status or 400, error.code, str(error)),
        )
    return Failure(NO_COMPLETION, f"bad stream: {error}", final=isinstance(error, Endless))


def of_refusal(refusal: Refusal, model: str, now: float) -> Failure:
    """An HTTP error; `now` is the time of day in seconds, for a Retry-After that is a date."""
    status = CODES.get(refusal.code, refusal.status)
    return Failure(
        _sentence(status, model, refusal.words),
        f"HTTP {refusal.status}: {refusal.words}",
        status=status,
        retry_after=retry_after(refusal.retry_after, now),
        worked=status in MAY_HAVE_WORKED or refusal.code == FILTERED,
        too_long=_is_too_long(status, refusal.code, refusal.words),
        unsupported=(unsupported := _unsupported(refusal)),
        instead=parameters.instead(unsupported, refusal.words),
    )


def transcript(body: bytes) -> str | Failure:
    """What a provider wrote down of a recording."""
    try:
        text = as_object(json.loads(body)).get("text")
    except (ValueError, RecursionError):
        text = None
    if isinstance(text, str):
        return clean(text)
    return Failure(NO_COMPLETION, "not a transcript", final=True)


def error_of(told: Failure, attempts: Sequence[Failure]) -> ModelFailed:
    """What is raised for a call that is given up: how it failed, and what all attempts brought."""
    partial, lost = retry.longest_cut(attempts), retry.lost(attempts)
    return ModelFailed(told.sentence, told.error, partial, lost=lost)


def _is_too_long(status: int, code: str, words: str) -> bool:
    named = code == "context_length_exceeded" or TOO_LONG.search(words) is not None
    return named and status in TOO_LONG_STATUS


def _unsupported(refusal: Refusal) -> str:
    if refusal.status not in {400, 422}:
        return ""
    return parameters.refused(refusal.sent, refusal.param, refusal.words)


def _sentence(status: int, model: str, detail: str) -> str:
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


def detail(words: str, body: object) -> str:
    """The provider's own words, from an error's message or else from its body."""
    text = str(body or "")
    if not words and not text.startswith("<"):
        words = text
    return clean(" ".join(words.split()))[:MAX_DETAIL] or "without a reason"


def retry_after(value: str | None, now: float) -> float | None:
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


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the innermost last: that one says what happened."""
    yield error
    while (cause := _cause(error)) is not None:
        yield (error := cause)


def root_words(error: BaseException) -> str:
    *_, innermost = causes(error)
    return (str(innermost) or type(innermost).__name__)[:MAX_DETAIL]


def _cause(error: BaseException) -> BaseException | None:
    """What led to an error; of several attempts to connect, the first speaks for all."""
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or error.__context__
