"""Memory files as rows, and the snapshots of them that prompts show."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from attrs import define, evolve

from agent.memory import EMPTY
from daemon.chat import memory as keeping
from daemon.chat.memory import MemoryKeeper
from daemon.chat.mind import Mind, Voice
from daemon.chat.toolset import Scope, Toolset
from daemon.shelf import Shelf
from daemon.store import memory as rows
from daemon.store import people
from daemon.store.db import Database, open_database
from daemon.store.memory import Known, Period
from daemon.store.values import Address, Place
from executor.client import ExecutorClient
from executor.errors import ExecutorUnavailable, FileRefused, NoWorkspace
from executor.messages import Job
from tests.daemon.chat.fakefiles import FakeFiles
from tests.executor import harness

HERE = Place("telegram", "42", "1")
TODAY = dt.date(2026, 3, 1)
NOTE = "memory/2026-03-01.md"
ADDRESS = Address(HERE, people.HOUSE_AGENT, None, "ref", "", 0.0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def session_of(database: Database, place: Place = HERE) -> str:
    return await database.write(people.ensure_session, place, 0.0)


async def texts(keeper: MemoryKeeper) -> dict[str, str]:
    return (await keeper.texts(ADDRESS, TODAY))[0]


async def test_files_are_read_when_the_workspace_has_changed_and_only_then(
    database: Database,
) -> None:
    """And of a workspace that has changed only those files that have."""
    await session_of(database)
    files = FakeFiles()
    keeper = MemoryKeeper(database, files)
    files.write("memory/MEMORY.md", "a")
    files.write(NOTE, "b")
    files.write("memory/other.md", "no memory")
    assert await texts(keeper) == {"memory/MEMORY.md": "a", NOTE: "b"}
    files.asked.clear()
    assert await texts(keeper) == {"memory/MEMORY.md": "a", NOTE: "b"}
    assert files.asked == ["memory/MEMORY.md"]  # one look, which gives the revision
    files.write(NOTE, "c")
    files.asked.clear()
    assert await texts(keeper) == {"memory/MEMORY.md": "a", NOTE: "c"}
    assert files.asked.count(NOTE) == 1
    assert files.asked[0] == "memory/MEMORY.md"
    assert len(files.asked) == 4  # three globs and one file


async def test_a_file_that_is_gone_is_forgotten(database: Database) -> None:
    await session_of(database)
    files = FakeFiles()
    keeper = MemoryKeeper(database, files)
    files.write(NOTE, "b")
    assert await texts(keeper) == {NOTE: "b"}
    files.remove(NOTE)
    assert await texts(keeper) == {}


async def test_rows_of_one_chat_are_not_anothers(database: Database) -> None:
    """Nor of another account's or agent's."""
    await session_of(database)
    files = FakeFiles()
    files.write(NOTE, "mine")
    await texts(MemoryKeeper(database, files))
    other = Address(Place("telegram", "42", "2"), people.HOUSE_AGENT, None, "", "", 0.0)
    assert (await database.read(rows.known, other)).times == {}
    topic = Address(Place("telegram", "42", "1", "7"), people.HOUSE_AGENT, None, "", "", 0.0)
    assert await database.read(rows.texts, topic, [NOTE, "other"]) == {NOTE: "mine"}


async def test_without_an_executor_the_last_known_text_serves_and_it_is_said_once(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the prompt, and in the log once for each time that it goes away."""
    await session_of(database)
    files = FakeFiles()
    keeper = MemoryKeeper(database, files)
    files.write(NOTE, "b")
    await texts(keeper)
    files.fault = ExecutorUnavailable("nobody listens", "start it")
    for _ in range(3):
        known, remark = await keeper.texts(ADDRESS, TODAY)
        assert known == {NOTE: "b"}
        assert remark.startswith("(The files cannot be read now; this is what was known at ")
    assert capsys.readouterr().err.count("cannot be read") == 1
    files.fault = None
    assert (await keeper.texts(ADDRESS, TODAY))[1] == ""
    files.fault = ExecutorUnavailable("gone again", "start it")
    await texts(keeper)
    assert capsys.readouterr().err.count("cannot be read") == 1


