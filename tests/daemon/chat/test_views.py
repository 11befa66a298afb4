"""What a turn shows its model, in our own hands: across a crash, up to its end, and afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen

from agent import sight
from agent.parts import Takes, fitted, named, views
from agent.ports import OutFile, ToolOutcome, TurnLost
from agent.tools.registry import Kind, Tool, tool
from agent.transcript import Answer, CallRequest, ToolResult, User, View
from daemon.chat.drafts import CROWDED
from daemon.chat.journal import TurnJournal
from daemon.chat.steps import ENOUGH
from daemon.chat.toolset import Scope, Toolset
from daemon.chat.views import LOST
from daemon.demo.chatrules import check_messages
from daemon.spool import Spool
from daemon.store import boots, compactions, journal, outbox, stops, turnrow, turns
from daemon.store import views as rows
from daemon.store.db import Database, open_database
from daemon.store.values import Claim
from executor.client import ExecutorClient
from tests.agent.test_sight import png
from tests.daemon.chat.test_sizing import Provider
from tests.daemon.chat.turnbench import Bench, FakeModel, begun

LOOK = CallRequest("c1", "view_file", "{}")
PICTURE = sight.view("plot.png", png(640, 480))
SAID = "[picture plot.png, 640x480, was shown]"
ALL = Takes(images=True, documents=True)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@frozen
class Shows(Toolset):
    """A toolset whose one tool shows the next of some pictures; the last again and again."""

    pictures: list[View] = field(factory=lambda: [PICTURE])

    def _tools(self, scope: Scope) -> Iterator[Tool]:
        @tool(kind=Kind.READ)
        async def view_file() -> ToolOutcome:
            """Look."""
            await trio.lowlevel.checkpoint()
            shown = self.pictures.pop(0) if len(self.pictures) > 1 else self.pictures[0]
            return ToolOutcome(SAID, shown=(shown,))

        yield view_file


@frozen
class Stuck(Spool):
    """A spool on a disk that removes nothing."""

    def remove(self, keys: Collection[str]) -> None:
        raise PermissionError(*keys)


async def bench_with(
    database: Database, *answers: Any, pictures: list[View] | None = None
) -> Bench:
    boot = await database.write(boots.begin, "test", 0.0)
    toolset = Shows(ExecutorClient("/nowhere"), database)
    if pictures:
        toolset = evolve(toolset, pictures=pictures)
    return Bench(database, boot, FakeModel(*answers), toolset)


def left(bench: Bench) -> list[bytes]:
    """What lies in the spool."""
    found = bench.spool.path.iterdir() if bench.spool.path.exists() else ()
    return [path.read_bytes() for path in found]


async def test_the_model_is_shown_it_until_the_turn_ends(database: Database) -> None:
    """Later turns see the line that names it, and nothing of it stays on the disk."""
    answers = Answer("", (LOOK, LOOK)), Answer("", (LOOK,)), Answer("a cat"), Answer("yes")
    bench = await bench_with(database, *answers)
    await bench.say("look twice")
    await bench.say("and now?")
    async with bench.running():
        await bench.answered(2)
    first, second, third, later = bench.model.asked
    assert [len(views(each)) for each in (first, second, third, later)] == [0, 2, 3, 0]
    roles = ["system", "user", "assistant", "tool", "tool", "user", "assistant", "tool", "user"]
    assert [each["role"] for each in third] == roles
    for messages in bench.model.asked:
        assert check_messages(fitted(messages, ALL)) is None
    assert str(later).count(SAID) == 3
    assert left(bench) == []
    assert await bench.all("SELECT DISTINCT file FROM views") == [(None,)]


async def test_a_run_after_a_crash_shows_the_same(database: Database) -> None:
    """Byte for byte, from the spool, whatever the file in the workspace is by then."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    result = await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    assert result is not None
    assert left(bench) == [PICTURE.data]
    heir = await bench_with(database, Answer("a cat"), pictures=[sight.view("b", png(1, 1))])
    async with heir.running():
        await heir.answered(1)
    (messages,) = heir.model.asked
    (shown,) = views(messages)
    assert shown == result.shown[0]
    assert (shown.data, shown.name) == (PICTURE.data, "plot.png")
    assert left(bench) == []


