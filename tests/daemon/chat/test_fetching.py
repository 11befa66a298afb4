"""Files on their way from Telegram into a workspace: each step once, and each failure in words."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from agent.parts import Takes
from agent.ports import ModelFailed
from agent.sight import MOST_IN_A_TURN
from daemon.chat import fetching
from daemon.chat.fetching import Fetcher
from daemon.chat.learning import Senses
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers, open_demo_servers
from daemon.spool import Spool
from daemon.store import attachments, people, turnrow, turns, views
from daemon.store.attachments import File
from daemon.store.db import Database, open_database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from daemon.telegram import download
from daemon.telegram.api import open_api
from executor.client import ExecutorUnavailable, FileRefused
from executor.file_client import Done
from executor.file_values import Info, Written

HERE = Place("telegram", "42", "1")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x09" * 2
PDF = b"%PDF-1.4 /Type /Page "
SEES = Senses(lambda: Takes(images=True, documents=True))
BLIND = Senses(Takes)


@define
class Workspaces:
    """The files of all chats, in memory. `fault` is raised by every operation."""

    files: dict[str, bytes] = field(factory=dict)
    puts: list[str] = field(factory=list)
    fault: Exception | None = None
    busy: dict[str, trio.Event] = field(factory=dict)
    _key: str = ""

    def __call__(self, key: str) -> Workspaces:
        one = Workspaces(self.files, self.puts, self.fault, self.busy)
        one._key = key
        return one

    async def stat(self, path: str) -> Done[Info]:
        await self._begin()
        if f"{self._key}/{path}" not in self.files:
            raise FileRefused(f"{path} does not exist")
        return Done(Info(path, "file", 1, 0.0, 0o644), 1)

    async def put(self, path: str, pieces: Iterable[bytes]) -> Done[Written]:
        await self._begin()
        self.puts.append(path)
        self.files[f"{self._key}/{path}"] = b"".join(pieces)
        return Done(Written(1), 2)

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._key in self.busy:
            await self.busy[self._key].wait()
        if self.fault is not None:
            raise self.fault


@define
class Bench:
    database: Database
    demo: DemoServers
    spool: Spool
    workspaces: Workspaces
    fetcher: Fetcher
    changed: list[TurnRow]

    async def send(
        self, data: bytes, name: str = "a.png", kind: str = "photo", chat: str = "1", **more: Any
    ) -> int:
        """A turn of a person who sent this; returns it."""
        file_id = self.demo.bot.add_file(data, name)
        file = File(kind, file_id, name, f"the {kind} {name}", len(data))

        def make(db: Any) -> int:
            now = time.time()
            session = people.ensure_session(db, Place("telegram", "42", chat), now)
            deadline = now + attachments.PATIENCE
            turn = turns.create(
                db, session, text="look", asked_at=now, now=now, deadline=deadline, **more
            )
            attachments.add(db, turn.id, turnrow.first_message(db, turn.id), [file], now)
            return turn.id

        return await self.database.write(make)

    async def all(self, statement: str) -> list[tuple[Any, ...]]:
        return await self.database.read(
            lambda db: [tuple(row) for row in db.execute(statement).fetchall()]
        )

    async def texts(self) -> list[str]:
        return [row[0] for row in await self.all("SELECT content FROM messages ORDER BY id")]

    async def fetch(self, settled: int = 1) -> None:
        """Fetch until so many turns may go on."""
        async with self.fetching():
            await self.until(lambda: len(self.changed) >= settled)

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fetcher.run)
            yield
            nursery.cancel_scope.cancel()

    async def until(self, happened: Any) -> None:
        with trio.fail_after(10):
            while not happened():
                await self.fetcher._woken.wait()

    async def emptied(self) -> None:
        """Wait until nothing is left in the spool that nobody shows."""
        with trio.fail_after(10):
            while await self.database.read(attachments.files):
                await self.fetcher._woken.wait()

    def left(self) -> list[Path]:
        return list(self.spool.path.iterdir())


@asynccontextmanager
async def open_bench(tmp_path: Path, senses: Senses = SEES) -> AsyncIterator[Bench]:
    async with (
        open_database(tmp_path / "famulus.db") as database,
        open_demo_servers() as demo,
        open_api(demo.bot.base_url, demo.bot.token) as api,
    ):
        spool, workspaces = Spool(tmp_path / "spool"), Workspaces()
        changed: list[TurnRow] = []
        fetcher = Fetcher(database, api, spool, workspaces, changed.append, senses)
        yield Bench(database, demo, spool, workspaces, fetcher, changed)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


async def test_a_file_is_in_the_workspace_and_the_turn_goes_on(bench: Bench) -> None:
    """Told of where it lies; and nothing of it remains in the spool."""
    await bench.send(b"words", "notes.txt", "document")
    await bench.fetch()
    assert bench.workspaces.files == {"house-42-1/inbox/notes.txt": b"words"}
    assert [(turn.id, turn.state) for turn in bench.changed] == [(1, "ready")]
    assert await bench.texts() == [
        "look\n[They sent the document notes.txt, saved as inbox/notes.txt]"
    ]
    async with bench.fetching():
        await bench.emptied()
    assert bench.left() == []


async def test_files_of_one_name_are_kept_apart(bench: Bench) -> None:
    for number in range(3):
        await bench.send(bytes([number]), "a.txt", "document")
    await bench.send(b"theirs", "a.txt", "document", chat="2")
    await bench.fetch(4)
    assert sorted(bench.workspaces.files) == [
        "house-42-1/inbox/a-2.txt",
        "house-42-1/inbox/a-3.txt",
        "house-42-1/inbox/a.txt",
        "house-42-2/inbox/a.txt",
    ]


async def test_a_picture_is_shown_until_its_turn_has_ended(bench: Bench) -> None:
    """From the spool: its file there is the view's from then on."""
    turn = await bench.send(PNG)
    await bench.fetch()
    ((_, (view,)),) = (await bench.database.read(views.of_turn, turn)).items()
    assert (view.name, view.media, view.measure) == ("a.png", "image/png", "9x9")
    with bench.spool.open(view.key) as file:
        assert file.read() == PNG
    await bench.database.write(turns.end, turn, "answered", 1.0)
    assert await bench.database.read(views.over) == {view.key}


