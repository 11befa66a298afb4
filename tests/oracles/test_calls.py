"""Every call that the daemon made in this run of the tests, before a judge that is not ours.

The demo's server checks calls against the same reference that we read; aiogram is a client that
others wrote. What the daemon called is noted by the harness wherever the whole program ran, and
these tests are the last of a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.demo.play import PLAYS, load
from daemon.demo.process import REAL_DAEMON
from daemon.demo.run import _unwrapped
from tests.demo.test_run import prepared
from tests.harness import ledger
from tests.harness.ledger import Entry
from tests.oracles.conftest import Judge

HELLO = {"chat_id": 1, "text": "hello"}


async def test_the_main_play_is_noted() -> None:
    """So that there is something to judge, whichever tests ran before."""
    with prepared() as found:
        found.demo.command = REAL_DAEMON
        code = await _unwrapped(found.demo, load(Path(PLAYS / "main.play")))
        assert code == 0, found.screen.getvalue()
        ledger.note(found.demo.servers.bot.calls)
    assert "sendMessage" in {call.method for call in ledger.noted()}


def test_aiogram_takes_every_call(aiogram: Judge) -> None:
    """No method, parameter or field that it does not know, and none of another type."""
    calls = ledger.noted()
    wrong = [(call, found) for call, found in zip(calls, aiogram(calls), strict=True) if found]
    assert not wrong, wrong[:5]


@pytest.mark.parametrize(
    ("method", "params", "problem"),
    [
        ("sendTelepathy", {}, "no method"),
        ("sendMessage", {"chat_id": 1}, "text"),
        ("sendMessage", {**HELLO, "disable_web_page_preview": True, "to": 1}, "to"),
        ("sendMessage", {**HELLO, "entities": [{"type": "bold", "offset": "x"}]}, "offset"),
        ("sendMessage", {**HELLO, "entities": [bold := {"type": "bold", "offset": 0}]}, "length"),
        ("sendMessage", {**HELLO, "entities": [{**bold, "length": 1, "colour": 2}]}, "colour"),
        ("answerCallbackQuery", {"text": "late"}, "callback_query_id"),
        ("getUpdates", {"allowed_updates": "message"}, "allowed_updates"),
    ],
)
def test_the_judge_refuses(
    aiogram: Judge, method: str, params: dict[str, Any], problem: str
) -> None:
    """What is no call: a judge who takes everything would prove nothing."""
    (found,) = aiogram([Entry(method, params)])
    assert problem in " ".join(found)


def test_calls_are_noted_once() -> None:
    """The same call a thousand times is judged once."""
    assert len({str(call) for call in ledger.noted()}) == len(ledger.noted())