async def test_a_crash_before_the_row_leaves_nothing(database: Database) -> None:
    """The sweep of the start keeps what open turns show, and removes the rest."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    orphan = bench.spool.keep(b"of a kill before the row")
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    named = await database.read(outbox.files) | await database.read(rows.files)
    assert bench.spool.sweep(named) == 1
    assert orphan not in named
    assert left(bench) == [PICTURE.data]


async def test_a_turn_that_was_stopped_leaves_nothing(database: Database) -> None:
    """While the model looks, and also when the stop comes before the row of what is shown."""
    bench = await bench_with(database, Answer("", (LOOK,)), trio.Event())
    turn = await bench.say("look")
    async with bench.running():
        await bench.model.waiting.wait()
        assert left(bench) == [PICTURE.data]
        await database.write(stops.stop, turn.session_id, time.time())
        bench.lanes.dropped(turn.id)
    assert left(bench) == []
    ours, call = await begun(bench, LOOK)
    await database.write(stops.stop, turn.session_id, time.time())
    with pytest.raises(TurnLost):
        await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    assert left(bench) == []


async def test_a_turn_shows_no_more_than_providers_take(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much is a failed result with a way out, and is not kept."""
    monkeypatch.setattr(rows, "MOST_IN_A_TURN", len(PICTURE.data) * 2)
    answers = Answer("", (LOOK, LOOK)), Answer("", (LOOK,)), Answer("enough")
    bench = await bench_with(database, *answers)
    await bench.say("look and look")
    async with bench.running():
        await bench.answered(1)
    last = bench.model.asked[-1]
    assert len(views(last)) == 2
    assert last[-1]["content"] == ENOUGH
    assert left(bench) == []


async def test_files_for_the_chat_are_sent_though_what_is_beside_them_is_too_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows are there, so their bytes are."""
    monkeypatch.setattr(rows, "MOST_IN_A_TURN", 1)
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    files = (OutFile("data.csv", b"1,2"),)
    result = await ours.tool_finished(call, ToolOutcome(SAID, files=files, shown=(PICTURE,)))
    assert result == ToolResult(call.id, ENOUGH, failed=True)
    assert left(bench) == [b"1,2"]


async def test_a_lost_turn_is_lost_also_where_its_files_cannot_be_removed(
    database: Database,
) -> None:
    """They are left to the next start; nothing else is taken for what went wrong."""
    bench = await bench_with(database)
    bench.spool = Stuck(bench.spool.path)
    ours, call = await begun(bench, LOOK)
    (session,) = (await bench.all("SELECT session_id FROM turns"))[0]
    await database.write(stops.stop, session, time.time())
    with pytest.raises(TurnLost):
        await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))


async def test_a_spool_without_room_is_told(database: Database) -> None:
    """The model goes on without it."""
    bench = await bench_with(database)
    bench.spool = Spool(bench.spool.path, most_bytes=10)
    ours, call = await begun(bench, LOOK)
    result = await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    assert result == ToolResult(call.id, f"Error: it cannot be shown: {CROWDED}", failed=True)


async def test_bytes_that_are_gone_are_told_in_their_place(database: Database) -> None:
    """A turn goes on without a picture rather than not at all."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    for path in bench.spool.path.iterdir():
        path.unlink()
    opening = await TurnJournal(
        *(database, ours.turn_id, bench.boot, "fake", ours.wakes, bench.spool)
    ).load()
    assert opening.turn[-1] == ToolResult(call.id, f"{SAID}\n{LOST}")


async def test_what_a_person_sends_is_shown_in_the_same_way(database: Database) -> None:
    """Rows beside the person's message are enough, also when it moves behind what came first."""
    bench = await bench_with(database, Answer("", (LOOK,)), Answer("two cats"))
    turn = await bench.say("what is this?")
    key = bench.spool.keep(PICTURE.data)

    def attach(db: Any) -> None:
        (message,) = db.execute("SELECT id FROM messages").fetchone()
        rows.add(db, message, [evolve(PICTURE, key=key)])
        (moved,) = turns.say_again(db, turn.id, turns.unread(db, turn.id, 0))
        assert rows.of_turn(db, turn.id)[moved[0]][0].key == key

    await database.write(attach)
    async with bench.running():
        await bench.answered(1)
    first, second = bench.model.asked
    (user,) = first[1:]
    assert [part if isinstance(part, View) else part["text"] for part in user["content"]][1:] == [
        "plot.png:",
        evolve(PICTURE, key=key),
    ]
    assert len(views(second)) == 2
    assert check_messages(fitted(second, ALL)) is None
    assert left(bench) == []