async def test_a_document_is_shown_if_the_model_reads_such(bench: Bench) -> None:
    """By its bytes, whatever its name says."""
    turn = await bench.send(PDF, "a.txt", "document")
    await bench.fetch()
    ((_, (view,)),) = (await bench.database.read(views.of_turn, turn)).items()
    assert (view.media, view.measure) == ("application/pdf", "1 page")


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (PNG, "photo", "; you cannot look at pictures (the model takes none): say so, or work"),
        (PDF, "document", "; the model takes no documents: read it by code]"),
        (b"ID3", "audio", "; you cannot hear it, and no model writes recordings down"),
        (b"....", "video", "; you cannot watch it: say so, or take it apart by code]"),
        (b"zip", "document", ", saved as inbox/a.bin]"),
    ],
)
async def test_what_the_model_cannot_take_is_said(
    tmp_path: Path, data: bytes, kind: str, said: str
) -> None:
    async with open_bench(tmp_path, BLIND) as bench:
        await bench.send(data, "a.bin", kind)
        await bench.fetch()
        assert said in (await bench.texts())[0]
        assert await bench.all("SELECT 1 FROM views") == []


async def test_a_picture_that_cannot_be_shown_says_why(bench: Bench) -> None:
    await bench.send(PNG[:16] + b"\0\0\xff\xff\0\0\0\x09", "wide.png")
    await bench.fetch()
    assert "cannot be shown to you: 65535x9 is more than 8000 pixels" in (await bench.texts())[0]


async def test_no_more_is_shown_than_a_turn_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MOST_IN_A_TURN", MOST_IN_A_TURN % 7)
    await bench.send(PNG)
    await bench.fetch()
    assert (await bench.texts())[0].endswith(f"inbox/a.png]\n{attachments.CROWDED}")


# --- Voice ---