async def test_an_executor_that_is_busy_is_waited_for_only_so_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of the same chat may hold the workspace for long; the turn goes on without."""
    monkeypatch.setattr(keeping, "PATIENCE_AT_FIRST", 0.05)
    await session_of(database)
    known, remark = await MemoryKeeper(database, FakeFiles(hangs=True)).texts(ADDRESS, TODAY)
    assert known == {}
    assert remark == "(The files cannot be read now; nothing is known.)"


async def test_a_chat_without_a_workspace_has_an_empty_memory(database: Database) -> None:
    """Which is no fault, and is not remarked on."""
    await session_of(database)
    files = FakeFiles(fault=NoWorkspace("there is no workspace key"))
    assert await MemoryKeeper(database, files).texts(ADDRESS, TODAY) == ({}, "")


async def test_a_workspace_that_is_refused_leaves_what_was_known(database: Database) -> None:
    """With the remark: it may be closed for now, or have been removed."""
    await session_of(database)
    files = FakeFiles()
    files.write(NOTE, "b")
    keeper = MemoryKeeper(database, files)
    await texts(keeper)
    files.fault = FileRefused("workspace key may still hold a process of an earlier job")
    known, remark = await keeper.texts(ADDRESS, TODAY)
    assert known == {NOTE: "b"}
    assert "this is what was known at" in remark


async def test_what_was_known_of_a_workspace_goes_with_it(database: Database) -> None:
    """Who discards it wants nothing of it to be remembered; a new one is read anew."""
    await session_of(database)
    files = FakeFiles()
    files.write(NOTE, "b")
    keeper = MemoryKeeper(database, files)
    await texts(keeper)
    files.fault = NoWorkspace("there is no workspace key")
    assert await keeper.texts(ADDRESS, TODAY) == ({}, "")
    assert await database.read(rows.known, ADDRESS) == Known({}, None, 0.0)
    files.fault = None
    assert await texts(keeper) == {NOTE: "b"}


async def test_nul_in_a_file_is_left_out(database: Database) -> None:
    """A provider that refuses it would refuse every request of the day."""
    await session_of(database)
    files = FakeFiles()
    files.write(NOTE, "a\0b")
    assert await texts(MemoryKeeper(database, files)) == {NOTE: "ab"}


# --- Snapshots ---


@define
class Clock:
    """A voice whose day is set by hand."""

    day: dt.date = TODAY


def scope(session: str, fresh_after: int, cause: str = "update") -> Scope:
    return Scope(ADDRESS, f"{session}-{fresh_after}", 1, cause)


def mind_with(
    database: Database, files: FakeFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Mind:
    monkeypatch.setattr(Voice, "today", lambda _self, _now=None: clock.day)
    return Mind(database, Voice(), Shelf(), MemoryKeeper(database, files), stale_seconds=0.0)


async def test_the_prompt_is_the_same_to_the_byte_until_it_is_renewed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the files waits for the next day, /new, or compaction."""
    session, clock, files = await session_of(database), Clock(), FakeFiles()
    mind = mind_with(database, files, clock, monkeypatch)
    first = await mind.system(scope(session, 0), session)
    assert EMPTY in first
    files.write("memory/MEMORY.md", "changed in the middle")
    assert await mind.system(scope(session, 0), session) == first
    renewed = await mind.system(scope(session, 9), session)
    assert "changed in the middle" in renewed
    files.write("memory/MEMORY.md", "changed again")
    assert await mind.system(scope(session, 9), session) == renewed
    clock.day += dt.timedelta(days=1)
    next_day = await mind.system(scope(session, 9), session)
    assert "changed again" in next_day
    files.write("memory/MEMORY.md", "and again")
    await database.write(rows.renew_snapshot, session)
    assert "and again" in await mind.system(scope(session, 9), session)


