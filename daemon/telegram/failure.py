"""What to do after a send that has failed: a pure decision.

It is made by the failure's phase (see `daemon.telegram.api`):

- never sent: wait and try again, for as long as it takes, or, if it was a file that broke off on
  its way, a few times;
- refused: this message has failed, the next one may not; a group that has moved is followed, and
  a picture that is none in Telegram's eyes is sent once more as a document;
- too many: the whole chat waits as long as it is told to;
- ambiguous: it may have arrived. It is sent once more under a label; a second doubt ends it.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TypeAlias

from attrs import frozen

from daemon.store import outbox as rows
from daemon.telegram import media
from daemon.telegram.api import ApiError, CutOff, NotSent, Refused, RefusedToken, TooMany

FIRST_BACKOFF = 0.5  # seconds
LONGEST_BACKOFF = 60.0
# A refused token is the owner's to mend; until then nothing is lost, only late.
TOKEN_BACKOFF = 60.0
# A request that got no answer was written; give a server that is restarting a moment.
DOUBT_BACKOFF = 1.0
# A line that cuts a file off so often is too slow for it, or for its server; the chat's other
# messages have waited long enough.
MAX_CUTS = 5


@frozen
class Again:
    """Not sent: queue it again and leave the chat alone for `delay` seconds.

    `cut` is for a part that had begun to be sent, which is counted.
    """

    delay: float
    cut: bool = False


@frozen
class Doubt:
    """It may have arrived."""

    delay: float


@frozen
class GiveUp:
    """Telegram does not want this message."""


@frozen
class Move:
    """The group is a supergroup now, with this id."""

    chat: str


@frozen
class AsDocument:
    """It is no picture for Telegram: send it as a file."""


Decision: TypeAlias = Again | Doubt | GiveUp | Move | AsDocument


def after_failure(error: ApiError, attempts: int, method: str = "", cuts: int = 0) -> Decision:
    """What becomes of a part whose send number `attempts` (from 1) by `method` ended so.

    `cuts` is how many sends before that were cut off.
    """
    match error:
        case TooMany(retry_after):
            return Again(min(retry_after, rows.MAX_WAIT))
        case RefusedToken():
            return Again(TOKEN_BACKOFF)
        case Refused():
            return _after_refusal(error, method)
        case CutOff():
            return Again(backoff(attempts), cut=True) if cuts + 1 < MAX_CUTS else GiveUp()
        case NotSent():
            return Again(backoff(attempts))
        case _:
            return Doubt(DOUBT_BACKOFF)


def backoff(attempts: int) -> float:
    """Seconds, doubling from the first attempt on."""
    # The exponent is capped before it overflows.
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * math.ldexp(1, min(attempts, 10) - 1))


def _after_refusal(error: Refused, method: str) -> Decision:
    if error.migrate_to is not None:
        return Move(str(error.migrate_to))
    no_picture = method == media.PHOTO and error.code == HTTPStatus.BAD_REQUEST
    return AsDocument() if no_picture else GiveUp()


def is_harmless(method: str, error: ApiError) -> bool:
    """Whether a refusal is as good as a success.

    An edit that changes nothing is refused, and the text stands there. Nobody waits any more for
    the answer to a button that comes too late.
    """
    if not isinstance(error, Refused) or isinstance(error, RefusedToken):
        return False
    return method == "answerCallbackQuery" or "message is not modified" in error.description
