"""A send that goes wrong harms no other message, and everybody can see what became of it."""

from __future__ import annotations

import pytest
from attrs import frozen

from daemon.demo.faults import Fault
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer, questions
from tests.crash.oracle import LABEL, settled
from tests.harness.rig import Rig, open_rig

SEND = "sendMessage"
KINDS = ("plain", "plain", "plain")
NO = b'{"ok":false,"error_code":400,"description":"Bad Request: message is too long"}'
OLD = "Not Found: method not found"
UNHARMED = 1  # the chat in which nothing goes wrong


@frozen
class Case:
    """A fault of the first send in a chat, and what must become of that message."""

    name: str
    fault: Fault
    copies: int  # that the chat shows
    labelled: int  # of them
    state: str  # of its row
    told: bool = False  # the chat is told that something is missing


def said_badly(body: bytes) -> Fault:
    """The message is shown, and the answer is no good."""
    return Fault(method=SEND, status=200, body=body, after_effect=True)


def cases() -> list[Case]:
    return [
        Case("429", Fault(method=SEND, status=429, retry_after=1), 1, 0, "sent"),
        Case("400", Fault(method=SEND, status=400), 0, 0, "failed", told=True),
        Case("500", Fault(method=SEND, status=500), 1, 1, "sent"),
        Case("429, 0 s", Fault(method=SEND, status=429, retry_after=0), 1, 0, "sent"),
        Case("200, no", Fault(method=SEND, status=200, body=NO), 0, 0, "failed", told=True),
        Case("200, HTML", Fault(method=SEND, status=200, body=b"<html>"), 1, 1, "sent"),
        Case("200, cut short", said_badly(b'{"ok":tr'), 2, 1, "sent"),
        Case("200, no result", said_badly(b'{"ok":true}'), 2, 1, "sent"),
        Case("200, true", said_badly(b'{"ok":true,"result":true}'), 1, 0, "sent"),
        Case("301", Fault(method=SEND, status=301, body=b"moved"), 1, 1, "sent"),
        Case("404, method", Fault(method=SEND, status=404, description=OLD), 0, 0, "failed", True),
        Case("502, HTML", Fault.bad_gateway(SEND), 1, 1, "sent"),
        Case("cut before", Fault.cut_before(SEND), 1, 1, "sent"),
        Case("reset before", Fault(method=SEND, reset=True), 1, 1, "sent"),
        Case("cut after", Fault.cut_after(SEND), 2, 1, "sent"),
        Case("500 after", Fault(method=SEND, status=500, after_effect=True), 2, 1, "sent"),
    ]


async def test_only_the_message_that_failed_is_affected(figures: Figures) -> None:
    """Each fault has the end that its phase calls for; all other messages arrive, in order."""
    chats = dict(enumerate(cases(), UNHARMED + 1))
    everybody = [UNHARMED, *chats]
    async with open_rig(everybody) as rig:
        rig.model.script = answer
        asked = questions(everybody, KINDS)
        for chat, case in chats.items():
            case.fault.chat_id = chat
            rig.bot.faults.add(case.fault)
        for question in asked:
            question.ask(rig.bot)
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        assert rig.bot.violations == []
        assert rest(rig, UNHARMED) == expected(asked, UNHARMED, 0)
        for chat, case in chats.items():
            figures("sends that go wrong", look_at(rig, chat, case))
            assert rest(rig, chat) == expected(asked, chat, 1), case.name


def look_at(rig: Rig, chat: int, case: Case) -> dict[str, object]:
    """Check what became of the chat's first message, and tell it."""
    first = f"[q{chat}.1/1]"
    copies = [text for text in rig.bot.texts(chat) if first in text]
    labelled = [text for text in copies if text.startswith(LABEL)]
    told = any("refused by Telegram" in text for text in rig.bot.texts(chat))
    row = rig.rows(
        "SELECT state, attempts, error FROM outbox WHERE chat = ? ORDER BY seq", str(chat)
    )[0]
    seen = (len(copies), len(labelled), row["state"], told)
    assert seen == (case.copies, case.labelled, case.state, case.told), case.name
    return {
        "fault": case.name,
        "shown": len(copies),
        "labelled": len(labelled),
        "row": row["state"],
        "attempts": row["attempts"],
        "chat told": told,
        "others": len(rest(rig, chat)),
        "error kept": (row["error"] or "")[:60],
    }


def rest(rig: Rig, chat: int) -> list[str]:
    """The answers that a chat shows to all but the first question, or to all."""
    texts = [text for text in rig.bot.texts(chat) if text.startswith("[q")]
    return [text for text in texts if chat == UNHARMED or f"[q{chat}.1/1]" not in text]


def expected(asked: list[Question], chat: int, skipped: int) -> list[str]:
    names = [question.name for question in asked if question.chat == chat]
    return [f"[{name}/1] answered" for name in names[skipped:]]


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault(status=429, retry_after=1), ["1", "2", "3"]),
        (Fault(status=502, after_effect=True), ["1", "2", "again 2", "3"]),
        (Fault(status=400, description="Bad Request: message is too long"), ["1", "3", "told"]),
    ],
    ids=["429", "502", "400"],
)
async def test_a_part_in_the_middle_fails_alone(fault: Fault, shown: list[str]) -> None:
    """The part before it is not sent again, and the one after it waits for it."""
    fault.method, fault.when = SEND, lambda call: "[q1.1/2]" in str(call.params.get("text"))
    async with open_rig() as rig:
        rig.model.script = answer
        rig.bot.faults.add(fault)
        Question(1, 1, "long").ask(rig.bot)
        await rig.start()
        assert await settled(rig)
        assert [in_a_word(text) for text in rig.bot.texts(1)] == shown
        assert await rig.stop() == 0


def in_a_word(text: str) -> str:
    """Which part of the answer it is, or what else."""
    if "refused by Telegram" in text:
        return "told"
    number = text.removeprefix(LABEL)[len("[q1.1/")]
    return f"again {number}" if text.startswith(LABEL) else number


@pytest.mark.parametrize("arrives", [False, True], ids=["unseen", "seen"])
async def test_two_doubts_leave_a_message_unknown(figures: Figures, arrives: bool) -> None:
    """Killed twice with the same message in flight: it is not sent a third time, and counted."""
    async with open_rig() as rig:
        rig.model.script = answer
        Question(1, 1).ask(rig.bot)
        for _ in range(2):
            stall = rig.bot.faults.add(
                Fault.stalled(SEND, after_effect=arrives, when=lambda call: "q1.1" in str(call))
            )
            rig.spawn()
            await rig.until(lambda stall=stall: stall.used)
            rig.kill_now()
        await rig.start()
        rig.bot.user_says("/status")
        await rig.until(lambda: any("may not have arrived: 1" in t for t in rig.bot.texts(1)))
        copies = [text for text in rig.bot.texts(1) if "[q1.1/1]" in text]
        (row,) = rig.rows("SELECT state, doubts FROM outbox WHERE turn_id IS NOT NULL")
        assert (row["state"], row["doubts"]) == ("unknown", 2)
        assert [text.startswith(LABEL) for text in copies] == ([False, True] if arrives else [])
        assert await rig.stop() == 0
    figures(
        "killed twice with one message in flight",
        {"arrives": arrives, "shown": len(copies), "row": "unknown", "in /status": True},
    )
