"""Telegram refuses every send for a while: late is all that an answer becomes.

Each chat is told another time to wait, and again when it comes back, until the time is over. A
preview may be dropped then, an answer may not; and a chat that is told to wait is left alone until
its time, by answers, previews and reactions. Only what is told to a reaction is for reactions.
"""

from __future__ import annotations

import time
from functools import partial

import attrs
import pytest
from attrs import frozen

from daemon import config
from daemon.demo.calls import Call
from daemon.demo.faults import Fault
from daemon.demo.replies import ChatRequest, Item, Reply
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer, questions
from tests.crash.oracle import LABEL, TAG, settled
from tests.harness.rig import Rig, open_rig

LONGEST = 5  # seconds that a chat is told to wait
SENDS = ("send", "edit", "delete", "copy", "forward", "answer", "setMessageReaction")
REACT = "setMessageReaction"
KINDS = ("plain", "long", "sum")
SLACK = 20.0  # seconds for what waits, after the last wait is over
# The program's clock and the server's are read at different moments.
EARLY = 0.05
# What was on its way already when something else in its chat was told to wait.
UNDERWAY = 0.5
# A chat of the questions that is a group: there a preview is a message, and is edited.
GROUP, GROUP_ID = 99, -1001
MENTION = "@famulus_demo_bot"
HAS_PREVIEWS = "streaming" in attrs.fields_dict(config.Telegram)


@frozen
class Throttle:
    """Every send until `end` (of the monotonic clock) is told to wait."""

    end: float

    def wait_for(self, call: Call) -> int:
        """The seconds that a call is told to wait; 0 for one that may pass."""
        if call.at >= self.end or not call.method.startswith(SENDS):
            return 0
        return 1 + ((call.chat_id or 0) + int(call.at * 10)) % LONGEST

    def impose(self, rig: Rig) -> None:
        for seconds in range(1, LONGEST + 1):
            asked = partial(self._is, seconds)
            rig.bot.faults.add(Fault(when=asked, status=429, retry_after=seconds, times=-1))

    def _is(self, seconds: int, call: Call) -> bool:
        return self.wait_for(call) == seconds


def slowly(request: ChatRequest) -> Item:
    """The usual answers, so slow to come that they are previewed."""
    item = answer(request)
    return Reply(item, chunks=8, pause=0.2) if isinstance(item, str) else item


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "streaming",
    [
        "off",
        pytest.param(
            "auto", marks=pytest.mark.skipif(not HAS_PREVIEWS, reason="there are no previews")
        ),
    ],
)
async def test_every_send_is_refused_for_a_while(
    figures: Figures, seconds: int, streaming: str
) -> None:
    """Every answer arrives, once and in the order of its chat, as soon as that is over."""
    chats = [*range(1, 21), GROUP]
    telegram = {"allowed_chats": [GROUP_ID], **({"streaming": streaming} if HAS_PREVIEWS else {})}
    async with open_rig(chats, telegram=telegram) as rig:
        rig.model.script = answer if streaming == "off" else slowly
        await rig.start()
        throttle = Throttle(time.monotonic() + seconds)
        throttle.impose(rig)
        asked = questions(chats, KINDS)
        for question in asked:
            ask(rig, question)
        await rig.until(lambda: all_shown(rig, asked), seconds + LONGEST + SLACK)
        assert await settled(rig)
        assert await rig.stop() == 0
        throttled = [call for call in rig.bot.calls if throttle.wait_for(call)]
        late = max(sent.at for sent in rig.bot.sent) - throttle.end
        figures(
            "every send refused",
            {
                "seconds": seconds,
                "streaming": streaming,
                "answers": len(asked),
                "refused": len(throttled),
                "of them drafts and edits": sum(is_preview(call.method) for call in throttled),
                "last answer after the end": f"{late:.1f} s",
            },
        )
        for chat in chats:
            assert tags(rig, chat) == [key for q in asked if q.chat == chat for key in q.keys]
        assert not [sent.text for sent in rig.bot.sent if LABEL in sent.text]
        assert impatient(rig, throttle) == []
        assert late_previews(rig) == []
        assert rig.bot.violations == []
        assert rig.value("SELECT count(*) FROM outbox WHERE state <> 'sent'") == 0


def is_preview(method: str) -> bool:
    return "Draft" in method or method.startswith(("edit", "sendChatAction"))


def ask(rig: Rig, question: Question) -> None:
    if question.chat != GROUP:
        question.ask(rig.bot)
        return
    entities = [{"type": "mention", "offset": 0, "length": len(MENTION)}]
    text = f"{MENTION} {question.text}"
    rig.bot.user_says(text, chat_id=GROUP_ID, user_id=1, entities=entities)


def tags(rig: Rig, chat: int) -> list[tuple[str, int]]:
    """What the chat shows now, by the names of the answers' parts."""
    texts = rig.bot.texts(GROUP_ID if chat == GROUP else chat)
    return [(tag[1], int(tag[2])) for text in texts if (tag := TAG.search(text))]


def all_shown(rig: Rig, asked: list[Question]) -> bool:
    wanted = {(question.chat, key) for question in asked for key in question.keys}
    return wanted <= {(chat, key) for chat, _ in wanted for key in tags(rig, chat)}


def impatient(rig: Rig, throttle: Throttle) -> list[str]:
    """The sends that came before their chat was allowed to."""
    found, told = [], dict[int | None, tuple[float, float]]()
    for call in rig.bot.calls:
        if not call.method.startswith(SENDS):
            continue
        since, until = told.get(call.chat_id, (0.0, 0.0))
        if since + UNDERWAY < call.at < until - EARLY:
            found.append(f"{call.method} in {call.chat_id}: {until - call.at:.2f} s early")
        if (wait := throttle.wait_for(call)) and call.method != REACT:
            told[call.chat_id] = (call.at, max(until, call.at + wait))
    return found


def late_previews(rig: Rig) -> list[str]:
    """The previews that were shown after the answer that they preview."""
    shown = {
        (sent.chat_id, tag[1]): sent.at for sent in rig.bot.sent if (tag := TAG.search(sent.text))
    }
    return [
        draft.text[:60]
        for draft in rig.bot.drafts
        if (tag := TAG.search(draft.text)) and draft.at > shown[draft.chat_id, tag[1]]
    ]
