"""When a failed model call is made again, and after how long: a pure policy.

The phase of the failure decides. A request that was refused will be refused again (400, 401, 403,
404, 422); one that was throttled, failed at the server or lost on the way is worth another try,
after the time the server names and at least a doubling delay with jitter.
"""

from __future__ import annotations

from attrs import frozen

FIRST_DELAY = 0.5  # seconds
LONGEST_DELAY = 20.0
# A server that wants longer than this is asking for another day, and a person is waiting.
LONGEST_RETRY_AFTER = 60.0

RETRYABLE_STATUS = frozenset({408, 409, 425, 429})


@frozen
class Failure:
    """One failed attempt: `sentence` is for the person, `error` for the log.

    `status` is the provider's HTTP status, None where there was none; `retry_after` the seconds it
    asked for; `said` the text that had come. A `final` failure would come again.
    """

    sentence: str
    error: str
    status: int | None = None
    retry_after: float | None = None
    said: str = ""
    final: bool = False

    @property
    def retryable(self) -> bool:
        if self.final or self.status is None:
            return not self.final
        return self.status in RETRYABLE_STATUS or self.status >= 500  # noqa: PLR2004


def delay(failure: Failure, attempt: int, max_attempts: int, chance: float) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None to give up.

    `attempt` counts from 1; `chance` in [0, 1) spreads the delay over its upper half.
    """
    named = failure.retry_after or 0.0
    if attempt >= max_attempts or not failure.retryable or named > LONGEST_RETRY_AFTER:
        return None
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (attempt - 1))
    return max(named, longest * (0.5 + chance / 2))