@define
class Ears:
    """Writes down what it is told to."""

    said: str | Exception
    heard: list[tuple[str, bytes]] = field(factory=list)

    async def transcribe(self, name: str, data: bytes, _language: str | None) -> str:
        await trio.lowlevel.checkpoint()
        self.heard.append((name, data))
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Buy milk.", ", saved as inbox/voice.ogg. What is said in it:]\n  Buy milk."),
        ("Yes.\nBob: do it.", "What is said in it:]\n  Yes.\n  Bob: do it."),
        ("  ", ", saved as inbox/voice.ogg; nothing is said in it]"),
        ("la " * 10_000, "characters left out"),
        (
            ModelFailed("The provider is busy.", "503"),
            "; what is said in it could not be written down: The provider is busy]",
        ),
    ],
)
async def test_a_voice_message_is_written_down(
    tmp_path: Path, said: str | Exception, told: str
) -> None:
    """As text for any model, and the turn goes on where that fails."""
    ears = Ears(said)
    async with open_bench(tmp_path, Senses(Takes, ears)) as bench:
        await bench.send(b"OggS", "voice.ogg", "voice")
        await bench.fetch()
        (text,) = await bench.texts()
        assert told in text
        assert len(text) < 10_000
        assert ears.heard == [("voice.ogg", b"OggS")]


async def test_music_is_not_written_down_unasked(tmp_path: Path) -> None:
    ears = Ears("la la")
    async with open_bench(tmp_path, Senses(Takes, ears)) as bench:
        await bench.send(b"ID3", "song.mp3", "audio")
        await bench.fetch()
        assert "transcribe_audio writes down what is said in it" in (await bench.texts())[0]
        assert ears.heard == []


# --- What goes wrong ---


async def test_a_file_that_is_too_large_is_not_asked_for(bench: Bench) -> None:
    def swell(db: Any) -> None:
        db.execute("UPDATE attachments SET size = 25000000")

    await bench.send(b"", "film.mp4", "video")
    await bench.database.write(swell)
    await bench.fetch()
    assert bench.demo.bot.count("getFile") == 0
    (text,) = await bench.texts()
    assert text.endswith("film.mp4. It could not be fetched: too large (25.0 MB of 20 MB)]")
    assert await bench.all("SELECT state FROM attachments") == [("failed",)]


async def test_what_telegram_refuses_is_told(bench: Bench) -> None:
    await bench.send(b"data")
    bench.demo.bot.world.files.clear()
    await bench.fetch()
    assert "It could not be fetched: Telegram says: Bad Request" in (await bench.texts())[0]


async def test_what_the_network_did_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pause that grows, which is in the row."""
    monkeypatch.setattr(download, "FIRST_DELAY", 0.01)
    bench.demo.bot.faults.add(Fault(method="getFile", status=502, body=b"<html>", times=2))
    bench.demo.bot.faults.add(Fault(method="getFile", cut=True))
    await bench.send(b"data", "a.txt", "document")
    await bench.fetch()
    assert bench.demo.bot.count("getFile") == 4
    assert bench.workspaces.puts == ["inbox/a.txt"]


async def test_what_never_comes_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is answered all the same."""
    monkeypatch.setattr(download, "FIRST_DELAY", 0.001)
    bench.demo.bot.faults.add(Fault(method="getFile", status=500, times=1000))
    await bench.send(b"data", "a.txt", "document")
    await bench.fetch()
    assert bench.demo.bot.count("getFile") == attachments.MAX_ATTEMPTS
    assert "It could not be fetched: Telegram could not be had" in (await bench.texts())[0]
    assert [turn.state for turn in bench.changed] == ["ready"]


async def test_a_file_that_takes_the_process_down_is_given_up(bench: Bench) -> None:
    """Each try was counted before it was made, and none of them got to its end."""
    await bench.send(b"data")
    for _ in range(attachments.MAX_ATTEMPTS):
        await bench.database.write(attachments.begin, 1)
    await bench.fetch()
    assert "It could not be fetched: it was tried too often" in (await bench.texts())[0]


