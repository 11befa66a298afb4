"""What Telegram may send twice, out of sequence or broken: nothing is lost, done twice or fatal."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from daemon.demo.faults import Fault
from daemon.demo.place import write_private
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer
from tests.crash.oracle import settled
from tests.harness.rig import Rig, open_rig

TITLE = "bad input"
POLL = "getUpdates"
NEW_TOKEN = "1000000001:AAFamulusAnotherTokenNotASecret00000"


def message(text: str, **more: Any) -> dict[str, Any]:
    """An update's message from the one who may speak, as the server would queue it."""
    user = {"id": 1, "is_bot": False, "first_name": "User 1"}
    chat = {"id": 1, "type": "private", "first_name": "User 1"}
    return {
        "message_id": 900,
        "date": int(time.time()),
        "from": user,
        "chat": chat,
        "text": text,
    } | more


async def next_is_answered(rig: Rig, number: int) -> None:
    """Whatever was, the next message works."""
    Question(1, number).ask(rig.bot)
    await rig.until(lambda: rig.bot.texts(1)[-1:] == [f"[q1.{number}/1] answered"])
    assert await settled(rig)


async def test_the_same_update_after_a_restart_is_done_once(figures: Figures) -> None:
    """Telegram hands out again what it does not know to have arrived."""
    async with open_rig() as rig:
        rig.model.script = answer
        rig.bot.open_chat(1)
        update = {"message": message("q1.1 plain")}
        number = rig.bot.push_update(update)
        await rig.start()
        assert await settled(rig)
        rig.kill_now()
        rig.bot.push_update({"update_id": number, **update})
        await rig.start()
        await next_is_answered(rig, 2)
        assert rig.bot.texts(1) == ["[q1.1/1] answered", "[q1.2/1] answered"]
        assert rig.value("SELECT count(*) FROM turns") == 2
        assert await rig.stop() == 0
    figures("updates that come again", {"what": "the same after kill -9", "answers": 1})


async def test_ids_that_restart_lower_are_new_updates(figures: Figures) -> None:
    """After a quiet week numbers begin anew anywhere, also where they have been before."""
    async with open_rig() as rig:
        rig.model.script = answer
        rig.bot.world.updates.restart_ids(900_000_000)
        await rig.start()
        await next_is_answered(rig, 1)
        rig.bot.world.updates.restart_ids(5_000)
        await next_is_answered(rig, 2)
        assert await rig.stop() == 0
        rig.bot.world.updates.restart_ids(100)
        await rig.start()
        await next_is_answered(rig, 3)
        rig.bot.world.updates.restart_ids(5_000)  # where q1.2 was
        await next_is_answered(rig, 4)
        assert len(rig.bot.sent) == 4
        assert await rig.stop() == 0
    figures("updates that come again", {"what": "lower ids, ids used before", "answers": 4})