async def test_what_could_not_be_read_is_shown_as_soon_as_it_can_be(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An executor that is late costs a turn its memory and not the day; no byte moves till then."""
    session, files = await session_of(database), FakeFiles()
    files.write("memory/MEMORY.md", "a fact")
    files.fault = ExecutorUnavailable("not yet", "")
    mind = mind_with(database, files, Clock(), monkeypatch)
    without = await mind.system(scope(session, 0), session)
    assert "nothing is known" in without
    assert await mind.system(scope(session, 0), session) == without
    files.fault = None
    whole = await mind.system(scope(session, 0), session)
    assert "a fact" in whole
    files.fault = ExecutorUnavailable("gone", "")
    assert await mind.system(scope(session, 0), session) == whole


async def test_files_that_cannot_be_read_are_not_asked_for_by_every_turn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look would cost a message a connection, or two seconds where a job holds the files."""
    session, files = await session_of(database), FakeFiles()
    files.fault = ExecutorUnavailable("none here", "")
    mind = evolve(mind_with(database, files, Clock(), monkeypatch), stale_seconds=60.0)
    without = await mind.system(scope(session, 0), session)
    asked = len(files.asked)
    assert await mind.system(scope(session, 0), session) == without
    assert len(files.asked) == asked > 0
    await mind.system(scope(session, 9), session)
    assert len(files.asked) > asked, "another conversation looks for itself"


async def test_a_preview_shows_the_prompt_and_renews_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it shows is what the next turn is sent, as long as the files stay as they are."""
    session, files = await session_of(database), FakeFiles()
    files.write("memory/MEMORY.md", "a fact")
    mind = mind_with(database, files, Clock(), monkeypatch)
    shown = await mind.upcoming(session)
    assert shown is not None
    assert await database.read(rows.last_snapshot, session) == rows.NONE
    assert shown.shown([], 20_000)["messages"] == [
        {"role": "system", "content": await mind.system(scope(session, 0), session)}
    ]
    assert await mind.upcoming("none") is None


async def test_two_turns_that_renew_at_once_get_the_same(database: Database) -> None:
    """The one whose transaction comes first has made it."""
    session = await session_of(database)
    period = Period(session, "c", "2026-03-01")
    assert await database.write(rows.keep_snapshot, period, "one", 0.0) == "one"
    assert await database.write(rows.keep_snapshot, period, "two", 0.0) == "one"


# --- Against a real executor ---


@pytest.fixture(scope="module")
def running() -> Iterator[harness.Running]:
    with harness.place() as where, harness.executor(where) as executor:
        yield executor


@pytest.mark.executor
async def test_what_a_job_writes_is_read_from_the_real_workspace(
    database: Database, running: harness.Running
) -> None:
    """Bytes that are no text are replaced; links and directories of such names are no memory.

    A file that the executor refuses, here for its second name, keeps nobody from the others.
    """
    await session_of(database)
    client: ExecutorClient = running.client
    keeper = MemoryKeeper(database, client.files)
    there = evolve(ADDRESS, kept_workspace="memory-1")
    assert await keeper.texts(there, TODAY) == ({}, "")
    code = (
        "import os\nos.makedirs('memory/2026-02-27.md')\n"
        "open('memory/MEMORY.md', 'wb').write(b'a fact \\xff')\n"
        f"open('{NOTE}', 'w').write('today')\n"
        "os.symlink('/etc/passwd', 'memory/2026-02-28.md')\n"
        "open('other', 'w').write('x')\nos.link('other', 'memory/2026-02-26.md')\n"
        "open('memory/2024-01-01.md', 'w').write('old')\n"
    )
    result = await client.run(Job("python", code, "memory-1"))
    assert result.code == 0, result
    expected = {"memory/MEMORY.md": "a fact \N{REPLACEMENT CHARACTER}", NOTE: "today"}
    assert await keeper.texts(there, TODAY) == (expected, "")
    seen = await database.read(rows.known, ADDRESS)
    assert seen.revision is not None
    assert (await client.files("memory-1").stat("memory")).revision == seen.revision


async def test_a_helper_is_shown_what_its_session_was_and_renews_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompt is the session's, for the same prefix; another day is not its to begin."""
    session, clock, files = await session_of(database), Clock(), FakeFiles()
    files.write("memory/MEMORY.md", "a fact")
    mind = mind_with(database, files, clock, monkeypatch)
    ours = await mind.system(scope(session, 0), session)
    files.write("memory/MEMORY.md", "another")
    assert await mind.system(scope("child-lane", 0, "child"), session) == ours
    assert await mind.system(scope(session, 0), session) == ours


async def test_a_specialist_has_its_own_instructions_and_nothing_of_the_chat(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of the tools what its file permits; none when the file is gone."""
    (tmp_path / "agents").mkdir()
    page = tmp_path / "agents" / "scout.md"
    page.write_text(
        "---\nname: scout\ndescription: Looks.\ntools:\n  allow: [read_skill, bash]\n"
        "  deny: [bash]\n---\nLook well.\n"
    )
    session, files = await session_of(database), FakeFiles()
    files.write("memory/MEMORY.md", "a fact")
    shelf = Shelf(tmp_path)
    await shelf.load()
    mind = evolve(mind_with(database, files, Clock(), monkeypatch), shelf=shelf)
    whose = evolve(scope(session, 0, "child"), specialist="scout")
    prompt = await mind.system(whose, session)
    assert "\n\nLook well.\n\n" in prompt
    assert "a fact" not in prompt
    assert "scout" not in prompt
    toolset = Toolset(ExecutorClient("/nowhere"), database, shelf=shelf)
    assert _names(toolset, whose) == ["read_skill"]
    assert "delegate" in _names(toolset, scope(session, 0))
    page.unlink()
    await shelf.load()
    assert _names(toolset, whose) == []


def _names(toolset: Toolset, whose: Scope) -> list[str]:
    return [each["function"]["name"] for each in toolset.registry(whose).schemas()]
