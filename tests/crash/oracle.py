"""The judge: what the chats show and what the rows say, against what was asked.

It knows nothing of how the daemon works but the promises. Each question is answered once, in the
order of its chat. A message may come twice only if the second says so, and may only say so if its
row was `sending` when the daemon was killed. Every tool call has one result, and every row has
come to an end.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence

import trio
from attrs import define, field, fields_dict

from tests.crash.conversation import Key, Question
from tests.harness.rig import Rig

DOUBTS = 2  # that leave a message open
LABEL = "Possibly sent twice:\n"
TAG = re.compile(r"\[(q\d+\.\d+)/(\d+)\]")
GIVEN_UP = re.compile(r'I could not finish this, .* "(q\d+\.\d+) ')

SETTLE_TIMEOUT = 60.0  # seconds; only reached by a test that has failed
SETTLE_INTERVAL = 0.02  # seconds between looks at a file that rings no bell

OPEN_WORK = """SELECT (SELECT count(*) FROM inbox WHERE state = 'new')
    + (SELECT count(*) FROM turns WHERE state <> 'ended')
    + (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending'))"""

MISCOUNTED_CALLS = """SELECT count(*) FROM tool_calls AS c WHERE state <> 'done'
    OR 1 <> (SELECT count(*) FROM messages WHERE tool_call_id = c.id)"""

NO_SINGLE_END = """SELECT count(*) FROM turns AS t WHERE 1 <> (SELECT count(*) FROM messages AS m
    WHERE m.turn_id = t.id AND role = 'assistant'
    AND NOT EXISTS (SELECT 1 FROM tool_calls WHERE message_id = m.id))"""


@define
class Kills:
    """The kills of one conversation, and the parts that were in flight at each."""

    count: int = 0
    in_flight: Counter[int] = field(factory=Counter)

    def note(self, rig: Rig) -> None:
        """To be called after a kill, before the next start."""
        self.count += 1
        try:
            rows = rig.rows("SELECT id FROM outbox WHERE state = 'sending'")
        except sqlite3.OperationalError:  # it did not live to make the tables
            return
        self.in_flight.update(row["id"] for row in rows)


@define
class Verdict:
    """The figures of one or more conversations; see `faults`."""

    conversations: int = 0
    kills: int = 0
    questions: int = 0
    shown: int = 0
    tool_calls: int = 0
    # What may not be.
    lost: int = 0
    out_of_order: int = 0
    unlabelled_duplicates: int = 0
    unearned_labels: int = 0
    calls_without_one_result: int = 0
    other_faults: int = 0
    # What may be, and is to be known.
    labels: int = 0
    labelled_duplicates: int = 0
    unknown: int = 0
    unknown_unseen: int = 0  # of those, what no chat ever showed
    given_up: int = 0
    notes: list[str] = field(factory=list)

    @property
    def faults(self) -> int:
        return (
            self.lost
            + self.out_of_order
            + self.unlabelled_duplicates
            + self.unearned_labels
            + self.calls_without_one_result
            + self.other_faults
        )

    def add(self, other: Verdict) -> None:
        for name in fields_dict(Verdict):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> dict[str, object]:
        """The numbers, by names fit for a table."""
        return {
            name.replace("_", " "): getattr(self, name)
            for name in fields_dict(Verdict)
            if name != "notes"
        }


async def settled(rig: Rig, timeout: float = SETTLE_TIMEOUT) -> bool:
    """Wait until the daemon has taken everything in and has nothing left to do.

    False if it ended before that. Raises AssertionError after `timeout` seconds.
    """
    with trio.move_on_after(timeout):
        while not _is_settled(rig):
            if not rig.runs:
                return False
            await trio.sleep(SETTLE_INTERVAL)
        return True
    raise AssertionError(f"not settled in {timeout:g} s:\n{rig.bot.account()}\n{rig.last_words()}")


def _is_settled(rig: Rig) -> bool:
    try:
        return not len(rig.bot.world.updates) and not rig.value(OPEN_WORK)
    except sqlite3.OperationalError:  # there is no database yet, or no tables
        return False


@define
class Shown:
    """A message as a chat showed it: what it answers, and whether it says "possibly twice"."""

    key: Key
    labelled: bool
    chat: int
    text: str


def judge(rig: Rig, asked: Sequence[Question], kills: Kills) -> Verdict:
    """Look at a settled world. Call it when the daemon has ended."""
    shown = [_shown(sent.chat_id, sent.text) for sent in rig.bot.sent]
    calls = rig.value("SELECT count(*) FROM tool_calls")
    verdict = Verdict(1, kills.count, len(asked), len(shown), calls)
    by_chat: defaultdict[int, list[Shown]] = defaultdict(list)
    for each in shown:
        by_chat[each.chat].append(each)
    for chat, seen in by_chat.items():
        _judge_chat(verdict, seen, [q for q in asked if q.chat == chat])
    _judge_absent(verdict, rig, asked, {each.key for each in shown})
    _judge_unknown(verdict, rig, kills)
    _judge_labels(verdict, rig, [each for each in shown if each.labelled], kills)
    _judge_rows(verdict, rig)
    return verdict


def _shown(chat: int, text: str) -> Shown:
    labelled = text.startswith(LABEL)
    said = text.removeprefix(LABEL)
    if tag := TAG.search(said):
        return Shown((tag[1], int(tag[2])), labelled, chat, said)
    # What answers no question (a command's reply) is told apart by its text.
    return Shown((said, 0), labelled, chat, said)


def _judge_chat(verdict: Verdict, seen: Sequence[Shown], asked: Sequence[Question]) -> None:
    """Order and duplicates within a chat."""
    known: set[Key] = set()
    first: list[Key] = []
    for previous, each in zip([None, *seen], seen, strict=False):
        if each.key not in known:
            first.append(each.key)
        elif each.labelled:
            verdict.labelled_duplicates += 1
            if previous is None or previous.key != each.key:
                verdict.out_of_order += 1
                verdict.notes.append(f"{each.key} was repeated after {previous and previous.key}")
        else:
            verdict.unlabelled_duplicates += 1
            verdict.notes.append(f"{each.key} was shown twice without a label")
        known.add(each.key)
    expected = [key for question in asked for key in question.keys if key in known]
    beside = {key for question in asked for key in question.beside}
    answers = [key for key in first if key[1] and key not in beside]
    if answers != expected:
        verdict.out_of_order += 1
        verdict.notes.append(f"order: {answers} in place of {expected}")


def _judge_absent(verdict: Verdict, rig: Rig, asked: Sequence[Question], shown: set[Key]) -> None:
    """What was never shown is lost, unless its chat was told so or two doubts left it open."""
    given_up = {m[1] for sent in rig.bot.sent if (m := GIVEN_UP.match(sent.text))}
    doubted = rig.rows("SELECT id, params FROM outbox WHERE state = 'unknown'")
    open_keys = {_shown(0, row["params"]).key for row in doubted}
    verdict.unknown += len(doubted)
    verdict.given_up += len(given_up)
    verdict.unknown_unseen += len(open_keys - shown)
    for question in asked:
        for key in [*question.keys, *question.beside]:
            if key not in shown and key not in open_keys and question.name not in given_up:
                verdict.lost += 1
                verdict.notes.append(f"{key} was never shown")


def _judge_unknown(verdict: Verdict, rig: Rig, kills: Kills) -> None:
    """Two kills that found the same part in flight leave it open; nothing less does."""
    for row in rig.rows("SELECT id FROM outbox WHERE state = 'unknown'"):
        if kills.in_flight[row["id"]] < DOUBTS:
            verdict.other_faults += 1
            verdict.notes.append(f"row {row['id']} is unknown without two kills")


def _judge_labels(verdict: Verdict, rig: Rig, labelled: Sequence[Shown], kills: Kills) -> None:
    """A label is earned by a kill that found this very part in flight."""
    earned = Counter(kills.in_flight)
    verdict.labels += len(labelled)
    for each in labelled:
        rows = rig.rows(
            "SELECT id FROM outbox WHERE chat = ? AND json_extract(params, '$.text') = ?",
            str(each.chat),
            each.text,
        )
        row = next((row["id"] for row in rows if earned[row["id"]]), None)
        if row is None:
            verdict.unearned_labels += 1
            verdict.notes.append(f"{each.key} has a label that no kill explains")
        else:
            earned[row] -= 1


def _judge_rows(verdict: Verdict, rig: Rig) -> None:
    """The rows have all ended, and the servers and the log have nothing to complain of."""
    verdict.calls_without_one_result += rig.value(MISCOUNTED_CALLS)
    wrong = {
        "rows still open": rig.value(OPEN_WORK),
        "turns without one last answer": rig.value(NO_SINGLE_END),
        "model calls still running": rig.value(
            "SELECT count(*) FROM model_calls WHERE state = 'running'"
        ),
        "tokens reserved for nothing": rig.value(
            "SELECT coalesce(sum(reserved_tokens), 0) FROM usage"
        ),
        "messages refused": rig.value(
            "SELECT count(*) FROM outbox WHERE state = 'failed' AND method = 'sendMessage'"
        ),
        "requests refused by the model": len(rig.model.refusals),
        "calls against the Bot API's reference": len(rig.bot.violations),
        "errors in the log": rig.log().count("level=error"),
    }
    for what, count in wrong.items():
        if count:
            verdict.other_faults += 1
            verdict.notes.append(f"{what}: {count}")
