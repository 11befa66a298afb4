"""Long conversations, held by the real runner, lanes, model client and compactor.

Only the executor is a stand-in: its one kind of job prints a text that can be found again. The
model is an HTTP server, which records what it is asked, counts the tokens of it, and when it is
asked for a summary, writes one that repeats every mark that it was shown.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import Factory, define, field, frozen

from agent.budget import FREE, Tariff
from agent.loop import Limits
from agent.model import OpenAIModel
from agent.request import ModelOptions
from agent.sizes import Sizes
from daemon.chat.compaction import Compactor, Means
from daemon.chat.journal import Wakes
from daemon.chat.lanes import Lanes
from daemon.chat.memory import MemoryKeeper
from daemon.chat.mind import Mind
from daemon.chat.sizing import Given
from daemon.chat.toolset import Toolset
from daemon.chat.turn import TurnRunner
from daemon.demo.model import ModelServer
from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall, text_of
from daemon.spool import Spool
from daemon.store import boots, people, turns
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from executor.client import Job, Result
from tests.daemon.chat.fakefiles import FakeFiles

HERE = Place("telegram", "42", "1")
MARK = re.compile(r"\b[UR]\d{4}\b")  # U: what a user said, R: what a tool brought
MEMORY = "M9999-remember-the-milk"
# The server counts in its own way: so many bytes of the request are a token to it.
BYTES_PER_TOKEN = 3


def remembering(_workspace: str) -> FakeFiles:
    """The files of a chat that was told something."""
    files = FakeFiles()
    files.write("memory/MEMORY.md", MEMORY)
    return files


def counted(request: ChatRequest) -> int:
    """The tokens of a request's messages and tools."""
    parts = (*request.messages, *request.body.get("tools", ()))
    return sum(len(json.dumps(part, ensure_ascii=False).encode()) for part in parts) // (
        BYTES_PER_TOKEN
    )


def is_summary(request: ChatRequest) -> bool:
    """Whether it asks for a summary."""
    return "replaced by a summary" in text_of(request.messages[-1])


def marks(request: ChatRequest, *, summarised: bool) -> set[str]:
    """The marks in the summary that a request begins with, or in all else of it."""
    found: set[str] = set()
    for message in request.messages[1:]:
        text = text_of(message)
        if text.startswith("[Summary of") is summarised:
            found.update(MARK.findall(text))
    return found


def answer(request: ChatRequest) -> Item:
    """Every third question takes a job, whose result has a mark; the others are answered."""
    usage = counted(request), 60
    if is_summary(request):
        found = marks(request, summarised=True) | marks(request, summarised=False)
        return Reply(f"What was said: {' '.join(sorted(found))}", usage=usage)
    last = request.messages[-1]
    number = int(MARK.findall(request.user_text)[-1][1:])
    if last["role"] == "user" and number % 3 == 0:
        code = ToolCall("python_execute", {"code": f"show({number})"})
        return Reply(calls=(code,), usage=usage)
    return Reply(f"answer {number} {'a' * 200}", usage=usage)


@frozen
class Prints:
    """An executor whose jobs print a mark and much else."""

    characters: int = 1500

    async def run(self, job: Job) -> Result:
        await trio.lowlevel.checkpoint()
        number = int(re.findall(r"\d+", job.code)[0])
        return Result("exit", 0, f"R{number:04d} {'r' * self.characters}".encode(), session="new")


@define
class Conversation:
    """One chat with one person, on a database that outlives it."""

    database: Database
    server: ModelServer
    model: OpenAIModel
    boot: str
    sizes: Sizes
    tariff: Tariff = FREE
    executor: Prints = Factory(Prints)
    place: Place = HERE
    lanes: Lanes = field(init=False)
    compactor: Compactor = field(init=False)
    runner: TurnRunner = field(init=False)
    renewed: list[str] = Factory(list)
    before_summary: Callable[[], None] = lambda: None
    woken: trio.Event = Factory(trio.Event)

    def __attrs_post_init__(self) -> None:
        self.compactor = Compactor(
            self.database, self.boot, self._means, self._sizes, lambda _place: self._wake()
        )
        self.runner = TurnRunner(
            self.database,
            self.boot,
            self.model,
            "mini",
            Toolset(self.executor, self.database),
            Mind(self.database, keeper=MemoryKeeper(self.database, remembering)),
            Limits(),
            Limits(),
            Wakes(lambda _place: self._wake(), self._changed, self._dropped),
            lambda: self.lanes.closing,
            Spool(self.database.path.parent / "spool"),
            self.tariff,
            Given(self.sizes),
            self._ended,
        )
        self.lanes = Lanes(self.database, 4, self.runner.run, lambda _place: self._wake())

    async def _means(self) -> Means:
        self.before_summary()
        return Means(
            self.model,
            "mini",
            self.runner,
            self.tariff,
            renew=lambda _db, session: self.renewed.append(session),
        )

    async def _sizes(self) -> Sizes:
        return self.sizes

    def _changed(self, turn: TurnRow) -> None:
        self.lanes.put(turn)

    def _dropped(self, turn_id: int) -> None:
        self.lanes.dropped(turn_id)

    def _ended(self, session_id: str) -> None:
        self.compactor.look(session_id)
        self._wake()

    def _wake(self) -> None:
        self.woken.set()
        self.woken = trio.Event()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.lanes.run)
            nursery.start_soon(self.compactor.run)
            yield
            nursery.cancel_scope.cancel()

    async def create(self, text: str) -> TurnRow:
        def make(db: Any) -> TurnRow:
            session = people.ensure_session(db, self.place, 0.0)
            user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
            now = time.time()
            return turns.create(db, session, text=text, asked_at=now, now=now, payer_id=user)

        return await self.database.write(make)

    async def say(self, text: str) -> None:
        """Say something, and return when it was answered and all that follows was done."""
        turn = await self.create(text)
        self.lanes.put(turn)
        await self.until_ended(turn)
        await self.compactor.idle()

    async def until_ended(self, turn: TurnRow) -> None:
        while await self.value("SELECT state FROM turns WHERE id = ?", turn.id) != "ended":
            await self.woken.wait()

    async def value(self, statement: str, *values: object) -> Any:
        rows = await self.all(statement, *values)
        return rows[0][0]

    async def all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return await self.database.read(
            lambda db: [tuple(row) for row in db.execute(statement, values).fetchall()]
        )

    async def texts(self) -> list[str]:
        """What was sent to the chat."""
        rows = await self.all(
            "SELECT json_extract(params, '$.text') FROM outbox"
            " WHERE method <> 'setMessageReaction' ORDER BY id"
        )
        return [row[0] for row in rows]


@asynccontextmanager
async def conversation(
    database: Database,
    sizes: Sizes,
    script: Callable[[ChatRequest], Item] = answer,
    tariff: Tariff = FREE,
) -> AsyncIterator[Conversation]:
    """A conversation that can be gone on with; the same database makes it the same one."""
    server = ModelServer(script)
    boot = await database.write(boots.begin, "test", 0.0)
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(server.serve)
        model = OpenAIModel(ModelOptions(base_url, "mini", max_attempts=1))
        try:
            yield Conversation(database, server, model, boot, sizes, tariff)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await model.aclose()
        nursery.cancel_scope.cancel()


def questions(count: int, first: int = 1) -> Iterator[str]:
    """So many questions with a mark each."""
    for number in range(first, first + count):
        yield f"U{number:04d} {'u' * (100 + number * 37 % 400)}"


def database_path(directory: Path) -> Path:
    return directory / "famulus.db"