BROKEN: dict[str, bytes] = {
    "no JSON": b'{"ok": true, "result": [{"upd',
    "HTML": b"<html>Bad Gateway</html>",
    "nothing": b"",
    "a number": b"7",
    "no list": b'{"ok": true, "result": {"update_id": 5}}',
    "a list of numbers": b'{"ok": true, "result": [1, 2]}',
    "not UTF-8": b'{"ok": true, "result": [{"update_id": 5, "x": "\xff\xfe"}]}',
    "updates without a number": b'{"ok": true, "result": [{"message": {}}]}',
    "deep": b'{"ok": true, "result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


async def test_a_broken_answer_to_a_poll_is_survived(figures: Figures) -> None:
    """It is told, and asked again after a pause; nothing is lost by it."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        for number, (name, body) in enumerate(BROKEN.items()):
            fault = rig.bot.faults.add(Fault(method=POLL, status=200, body=body))
            await next_is_answered(rig, 2 * number)
            await rig.until(lambda fault=fault: fault.used)
            await next_is_answered(rig, 2 * number + 1)
            said = rig.log().count("poll failed") - number
            figures(TITLE, {"getUpdates answers": name, "said in the log": said, "lost": 0})
            assert said == 1, name
        assert await rig.stop() == 0
        assert "Traceback" not in rig.log()


STRANGE: dict[str, dict[str, Any]] = {
    "an unknown kind": {"telepathy": {"thought": 1}},
    "nothing": {},
    "a message that is a text": {"message": "hello"},
    "no chat": {"message": {"message_id": 1, "date": 1, "text": "hello"}},
    "a chat without a number": {"message": message("hello", chat={"type": "private"})},
    "a date in words": {"message": message("hello", date="yesterday")},
    "a date beyond time": {"message": message("hello", date=10**400)},
    "a text that is a number": {"message": {**message("hello"), "text": 5}},
    "no sender": {"message": {k: v for k, v in message("hello").items() if k != "from"}},
    "a button without data": {"callback_query": {"id": "1", "from": {"id": 1, "is_bot": False}}},
    "a lone surrogate": {"message": message("q1.1 plain \ud83d")},
    "a null character": {"message": message("q1.4 plain \0 \x1b[2J")},
    "not a number": {"message": message("q1.2 plain"), "extra": float("nan")},
    "deep": {"message": message("q1.3 plain", extra=json.loads("[" * 400 + "]" * 400))},
}


async def test_strange_updates_harm_no_other(figures: Figures) -> None:
    """Each is closed with a word for what it was; what comes between them is answered."""
    async with open_rig() as rig:
        rig.model.script = answer
        rig.bot.open_chat(1)
        for number, update in enumerate(STRANGE.values(), 10):
            rig.bot.push_update(update)
            Question(1, number).ask(rig.bot)
        await rig.start()
        assert await settled(rig)
        texts = rig.bot.texts(1)
        for number, _ in enumerate(STRANGE, 10):
            assert texts.count(f"[q1.{number}/1] answered") == 1
        await next_is_answered(rig, 99)
        outcomes = rig.rows("SELECT outcome FROM inbox ORDER BY id")[: 2 * len(STRANGE) : 2]
        for name, row in zip(STRANGE, outcomes, strict=True):
            figures("strange updates", {"update": name, "outcome": row["outcome"]})
        assert await rig.stop() == 0
        assert "Traceback" not in "".join(
            line for line in rig.log().splitlines() if "routing failed" not in line
        )


async def test_a_text_of_a_megabyte_is_refused_in_words() -> None:
    """Telegram never sends one; a broken server of one's own might."""
    async with open_rig() as rig:
        rig.model.script = answer
        rig.bot.user_says("x" * 1_000_000)
        await rig.start()
        await rig.until(lambda: rig.bot.texts(1))
        assert "1,000,000 characters" in rig.bot.texts(1)[0]
        await next_is_answered(rig, 1)
        assert await rig.stop() == 0
        assert rig.model.requests[0].user_text == "q1.1 plain"


async def test_a_refused_token_is_mended_by_a_signal(figures: Figures) -> None:
    """The process stays and says so; what waited at Telegram is answered after the reload."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        await next_is_answered(rig, 1)
        rig.bot.token = NEW_TOKEN
        rig.bot.push_update({"edited_message": message("ends the poll that is open")})
        await rig.log_says("the token was refused")
        Question(1, 2).ask(rig.bot)
        write_private(rig.place.token, NEW_TOKEN)
        rig.signal(signal.SIGHUP)
        await rig.until(lambda: len(rig.bot.texts(1)) == 2)
        await next_is_answered(rig, 3)
        assert await rig.stop() == 0
    figures(TITLE, {"getUpdates answers": "401 until SIGHUP", "lost": 0})


@pytest.mark.slow  # waits out the minute that an answer is put off by a refused token
async def test_an_answer_refused_for_its_token_is_sent_after_the_reload(figures: Figures) -> None:
    """An answer that was ready when the token was refused is late, and not lost."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        rig.bot.token = NEW_TOKEN
        Question(1, 1).ask(rig.bot)
        await rig.log_says("then=Again")
        write_private(rig.place.token, NEW_TOKEN)
        rig.signal(signal.SIGHUP)
        await rig.until(lambda: rig.bot.texts(1), timeout=90)
        assert rig.bot.texts(1) == ["[q1.1/1] answered"]
        assert await rig.stop() == 0
    figures(TITLE, {"getUpdates answers": "401, with an answer to send", "lost": 0})


async def test_another_poller_is_outlived(figures: Figures) -> None:
    """409 is named, waited for, and never the end."""
    async with open_rig() as rig:
        rig.model.script = answer
        fault = rig.bot.faults.add(Fault(method=POLL, status=409))
        rig.spawn()
        await rig.until(lambda: fault.used)
        await next_is_answered(rig, 1)
        assert "in conflict" in rig.log()
        assert await rig.stop() == 0
    figures(TITLE, {"getUpdates answers": "409", "lost": 0})
