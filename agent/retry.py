"""When a failed model call is made again, and after how long: a pure policy.

The phase of the failure decides. A request that was refused will be refused again (400, 401, 403,
404, 422); one that was throttled, failed at the server or lost on the way is worth another try,
after the time the server names and at least a doubling delay with jitter.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from agent.transcript import NOTHING, Usage

FIRST_DELAY = 0.5  # seconds
LONGEST_DELAY = 20.0
# A server that wants longer than this is asking for another day, and a person is waiting.
LONGEST_RETRY_AFTER = 60.0

RETRYABLE_STATUS = frozenset({408, 409, 425, 429})


@frozen
class Failure:
    """One failed attempt: `sentence` is for the person, `error` for the log.

    `status` is the provider's HTTP status, None where there was none; `retry_after` the seconds it
    asked for; `said` the text that had come, and `usage` what the provider had counted. A `final`
    failure would come again; a request that was `unsent` did not reach the provider, and for one
    that `worked` a model may have. `too_long` if the request does not fit into the model's window;
    `unsupported` is the parameter that the model does not take, if that was the reason, and
    `instead` the name that it wants for it.
    """

    sentence: str
    error: str
    status: int | None = None
    retry_after: float | None = None
    said: str = ""
    usage: Usage = NOTHING
    final: bool = False
    unsent: bool = False
    worked: bool = False
    too_long: bool = False
    unsupported: str = ""
    instead: str = ""

    @property
    def retryable(self) -> bool:
        if self.final or self.status is None:
            return not self.final
        return self.status in RETRYABLE_STATUS or self.status >= 500  # noqa: PLR2004

    @property
    def unpaid(self) -> bool:
        """Whether nobody bills it: never sent, or answered with an error before any stream began.

        A connection that is lost after the request was sent tells nothing of what it has cost.
        """
        worked = self.worked or self.said or self.usage.tokens
        return not worked and (self.unsent or self.status is not None)


@frozen
class GaveUp:
    """A call that will not be tried again: how each attempt failed; there is one at least."""

    attempts: tuple[Failure, ...]

    @property
    def failure(self) -> Failure:
        return self.attempts[-1]


def lost(attempts: Sequence[Failure]) -> tuple[Usage, ...]:
    """What each attempt took that may have been paid for; zeros where nobody has counted it."""
    return tuple(each.usage for each in attempts if not each.unpaid)


def longest_cut(attempts: Sequence[Failure]) -> str:
    """The longest text that had come in one attempt, or ''; white space alone is none."""
    return max((each.said for each in attempts if each.said.strip()), key=len, default="")


def delay(failure: Failure, attempt: int, max_attempts: int, chance: float) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None to give up.

    `attempt` counts from 1; `chance` in [0, 1) spreads the delay over its upper half.
    """
    named = failure.retry_after or 0.0
    if attempt >= max_attempts or not failure.retryable or named > LONGEST_RETRY_AFTER:
        return None
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (attempt - 1))
    return max(named, longest * (0.5 + chance / 2))
