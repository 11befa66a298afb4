"""What becomes of something that a person said: a turn of its own, or a part of one.

A client cuts a long text into several messages, an album comes as one message for each picture,
and a forward comes just after the comment on it: those are one turn. What comes while a turn runs
is, as the owner wants it, queued behind it, told to it between two of its steps, or the end of it.

A turn with files waits until each of them is fetched or has failed; what waits for its files is
never told to a turn that runs, but comes behind it. A message that is corrected is, by how far its
turn has come, read in its new words, told as a correction, or answered anew (`correct`).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from daemon.chat import answering, choosing, roles, stopping
from daemon.chat.contents import Contents
from daemon.chat.intake import Corrected, Said
from daemon.chat.situation import Situation, reply
from daemon.store import (
    acks,
    approvals,
    attachments,
    corrections,
    overheard,
    people,
    questions,
    sayings,
    turnrow,
    turns,
)
from daemon.store.attachments import PATIENCE, File
from daemon.store.sayings import Imprint, Saying
from daemon.store.turnrow import GATHER_SECONDS

# A comment and the forward it belongs to are sent by one tap; Telegram dates them in seconds.
COMMENT_SECONDS = 1.0

WAITING = (
    "I am waiting for an answer to what I asked above, and shall read this after it."
    " /approve lets me go on, /deny forbids it, and /stop gives it up."
)
ASKED = (
    "I am waiting for somebody else's answer to what I asked above, and shall read this after it."
    " /stop gives it up."
)
FOLLOWS = "[They sent a file with it, which comes as their next message.]"
RECALLED = "[What they reply to was saved as {where}]"
CORRECTION = "[They corrected their message. It now reads:]\n{text}"
# Before what was said in a group since the bot was last spoken to there.
BEFORE = "[Said in the group before this, but not to you:]"


def take_in(
    situation: Situation, asked: Said | Corrected, while_busy: str
) -> tuple[str, int | None]:
    """Do with it what belongs to it; returns (what became of it, the turn it went into)."""
    if isinstance(asked, Corrected):
        return correct(situation, asked.said, while_busy)
    if asked.addressed:
        return "turn", hear(situation, asked, while_busy)
    turn = overhear(situation, asked)
    return "overheard" if turn is None else "turn", turn


def hear(situation: Situation, said: Said, while_busy: str) -> int:
    """Put what was said into the turn that it belongs to; returns the turn.

    `while_busy` is what is done with it during a turn, unless the chat has chosen otherwise.
    """
    session = people.ensure_session(situation.db, said.place, situation.now)
    said = _recalled(situation, said)
    policy = choosing.policy(situation, said.place, while_busy)
    return (
        _join(situation, said, session)
        or _answer(situation, said, session)
        or _steer(situation, said, session, policy)
        or _begin(situation, said, session)
    )


def overhear(situation: Situation, said: Said) -> int | None:
    """Something that was said in a group to others: a part of what was said to us, or kept.

    Only one item of an album has the caption that mentions us, which is the last where clients put
    that below; and the forward that belongs to a comment has no words of its own. Returns the turn
    that it went into.
    """
    session = people.ensure_session(situation.db, said.place, situation.now)
    if turn := _join(situation, said, session):
        return turn
    if said.kept:
        shown = [f"[{file.told}]" for file in said.contents.files if not file.replied]
        text = "\n".join([said.text, *shown])
        row = overheard.keep(situation.db, said.place, text, situation.now)
        if said.in_album:
            piece = overheard.Piece(said.text, said.message_id, said.contents.files)
            overheard.is_of_album(situation.db, row, said.gather_key, piece)
    return None


def steer(situation: Situation, said: Said) -> bool:
    """Tell what runs, whatever the chat has chosen; False if that has to wait, or nothing runs."""
    session = people.ensure_session(situation.db, said.place, situation.now)
    head = turnrow.head(situation.db, session)
    turn = (
        _answer(situation, said, session)
        or _steer(situation, said, session, "steer")
        or _begin(situation, said, session)
    )
    return head is not None and turn == head.id


def _answer(situation: Situation, said: Said, session: str) -> int | None:
    """Take it as the answer to what the agent has asked this person, if it has.

    Files that came with it are a turn behind that, which can wait for them.
    """
    db, head = situation.db, turnrow.head(situation.db, session)
    if head is None:
        return None
    files = _wanted(situation, said)
    spoken = evolve(said, text=f"{said.text}\n{FOLLOWS}".strip()) if files else said
    if not answering.say(situation, spoken, head):
        return None
    if files:
        return _begin(situation, said, session)
    _keep_number(situation, said, turnrow.last_message(db, head.id))
    if said.more and turnrow.get(db, head.id).state == "ready":
        # The client has cut it, and what follows belongs to the answer. A turn that still runs, for
        # other calls, is not taken away from its run.
        turnrow.gather_on(db, head.id, situation.now + GATHER_SECONDS, said.gather_key)
        situation.effects.begun.append(turnrow.get(db, head.id))
    return head.id


def _steer(situation: Situation, said: Said, session: str, while_busy: str) -> int | None:
    """Do what the owner wants done with a message that comes during a turn; None: it queues."""
    head = turnrow.head(situation.db, session)
    if head is None:
        return None
    works = head.state == "running" or head.waiting_for == "child"
    if approvals.holds_up(situation.db, head.id):
        asked = questions.is_open(situation.db, head.id)
        reply(situation, said.place, ASKED if asked else WAITING)
    elif _is_above(situation, said, head.id):
        return None
    elif works and while_busy == "steer" and not said.contents.files:
        _add(situation, said, head.id)
        return head.id
    elif works and while_busy == "interrupt":
        stopping.interrupt(situation, said.place, session)
    return None


def _is_above(situation: Situation, said: Said, turn_id: int) -> bool:
    """Whether a turn may do more than its new speaker: then their words wait for their own turn."""
    role = turnrow.role(situation.db, turn_id)
    return roles.least(role, said.speaker.role) != role


def _with_before(situation: Situation, said: Said) -> str:
    """What was said, and behind it what was said in the group since the last time."""
    if not said.place.in_group:
        return said.text
    lines = overheard.take(situation.db, said.place, situation.now)
    return "\n".join([said.text, "", BEFORE, *lines]) if lines else said.text


def _begin(situation: Situation, said: Said, session: str) -> int:
    waits = _waits_visibly(situation, session)
    pieces = _heard_of_album(situation, said)
    turn = turns.create(
        situation.db,
        session,
        text=_with_before(situation, said),
        asked_at=said.asked_at,
        now=situation.now,
        payer_id=_speaker_of(situation, said),
        gather_key=said.gather_key if said.more else None,
        deadline=_patience(situation, said),
        role=said.speaker.role,
        reply_to=(said.message_id or None) if said.place.in_group else None,
    )
    _note(situation, said, turn.id, turnrow.first_message(situation.db, turn.id))
    for piece in pieces:
        _add(situation, piece, turn.id)
    situation.effects.begun.append(turn)
    if waits:
        _acknowledge(situation, said, turn.id)
    return turn.id


def _heard_of_album(situation: Situation, said: Said) -> list[Said]:
    """The items of the same album that came before this one and were taken for talk."""
    if not (said.in_album and said.place.in_group):
        return []
    kept = overheard.take_album(situation.db, said.place, said.gather_key)
    return [
        evolve(
            said,
            text=each.text,
            message_id=each.message_id,
            contents=Contents("", files=each.files),
        )
        for each in kept
    ]


def _waits_visibly(situation: Situation, session: str) -> bool:
    """Whether something that comes now has to wait, and nothing has told so yet."""
    head = turnrow.head(situation.db, session)
    if head is None or approvals.holds_up(situation.db, head.id):
        return False
    return turnrow.count_open(situation.db, session, acks.MOST + 1) <= acks.MOST


def _acknowledge(situation: Situation, said: Said, turn_id: int) -> None:
    """Show that what was said waits for its turn; an ephemeral message has no number."""
    if not said.message_id:
        return
    acks.react(situation.db, turn_id, said.place, said.message_id, situation.now)
    situation.effects.queued.append(acks.beside(said.place))


def _patience(situation: Situation, said: Said) -> float | None:
    """How long a turn waits after this message, if it must: for more, or for what came with it."""
    if said.more:
        return situation.now + GATHER_SECONDS
    return situation.now + PATIENCE if _wanted(situation, said) else None


def _speaker_of(situation: Situation, said: Said) -> str:
    return situation.user(said.place, said.speaker)


def _join(situation: Situation, said: Said, session: str) -> int | None:
    """Add to a turn that was opened for more, or to the comment of this forward; or None."""
    open_turn = turns.gathering(situation.db, session, said.gather_key)
    if open_turn is not None:
        _add(situation, said, open_turn.id)
        if said.more:
            turnrow.gather_more(situation.db, open_turn.id, situation.now)
        elif (until := attachments.until(situation.db, open_turn.id)) is not None:
            turnrow.extend_gathering(situation.db, open_turn.id, until)
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
    _add(situation, said, comment.id)
    deadline = _patience(situation, said)
    if deadline is None:
        turns.begin_afresh(situation.db, comment.id)
    else:
        key = said.gather_key if said.more else None
        turnrow.gather_on(situation.db, comment.id, deadline, key)
        situation.effects.begun.append(turnrow.get(situation.db, comment.id))
    situation.effects.reread.append(comment.id)
    return comment.id


# --- Rows of a message ---


def _add(situation: Situation, said: Said, turn_id: int) -> None:
    message_id = turnrow.add_user_message(situation.db, turn_id, said.text, situation.now)
    turnrow.lower_role(situation.db, turn_id, said.speaker.role)
    _note(situation, said, turn_id, message_id)


def _note(situation: Situation, said: Said, turn_id: int, message_id: int) -> None:
    """Keep what the network calls a message, and name the files that came with it."""
    _keep_number(situation, said, message_id)
    if files := _wanted(situation, said):
        attachments.add(situation.db, turn_id, message_id, files, situation.now)
        situation.effects.fetch = True


def _keep_number(situation: Situation, said: Said, message_id: int) -> None:
    """Keep what the network calls a message, for its corrections."""
    db, imprint = situation.db, said.contents.imprint
    if said.message_id:
        sayings.note(db, said.place, said.message_id, message_id, imprint, situation.now)


def _wanted(situation: Situation, said: Said) -> Sequence[File]:
    """The files to fetch: of a message that is replied to, only if it was never said here."""

    def is_known(file: File) -> bool:
        return bool(file.replied) and _find(situation, said, file.replied) is not None

    return [file for file in said.contents.files if not is_known(file)]


def _recalled(situation: Situation, said: Said) -> Said:
    """A message with the places of the files of what it replies to, if that was said here."""
    for file in said.contents.files:
        known = _find(situation, said, file.replied) if file.replied else None
        lies = attachments.paths(situation.db, known.message_id) if known else []
        if lies:
            return evolve(said, text=f"{said.text}\n{RECALLED.format(where=', '.join(lies))}")
    return said


def _find(situation: Situation, said: Said, message_id: str) -> Saying | None:
    return sayings.find(situation.db, said.place, message_id)


# --- Corrections ---


def correct(situation: Situation, said: Said, while_busy: str) -> tuple[str, int | None]:
    """Do what a correction asks for; returns (what became of it, the turn that it went into).

    One that has not begun to work reads the new words. One that works is told of them. The last one
    that is over is followed by a turn about the correction; anything older is left as it was said.
    """
    saying = _find(situation, said, said.message_id)
    if saying is None:
        return "edit of an unknown message", None
    if not _differs(saying.imprint, said.contents.imprint):
        return "edit of no words", None
    turn = turnrow.get(situation.db, saying.turn_id)
    if said.contents.imprint.files != saying.imprint.files:
        return _answer_anew(situation, said, turn, while_busy)
    if turn.state == "ended":
        return _answer_anew(situation, said, turn, while_busy)
    again = _recalled(situation, said)
    if corrections.is_untouched(situation.db, turn.id):
        _reword(situation, again, saying)
    else:
        _tell(situation, again, turn.id)
    return "corrected", turn.id


def _differs(old: Imprint, new: Imprint) -> bool:
    """Whether an edit is one: other files, or other words. Words that went are no question."""
    return old.files != new.files or (old.words != new.words and bool(new.words))


def _reword(situation: Situation, said: Said, saying: Saying) -> None:
    db = situation.db
    text = _with_what_followed(situation, said.text, saying.message_id)
    message_id = corrections.reword(db, saying.turn_id, saying.message_id, text)
    _keep_number(situation, said, message_id)


def _with_what_followed(situation: Situation, words: str, message_id: int) -> str:
    """Other words with what stands behind the old ones: talk of the group, lines about files."""
    old = turnrow.text(situation.db, message_id)
    _, talk, rest = old.partition(f"\n\n{BEFORE}")
    if talk:
        return words + talk + rest
    return "\n".join(part for part in (words, *attachments.notes(situation.db, message_id)) if part)


def _tell(situation: Situation, said: Said, turn_id: int) -> None:
    db, text = situation.db, CORRECTION.format(text=said.text)
    message_id = turnrow.add_user_message(db, turn_id, text, situation.now)
    turnrow.lower_role(db, turn_id, said.speaker.role)
    _keep_number(situation, said, message_id)


def _answer_anew(
    situation: Situation, said: Said, turn: turnrow.TurnRow, while_busy: str
) -> tuple[str, int | None]:
    if turn.state == "ended" and not corrections.is_last(situation.db, turn):
        return "edit of an old message", None
    again = evolve(said, text=CORRECTION.format(text=said.text), more=False, forwarded=False)
    return "corrected", hear(situation, again, while_busy)