async def test_what_a_person_sends_meanwhile_is_shown_with_it(database: Database) -> None:
    """As a run that begins from the rows would show it."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    await ours.tool_finished(call, ToolOutcome("looked"))
    key = bench.spool.keep(PICTURE.data)

    def tell(db: Any) -> None:
        message = turnrow.add_user_message(db, ours.turn_id, "and this?", 5.0)
        rows.add(db, message, [evolve(PICTURE, key=key)])

    await database.write(tell)
    (news,) = (await ours.intend_model_call(1)).news
    assert news.shown == (evolve(PICTURE, key=key),)
    again = TurnJournal(*(database, ours.turn_id, bench.boot, "fake", ours.wakes, bench.spool))
    assert (await again.load()).turn[-1] == news


async def test_what_was_said_to_a_turn_that_failed_goes_to_its_heir(database: Database) -> None:
    """With what it shows."""
    bench = await bench_with(database)
    turn = await bench.say("one")

    def inherit(db: Any) -> Any:
        (message,) = db.execute("SELECT id FROM messages").fetchone()
        rows.add(db, message, [evolve(PICTURE, key="k")])
        heir = turns.bequeath(db, turn.id, turns.unread(db, turn.id, 0), 1.0)
        assert heir is not None
        return journal.read_pages(db, heir.id)

    pages = await database.write(inherit)
    assert pages.turn == (User("one", pages.turn[0].sent, (evolve(PICTURE, data=b"", key="k"),)),)


async def test_the_size_of_pictures_does_not_bend_what_is_known_of_letters(
    database: Database,
) -> None:
    """Neither how tokens are estimated, nor when a conversation is summed up."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))

    def count(db: Any) -> tuple[float, int]:
        db.execute(
            "UPDATE model_calls SET state = 'done', prompt_tokens = 1000, completion_tokens = 7"
        )
        (session,) = db.execute("SELECT id FROM sessions").fetchone()
        nothing = compactions.Summary()
        return compactions.ratio(db, session), compactions.context_tokens(db, session, nothing)

    assert await database.write(count) == (1.0, 1000 - PICTURE.tokens + 7)


async def test_a_preview_of_the_request_names_it(database: Database) -> None:
    """Without bytes, and with what it will take."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    ((session,),) = await bench.all("SELECT id FROM sessions")
    shown = await bench.runner.preview().verb({"session": session})
    assert "[picture plot.png, 640x480 is shown here]" in shown["messages"][-1]["content"]
    assert "base64" not in str(shown)
    assert shown["estimated_tokens"] > PICTURE.tokens
    assert named(shown["messages"]) is shown["messages"]


async def test_only_the_owner_of_a_turn_adds_to_it(database: Database) -> None:
    """Rows are put beside a result in the transaction that makes sure of the turn."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    other = Claim(ours.turn_id, "another boot", first=False, seen=0)
    with pytest.raises(journal.NotOurs):
        await database.write(journal.hold, other, 1.0)
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(PICTURE,)))
    assert await bench.all("SELECT name, size, tokens FROM views") == [
        ("plot.png", len(PICTURE.data), PICTURE.tokens)
    ]


async def test_a_turn_that_has_much_to_show_waits_for_the_window(database: Database) -> None:
    """After a crash a long document would be left out, for want of a number."""
    bench = await bench_with(database)
    ours, call = await begun(bench, LOOK)
    large = evolve(PICTURE, tokens=60_000)
    await ours.tool_finished(call, ToolOutcome(SAID, shown=(large,)))
    heir = await bench_with(database, Answer("a long story"))
    heir.runner = evolve(heir.runner, sizing=Provider())
    async with heir.running():
        await heir.answered(1)
    assert len(views(heir.model.asked[-1])) == 1
