"""What to do after a send that has failed: a pure decision.

It is made by the failure's phase (see `daemon.telegram.api`):

- never sent: wait and try again, for as long as it takes, or, if it was a file that broke off on
  its way, a few times;
- refused: this message has failed, the next one may not; a group that has moved is followed, a
  picture or sound that is none in Telegram's eyes is sent once more as a document, the files of an
  album one by one, and a rich message as plain ones;
- refused because of the chat (we were blocked, thrown out, may not write, or it is not there):
  nothing that waits for it is tried any more, until the chat is open again;
- too many, or too early for a group's slow mode: the whole chat waits as long as it is told to;
- ambiguous: it may have arrived. It is sent once more under a label, when Telegram answers
  something; a second doubt ends it.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import TypeAlias

from attrs import frozen

from daemon.store import closed, sending
from daemon.telegram import media, rich
from daemon.telegram.api import Ambiguous, ApiError, CutOff, NotSent, Refused, RefusedToken, TooMany

FIRST_BACKOFF = 0.5  # seconds
LONGEST_BACKOFF = 60.0
# A refused token is the owner's to mend; until then nothing is lost, only late.
TOKEN_BACKOFF = 60.0
# A request that got no answer was written; give a server that is restarting a moment.
DOUBT_BACKOFF = 1.0
# A line that cuts a file off so often is too slow for it, or for its server; the chat's other
# messages have waited long enough.
MAX_CUTS = 5
TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
# What nobody misses where it is refused.
COURTESIES = frozenset({"answerCallbackQuery", "setMessageReaction"})
MAX_COURTESY = 5  # attempts that may have had their effect


# What a group's slow mode is taken to want where the refusal does not say.
SLOW_BACKOFF = 60.0
_SLOW = re.compile(r"slow ?_?mode", re.IGNORECASE)
_DIGITS = 9  # of a number of seconds that is none
# Refusals of every text in a chat. Those of pictures or files alone are not among them.
_NO_TOPIC = ("message thread not found", "topic_deleted", "topic_closed")
_NO_RIGHTS = (
    "not enough rights to send text messages",
    "have no rights to send a message",
    "chat_write_forbidden",
    "chat_restricted",
    "need administrator rights in the channel chat",
)


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
class Close:
    """Nothing can be sent to this chat, for a reason of `daemon.store.closed`."""

    why: str


@frozen
class AsDocument:
    """It is no picture for Telegram, or no sound: send it as a file."""


@frozen
class OneByOne:
    """Something in the album is not to Telegram's liking: send each file by itself."""


@frozen
class AsMessage:
    """The message that it was to change is not there any more: send it as one of its own."""


@frozen
class Plainly:
    """It is refused as a rich message: send the plain ones that were made with it."""


@frozen
class OutsideTopics:
    """The topic is deleted or closed: send it to the chat itself."""


Decision: TypeAlias = (
    Again
    | Doubt
    | GiveUp
    | Move
    | Close
    | AsDocument
    | OneByOne
    | AsMessage
    | Plainly
    | OutsideTopics
)


def after_failure(error: ApiError, attempts: int, method: str = "", cuts: int = 0) -> Decision:
    """What becomes of a part whose send number `attempts` (from 1) by `method` ended so.

    `cuts` is how many sends before that were cut off.
    """
    match error:
        case TooMany(retry_after):
            return Again(min(retry_after, sending.MAX_WAIT))
        case RefusedToken():
            return Again(TOKEN_BACKOFF)
        case Refused():
            return _after_refusal(error, method)
        case CutOff():
            return _after_cut(attempts, method, cuts)
        case NotSent():
            return Again(backoff(attempts))
        case _:
            return Doubt(backoff(attempts) if method in sending.IDEMPOTENT else DOUBT_BACKOFF)


def backoff(attempts: int) -> float:
    """Seconds, doubling from the first attempt on."""
    # The exponent is capped before it overflows.
    return min(LONGEST_BACKOFF, FIRST_BACKOFF * math.ldexp(1, min(attempts, 10) - 1))


def _after_cut(attempts: int, method: str, cuts: int) -> Decision:
    if cuts + 1 < MAX_CUTS:
        return Again(backoff(attempts), cut=True)
    return OneByOne() if method == media.ALBUM else GiveUp()


def _after_refusal(error: Refused, method: str) -> Decision:
    if error.migrate_to is not None:
        return Move(str(error.migrate_to))
    if (seconds := _slow_mode(error.description)) is not None:
        return Again(min(seconds, sending.MAX_WAIT))
    if (why := _why_closed(error)) is not None:
        return Close(why)
    if any(each in error.description.casefold() for each in _NO_TOPIC):
        return OutsideTopics()
    return _otherwise(error, method)


def _otherwise(error: Refused, method: str) -> Decision:
    """What can be sent in the place of what is refused."""
    bad = error.code == HTTPStatus.BAD_REQUEST
    unknown = error.code == HTTPStatus.NOT_FOUND  # to a Bot API server older than the method
    if method == rich.METHOD and (bad or unknown):
        return Plainly()
    # Too large is what an album is as a whole: its files may not be.
    if method == media.ALBUM and (bad or error.code == TOO_LARGE):
        return OneByOne()
    other = method in media.FIELDS and method != media.DOCUMENT
    return AsDocument() if bad and other else GiveUp()


def _slow_mode(description: str) -> float | None:
    """The seconds that a group's slow mode wants us to wait; None if it is no matter of that."""
    if not _SLOW.search(description):
        return None
    told = re.search(r"\d+", description)
    return float(told[0]) if told and len(told[0]) < _DIGITS else SLOW_BACKOFF


def _why_closed(error: Refused) -> str | None:
    """Why nothing can be sent to the chat; None if it is the message that is refused."""
    words = error.description.casefold()
    if any(each in words for each in _NO_RIGHTS):
        return closed.RIGHTS
    if error.code == HTTPStatus.BAD_REQUEST and "chat not found" in words:
        return closed.GONE
    if error.code != HTTPStatus.FORBIDDEN:
        return None
    kicked = "kicked" in words or "not a member" in words or "deleted" in words
    return closed.KICKED if kicked else closed.BLOCKED


def is_gone(method: str, error: ApiError) -> bool:
    """Whether a message cannot be changed because it is not there, or not ours to change."""
    refused = isinstance(error, Refused) and error.code == HTTPStatus.BAD_REQUEST
    return method == "editMessageText" and refused


def is_harmless(method: str, error: ApiError, attempts: int = 1) -> bool:
    """Whether a failure is as good as a success.

    An edit that changes nothing is refused, and the text stands there; and what cannot be removed
    is mostly gone. Nobody waits any more for the answer to a button that comes too late. A reaction
    is a courtesy: where a chat has none, or the message is gone, nothing is missing; nor where a
    few attempts have had no answer.
    """
    if isinstance(error, Ambiguous):
        return method in COURTESIES and attempts >= MAX_COURTESY
    if not isinstance(error, Refused) or isinstance(error, RefusedToken):
        return False
    unimportant = method in COURTESIES or method == "deleteMessage"
    return unimportant or "message is not modified" in error.description
