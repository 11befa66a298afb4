"""A model that fails: the person hears why in one sentence, and the next message works."""

from __future__ import annotations

from daemon.demo.replies import ChatRequest, Item, ModelFault
from tests.crash.conftest import Figures
from tests.crash.conversation import Question, answer, asked
from tests.crash.oracle import settled
from tests.harness.rig import open_rig

FAULTS: dict[str, ModelFault] = {
    "401": ModelFault(status=401),
    "403": ModelFault(status=403),
    "404": ModelFault(status=404),
    "400": ModelFault(status=400),
    "429": ModelFault(status=429, retry_after=0.1),
    "500": ModelFault(status=500),
    "html": ModelFault(status=502, body=b"<html><h1>Bad Gateway</h1></html>"),
    "page": ModelFault(status=200, body=b"<html><h1>It works!</h1></html>"),
    "nothing": ModelFault(status=200, body=b"", content_type="text/event-stream"),
    "silence": ModelFault(cut_before=True),
    "cutfirst": ModelFault(cut_after=0),
    "cutlater": ModelFault(cut_after=1),
    "error": ModelFault(cut_after=1, stream_error="the server is overloaded"),
}


def failing(request: ChatRequest) -> Item:
    """Fail each time, in the way that the question names."""
    _, kind = asked(request)
    return FAULTS.get(kind) or answer(request)


async def test_each_failure_is_told_and_the_next_message_works(figures: Figures) -> None:
    """One sentence with an id that is in the log; then an answer, from the same conversation."""
    chats = dict(enumerate(FAULTS, 1))
    async with open_rig(chats, model={"max_attempts": 2}) as rig:
        rig.model.script = failing
        for chat, kind in chats.items():
            Question(chat, 1, kind).ask(rig.bot)
            Question(chat, 2).ask(rig.bot)
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        log = rig.log()
        for chat, kind in chats.items():
            told, then = rig.bot.texts(chat)
            ref = told.rpartition("(id ")[2].rstrip(")")
            requests = [each for each in rig.model.requests if f"q{chat}.1 " in str(each.messages)]
            row = {"model": kind, "requests": len(requests) - 1, "said": told.replace("\n", " ")}
            figures("a model that fails", row)
            assert ref
            assert f"turn={ref}" in log, kind
            assert then == f"[q{chat}.2/1] answered"
        assert rig.model.refusals == []
        assert "Traceback" not in log


async def test_a_stream_that_is_cut_once_is_not_noticed() -> None:
    """It is asked for again, whole, and nothing of the half arrives."""
    async with open_rig() as rig:
        rig.model.script = ["all is well", "hello world and more", "all of it"]
        rig.bot.user_says("first")
        await rig.start()
        await rig.until(lambda: len(rig.bot.texts(1)) == 1)
        rig.model.faults.add(ModelFault(cut_after=1))
        rig.bot.user_says("second")
        await rig.until(lambda: len(rig.bot.texts(1)) == 2)
        assert await rig.stop() == 0
        assert rig.bot.texts(1)[1] == "all of it"
        assert rig.model.refusals == []
