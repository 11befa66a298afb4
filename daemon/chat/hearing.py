"""What becomes of something that a person said: a turn of its own, or a part of one.

A client cuts a long text into several messages, an album comes as one message for each picture,
and a forward comes just after the comment on it: those are one turn. What comes while a turn runs
is, as the owner wants it, queued behind it, told to it between two of its steps, or the end of it.
"""

from __future__ import annotations

from daemon.chat.commands import Situation, reply
from daemon.chat.intake import Said
from daemon.store import approvals, people, turnrow, turns

# How long a gathering stays open for what may follow, from the latest piece. Pieces of a text
# that a client cut, and items of an album, come within a few hundred milliseconds.
GATHER_SECONDS = 1.0
# A comment and the forward it belongs to are sent by one tap; Telegram dates them in seconds.
COMMENT_SECONDS = 1.0

WAITING = (
    "I am waiting for an answer to what I asked above, and shall read this after it."
    " /approve lets me go on, /deny forbids it, and /stop gives it up."
)


def hear(situation: Situation, said: Said, while_busy: str) -> int:
    """Put what was said into the turn that it belongs to; returns the turn."""
    db, now = situation.db, situation.now
    session = people.ensure_session(db, said.place, now)
    return (
        _join(situation, said, session)
        or _steer(situation, said, session, while_busy)
        or _begin(situation, said, session)
    )


def _steer(situation: Situation, said: Said, session: str, while_busy: str) -> int | None:
    """Do what the owner wants done with a message that comes during a turn; None: it queues."""
    head = turnrow.head(situation.db, session)
    if head is None:
        return None
    works = head.state == "running" or head.waiting_for == "child"
    if approvals.holds_up(situation.db, head.id):
        reply(situation, said.place, WAITING)
    elif works and while_busy == "steer":
        turnrow.add_user_message(situation.db, head.id, said.text, situation.now)
        return head.id
    elif works and while_busy == "interrupt":
        stopped = turns.stop(situation.db, session, situation.now)
        situation.effects.dropped += stopped.turns
        situation.effects.begun += stopped.freed
    return None


def _begin(situation: Situation, said: Said, session: str) -> int:
    turn = turns.create(
        situation.db,
        session,
        text=said.text,
        asked_at=said.asked_at,
        now=situation.now,
        payer_id=_speaker_of(situation, said),
        gather_key=said.gather_key if said.more else None,
        deadline=situation.now + GATHER_SECONDS if said.more else None,
    )
    situation.effects.begun.append(turn)
    return turn.id


def _speaker_of(situation: Situation, said: Said) -> str:
    speaker, channel = said.speaker, said.place.channel
    return people.ensure_user(
        situation.db, channel, speaker.external_id, speaker.name, situation.now
    )


def _join(situation: Situation, said: Said, session: str) -> int | None:
    """Add to a turn that was opened for more, or to the comment of this forward; or None."""
    open_turn = turns.gathering(situation.db, session, said.gather_key)
    if open_turn is not None:
        turnrow.add_user_message(situation.db, open_turn.id, said.text, situation.now)
        if said.more:
            turns.extend_gathering(situation.db, open_turn.id, situation.now + GATHER_SECONDS)
        else:
            turnrow.make_ready(situation.db, open_turn.id)
        situation.effects.begun.append(turnrow.get(situation.db, open_turn.id))
        return open_turn.id
    return _join_comment(situation, said, session) if said.forwarded else None


def _join_comment(situation: Situation, said: Said, session: str) -> int | None:
    since, speaker = said.asked_at - COMMENT_SECONDS, _speaker_of(situation, said)
    comment = turns.unanswered(situation.db, session, since, speaker)
    if comment is None:
        return None
    turnrow.add_user_message(situation.db, comment.id, said.text, situation.now)
    turns.begin_afresh(situation.db, comment.id)
    situation.effects.reread.append(comment.id)
    return comment.id
