"""Groups as people see them: the real daemon, a forum with topics, and private chats beside it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import Factory, define, frozen

from daemon.chat.hearing import BEFORE
from daemon.demo import groups
from daemon.demo.calls import Sent
from daemon.demo.replies import ChatRequest, text_of
from tests.harness.rig import Rig, open_rig

FORUM = -1_001_000_000_001
PEOPLE = (1, 2, 3)
TOPICS = (None, 5, 9)  # None: General
USERNAME = "famulus_demo_bot"
# What is asked, where, and what was only said: "Q17 in 5" or "C3 in General".
MARK = re.compile(r"\b([QC]\d+) in (\S+)")

NO_BUDGET = {
    f"{whose}_tokens": 0 for whose in ("turn", "user_day", "guest_day", "agent_day", "heartbeat")
}


@frozen
class Question:
    """Something that was said: by whom, where, as which message; `answered` if it is to be."""

    name: str
    user: int
    chat: int
    topic: int | None
    message_id: int
    answered: bool

    @property
    def place(self) -> str:
        return where(self.chat, self.topic)


def where(chat: int, topic: int | None) -> str:
    """The name of a place, in one word."""
    return f"{topic or 'General'}" if chat == FORUM else f"private-{chat}"


@define
class Crowd:
    """Three people who talk in a forum with two topics, and now and then alone with the bot."""

    rig: Rig
    dice: random.Random
    said: list[Question] = Factory(list)
    wrong: list[str] = Factory(list)  # what a model was shown of another place

    def speak(self) -> None:
        """Somebody says something somewhere: to the bot, or in the forum to others as well."""
        user, number = self.dice.choice(PEOPLE), len(self.said) + 1
        places = [(user, None), *[(FORUM, each) for each in TOPICS] * 3]
        chat, topic = self.dice.choice(places)
        how = self.dice.choice(["mention", "name", "reply", "chatter"])
        addressed = chat != FORUM or how != "chatter"
        quiet = addressed and chat == FORUM and self.dice.random() < 0.1
        name = f"{'Q' if addressed else 'C'}{number}"
        text = f"{name} in {where(chat, topic)}{' hush' if quiet else ''}"
        words, more = self._addressed(text, chat, topic, how)
        bot = self.rig.bot
        bot.user_says(words, chat_id=chat, user_id=user, message_thread_id=topic, **more)
        message_id = bot.world.chats[chat].last_message_id
        self.said.append(Question(name, user, chat, topic, message_id, addressed and not quiet))

    def _addressed(
        self, text: str, chat: int, topic: int | None, how: str
    ) -> tuple[str, dict[str, Any]]:
        if chat != FORUM or how == "chatter":
            return text, {}
        answers = [each for each in self.rig.bot.chat(FORUM) if in_topic(each, topic)]
        if how == "reply" and answers:
            shown = self.dice.choice(answers).wire()
            shown.pop("reply_to_message", None)
            return text, {"reply_to_message": shown}
        if how == "name":
            return f"Famulus: {text}", {}
        before = "\U0001f600 " * self.dice.randrange(3)
        offset = len(before.encode("utf-16-le")) // 2
        entity = {"type": "mention", "offset": offset, "length": len(USERNAME) + 1}
        return f"{before}@{USERNAME} {text}", {"entities": [entity]}

    def answer(self, request: ChatRequest) -> str:
        """The model: answers what was asked last, and looks at what else it is shown."""
        texts = [text_of(each) for each in request.messages if each["role"] == "user"]
        own = texts[-1].partition(BEFORE)[0]
        name, place = MARK.findall(own)[-1]
        for text in texts:
            self.wrong += [f"{found}: {name}" for found in MARK.findall(text) if found[1] != place]
        asked = self.said[int(name[1:]) - 1]
        if asked.chat == FORUM and not texts[-1].startswith(f"User {asked.user}: "):
            self.wrong.append(f"{texts[-1]!r} is not said by {asked.user}")
        return "NO_REPLY" if "hush" in own else f"answer to {name}"


def in_topic(message: Any, topic: int | None) -> bool:
    return message.from_bot and message.content.get("message_thread_id") == topic


def answers(rig: Rig) -> Iterator[tuple[str, Sent]]:
    for sent in rig.bot.sent:
        if sent.method == "sendMessage" and sent.text.startswith("answer to "):
            yield sent.text.removeprefix("answer to "), sent


def misplaced(question: Question, sent: Sent) -> bool:
    """Whether an answer is anywhere but where its question is, or answers another message."""
    replied = sent.params.get("reply_parameters", {}).get("message_id")
    right = question.message_id if question.chat == FORUM else None
    place = sent.chat_id, sent.params.get("message_thread_id")
    return place != (question.chat, question.topic) or replied != right


@pytest.mark.parametrize("seed", [1])
async def test_no_answer_is_in_the_wrong_place(seed: int) -> None:
    """Of 500 messages at random, each that is for the bot gets one answer, where it was asked."""
    telegram = {"owner": 1, "allowed_chats": [FORUM]}
    tables = {"telegram": telegram, "budget": NO_BUDGET, "compaction": {"enabled": False}}
    async with open_rig(PEOPLE, **tables) as rig:
        groups.group(rig.bot, FORUM, "Team", forum=True)
        crowd = Crowd(rig, random.Random(seed))
        rig.model.script = crowd.answer
        await rig.start()
        await rig.log_says("greeted")
        for _burst in range(25):
            for _ in range(20):
                crowd.speak()
            wanted = sum(each.answered for each in crowd.said) - 20
            await rig.until(lambda wanted=wanted: len(list(answers(rig))) >= wanted, 60)
        expected = Counter(each.name for each in crowd.said if each.answered)
        await rig.until(lambda: len(list(answers(rig))) >= expected.total(), 60)
        await rig.stop()
        given = list(answers(rig))
        by_name = {each.name: each for each in crowd.said}
        assert Counter(name for name, _ in given) == expected
        assert [name for name, sent in given if misplaced(by_name[name], sent)] == []
        assert crowd.wrong == []
        assert rig.bot.violations == []
        texts = [sent.text for sent in rig.bot.sent]
        assert not any("NO_REPLY" in text for text in texts)
        assert len(texts) == len(given)
        assert len(crowd.said) == 500


async def test_a_group_that_throws_us_out_costs_nothing_more() -> None:
    """Nothing is sent or asked of a model; let in again, we answer, and never where uninvited."""
    telegram = {"owner": 1, "allowed_chats": [FORUM]}
    async with open_rig(PEOPLE, telegram=telegram) as rig:
        bot = rig.bot
        team = groups.group(bot, FORUM, "Team")
        bot.open_chat(1)
        rig.model.script = lambda _request: "hello"
        await rig.start()
        groups.mute(bot, team, 2)
        bot.user_says("Famulus, hi", chat_id=FORUM, user_id=2)
        bot.user_says("hi", user_id=2)
        await rig.until(lambda: bot.texts(2) == ["hello"])
        assert len(rig.model.requests) == 1
        assert not any(call.params.get("chat_id") == FORUM for call in bot.calls)
        groups.mute(bot, team, 2, muted=False)
        bot.user_says("Famulus, hi", chat_id=FORUM, user_id=2)
        await rig.until(lambda: bot.texts(FORUM) == ["hello"])
        groups.add_bot(bot, groups.group(bot, -1_001_000_000_777, "Elsewhere"), 1)
        await rig.until(lambda: any("-1001000000777" in text for text in bot.texts(1)))
        assert not any(call.params.get("chat_id") == -1_001_000_000_777 for call in bot.calls)
        assert await rig.stop() == 0


async def test_a_group_that_becomes_a_supergroup_goes_on() -> None:
    """Whatever finds out first: its own messages, or an answer that the old id is refused."""
    old_id, new_id = -555, -1_001_000_000_555
    telegram = {"owner": 1, "allowed_chats": [old_id]}
    async with open_rig(PEOPLE, telegram=telegram) as rig:
        bot = rig.bot
        old = groups.group(bot, old_id, "Family", admins=[1])
        seen: list[int] = []

        def answer(request: ChatRequest) -> str:
            seen.append(len(request.messages))
            if len(seen) == 1:
                groups.upgrade(bot, old, new_id)
            return f"answer {len(seen)}"

        rig.model.script = answer
        await rig.start()
        bot.user_says("Famulus, hi", chat_id=old_id, user_id=2)
        await rig.until(lambda: bot.texts(new_id) == ["answer 1"])
        bot.user_says("Famulus, and again", chat_id=new_id, user_id=3)
        await rig.until(lambda: bot.texts(new_id) == ["answer 1", "answer 2"])
        assert seen == [2, 4]
        assert bot.texts(old_id) == []
        assert await rig.stop() == 0
