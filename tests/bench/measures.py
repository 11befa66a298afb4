"""The measurements: each starts a subject, makes it work, checks the work, and returns figures.

A figure is a list of samples under a name. Nothing is judged here and no time is asserted; what
*is* checked, because a fast answer that is lost or out of order is worth nothing, is that every
message was answered once, with its own text, in order within its chat.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from attrs import frozen

from daemon.demo.calls import Sent
from tests.bench.subjects import (
    Running,
    Subject,
    answered,
    polling,
    running,
    scratch,
    servers,
    settled,
)

Samples = dict[str, list[float]]

VERY_FIRST = "very first start"
ENTRY = "start"
RSS_IDLE = "rss idle"
RSS_USED = "rss used"
FIRST = "first turn"
FIRST_IDLE = "first turn, idle"
OWN = "own time"
CPU = "cpu"
BURST = "burst"
BURST_CPU = "burst cpu"
SLOW = "slow model"
EXECUTOR = "executor pss"
EXECUTOR_ALONE = "executor pss alone"
TOOL = "code, in a session"
TOOL_FRESH = "code, in a box of its own"


class WrongAnswers(AssertionError):
    """What a subject sent is not what it was asked for; the message says what differs first."""


@frozen
class Load:
    """How much is asked in each measurement. Chats are numbered from 1, each with one person."""

    turns: int = 200  # one after another
    turn_chats: int = 10
    burst_chats: int = 50
    burst_each: int = 10
    slow_chats: int = 10
    slow_each: int = 2
    slow_seconds: float = 0.5


SMALL = Load(turns=6, turn_chats=2, burst_chats=4, burst_each=3, slow_chats=2, slow_seconds=0.05)


async def start_and_memory(subject: Subject) -> Samples:
    """From the start of the process to its first getUpdates, and its memory around a first turn.

    The first start of all makes the database, which happens once in an installation's life; it is
    told apart from the starts after it.
    """
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(subject, place_of_talk, place) as bot:
                very_first = await polling(bot) - bot.begun
            calls = len(place_of_talk.bot.calls)
            async with running(subject, place_of_talk, place) as bot:
                started = await polling(bot, after=calls) - bot.begun
                await settled(1.0)
                idle = bot.rss_mb()
                first = await one_turn(bot, 1, "first")
                await settled()
                used = bot.rss_mb()
    return {
        VERY_FIRST: [very_first],
        ENTRY: [started],
        RSS_IDLE: [idle],
        RSS_USED: [used],
        FIRST_IDLE: [first],
    }


async def first_turn(subject: Subject) -> Samples:
    """From the start of the process to the answer to a message that waited for it."""
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(subject, place_of_talk, place) as bot:
                await polling(bot)
            place_of_talk.bot.user_says("first", user_id=1)
            async with running(subject, place_of_talk, place) as bot:
                await answered(bot, 1)
                check(bot.bot.sent, {1: ["first"]})
                return {FIRST: [bot.bot.sent[0].at - bot.begun]}


async def turns(subject: Subject, load: Load) -> Samples:
    """One message after another: own time and processor time for each."""
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(subject, place_of_talk, place) as bot:
                await _warm(bot, load.turn_chats)
                cpu = bot.cpu_seconds()
                own = [
                    await one_turn(bot, 1 + index % load.turn_chats, f"turn {index}")
                    for index in range(load.turns)
                ]
                await settled()
                return {OWN: own, CPU: [(bot.cpu_seconds() - cpu) / load.turns]}


async def burst(subject: Subject, load: Load) -> Samples:
    """Many chats, many messages each, queued all at once: messages per second, and their cost."""
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(subject, place_of_talk, place) as bot:
                await _warm(bot, 1)
                cpu = bot.cpu_seconds()
                seconds = await flood(bot, load.burst_chats, load.burst_each)
                await settled()
                messages = load.burst_chats * load.burst_each
                spent = (bot.cpu_seconds() - cpu) / messages
                return {BURST: [messages / seconds], BURST_CPU: [spent]}


async def slow_model(subject: Subject, load: Load) -> Samples:
    """A model that thinks: what matters is that chats do not wait for each other."""
    async with servers() as place_of_talk:
        with scratch() as place:
            async with running(subject, place_of_talk, place) as bot:
                await _warm(bot, 1)
                place_of_talk.model.latency = load.slow_seconds
                return {SLOW: [await flood(bot, load.slow_chats, load.slow_each)]}


async def one_turn(bot: Running, chat: int, text: str) -> float:
    """Say something to an idle subject; seconds until its answer arrived at the server."""
    before = len(bot.bot.sent)
    begun = time.monotonic()
    bot.bot.user_says(text, user_id=chat)
    await answered(bot, before + 1)
    check(bot.bot.sent[before:], {chat: [text]})
    return bot.bot.sent[before].at - begun


async def _warm(bot: Running, chats: int) -> None:
    """Let the subject do everything once that it does once."""
    await polling(bot)
    for chat in range(1, chats + 1):
        await one_turn(bot, chat, "warm")
    await settled()


async def flood(bot: Running, chats: int, each: int) -> float:
    """Queue `each` messages for each chat at once; seconds until the last answer, all checked."""
    expected = {chat: [f"{chat}.{n}" for n in range(each)] for chat in range(1, chats + 1)}
    before = len(bot.bot.sent)
    begun = time.monotonic()
    for number in range(each):
        for chat in expected:
            bot.bot.user_says(f"{chat}.{number}", user_id=chat)
    await answered(bot, before + chats * each)
    await settled()
    check(bot.bot.sent[before:], expected, ordered=bot.subject.ordered)
    return bot.bot.sent[-1].at - begun


def check(sent: Sequence[Sent], expected: Mapping[int, list[str]], *, ordered: bool = True) -> None:
    """Raise WrongAnswers unless each chat got just these texts, and `ordered` in this order."""
    found: dict[int, list[str]] = {}
    for message in sent:
        found.setdefault(message.chat_id, []).append(message.text)
    put = list if ordered else sorted
    for chat in expected.keys() | found.keys():
        wanted, got = expected.get(chat, []), found.get(chat, [])
        if put(wanted) != put(got):
            raise WrongAnswers(f"chat {chat}: expected {wanted}, was sent {got}")