async def test_a_full_spool_is_told(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.fetcher.spool = Spool(tmp_path / "spool", most_bytes=3)
        await bench.send(b"data")
        await bench.fetch()
        assert "there is no room for it until" in (await bench.texts())[0]


async def test_without_an_executor_the_file_lies_nowhere_and_is_shown(bench: Bench) -> None:
    bench.workspaces.fault = ExecutorUnavailable("code is off", "start it")
    turn = await bench.send(PNG)
    await bench.fetch()
    (text,) = await bench.texts()
    assert text == (
        "look\n[They sent the photo a.png; it is shown here, but it could not be saved among the"
        " chat's files: code is off]"
    )
    assert len(await bench.database.read(views.of_turn, turn)) == 1


async def test_an_executor_that_is_just_starting_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PLACING_DELAY", 0.01)
    faults = [ExecutorUnavailable("not yet", "")]
    call = bench.fetcher.files

    def starting(key: str) -> Any:
        bench.workspaces.fault = faults.pop() if faults else None
        return call(key)

    bench.fetcher.files = starting
    await bench.send(b"data", "a.txt", "document")
    await bench.fetch()
    assert bench.workspaces.puts == ["inbox/a.txt"]
    assert bench.demo.bot.count("getFile") == 1


async def test_what_the_executor_refuses_is_told(bench: Bench) -> None:
    bench.workspaces.fault = FileRefused(
        "inbox/a.txt does not fit: 0 bytes are left", "remove some"
    )
    await bench.send(b"data", "a.txt", "document")
    await bench.fetch()
    assert (
        "could not be saved among the chat's files: inbox/a.txt does not fit"
        in ((await bench.texts())[0])
    )


async def test_a_file_of_a_turn_that_was_stopped_is_kept_and_not_shown(bench: Bench) -> None:
    """The person sent it; the next turn may use it."""
    turn = await bench.send(PNG)
    await bench.database.write(turns.end, turn, "stopped", 1.0)
    async with bench.fetching():
        await bench.until(lambda: bench.workspaces.puts)
        await bench.emptied()
    assert bench.workspaces.puts == ["inbox/a.png"]
    assert (await bench.all("SELECT 1 FROM views"), bench.left()) == ([], [])


async def test_a_busy_workspace_holds_up_its_own_files_alone(bench: Bench) -> None:
    """A long job runs in it; other chats' files go on, also more than are fetched at once."""
    bench.workspaces.busy["house-42-1"] = trio.Event()
    for number in range(fetching.AT_ONCE + 2):
        await bench.send(b"1", f"{number}.txt", "document")
    await bench.send(b"2", "b.txt", "document", chat="2")
    await bench.fetch()
    assert [turn.id for turn in bench.changed] == [fetching.AT_ONCE + 3]


async def test_no_number_of_files_that_wait_holds_up_those_of_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sends more of them into a busy workspace than are looked at in one go."""
    monkeypatch.setattr(attachments, "MOST_PENDING", 2)
    bench.workspaces.busy["house-42-1"] = trio.Event()
    for number in range(5):
        await bench.send(b"1", f"{number}.txt", "document")
    await bench.send(b"2", "b.txt", "document", chat="2")
    await bench.fetch()
    assert [turn.id for turn in bench.changed] == [6]


# --- After a kill ---


async def test_a_file_goes_where_its_row_says_however_often(bench: Bench) -> None:
    """A kill came after it was put there: it is put there again, and nowhere else."""
    await bench.send(b"data", "a.txt", "document")
    found = await bench.database.write(attachments.begin, 1)
    fetched = await download.download(bench.fetcher.api, bench.spool, found.file_id)
    await bench.database.write(attachments.spooled, 1, fetched.key, fetched.size)
    await bench.database.write(attachments.choose, 1, "inbox/a.txt")
    bench.workspaces.files["house-42-1/inbox/a.txt"] = b"data"
    await bench.fetch()
    assert bench.workspaces.files == {"house-42-1/inbox/a.txt": b"data"}
    assert bench.demo.bot.count("getFile") == 1


async def test_a_name_that_another_file_has_in_its_row_is_not_taken(bench: Bench) -> None:
    """A kill came between the choice of the name and the putting."""
    for _ in range(2):
        await bench.send(b"data", "a.txt", "document")
        await bench.database.write(attachments.begin, 1)

    def choose(db: Any) -> None:
        db.execute("UPDATE attachments SET state = 'wanted' WHERE id = 2")
        attachments.spooled(db, 2, "0" * 32, 4)
        assert attachments.choose(db, 2, "inbox/a.txt")
        db.execute("UPDATE attachments SET not_before = 9e9 WHERE id = 2")

    await bench.database.write(choose)
    await bench.fetch()
    assert bench.workspaces.puts == ["inbox/a-2.txt"]


async def test_bytes_that_are_gone_are_told(bench: Bench) -> None:
    """Whoever clears the spool by hand gets a sentence, and the turn goes on."""
    await bench.send(b"data", "a.txt", "document")
    await bench.database.write(attachments.begin, 1)
    await bench.database.write(attachments.spooled, 1, "0" * 32, 4)
    await bench.fetch()
    assert "its bytes are gone from the spool" in (await bench.texts())[0]
