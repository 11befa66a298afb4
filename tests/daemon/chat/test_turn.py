"""A turn in our own hands: journal, lanes and runner together, on a real database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import field, frozen

from agent.loop import INTERRUPTED, Limits
from agent.ports import ModelFailed, OutFile, ToolOutcome, TurnLost
from agent.tools.code import Runner
from agent.transcript import Answer, CallRequest, ToolCall
from daemon.chat.journal import CROWDED, WORDLESS, TurnJournal
from daemon.chat.lanes import Lanes
from daemon.chat.turn import TurnRunner, workspace_key
from daemon.spool import Spool
from daemon.store import boots, journal, people, turns
from daemon.store.db import Database, open_database
from daemon.store.turns import MAX_ATTEMPTS, TurnRow
from daemon.store.values import Claim, Place
from executor.client import ExecutorClient, Job, Result
from executor.messages import Artifact, parse_workspace

HERE = Place("telegram", "42", "1")
SUM = CallRequest("c1", "calculate_expression", '{"expression": "2 + 2"}')
BASH = CallRequest("c2", "bash", '{"command": "ls"}')


class FakeModel:
    """Answers from a list; each answer may be an exception, or an event to wait for first."""

    def __init__(self, *answers: Answer | Exception | trio.Event) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[dict[str, Any]]] = []
        self.waiting = trio.Event()

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        self.asked.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, trio.Event):
            self.waiting.set()
            await answer.wait()
            answer = self.answers.pop(0)
        if isinstance(answer, Answer):
            return answer
        assert isinstance(answer, Exception)
        raise answer


class Bench:
    def __init__(self, database: Database, boot: str, model: FakeModel, executor: Runner) -> None:
        self.database, self.boot, self.model = database, boot, model
        self.woken = trio.Event()
        self.places: list[Place] = []
        self.spool = Spool(database.path.parent / "spool")
        runner = TurnRunner(
            database,
            boot,
            model,
            "fake",
            executor,
            "",
            "UTC",
            Limits(),
            self._wake,
            lambda: self.lanes.closing,
            self.spool,
        )
        self.lanes = Lanes(database, 4, runner.run, self._wake)

    def _wake(self, place: Place) -> None:
        self.places.append(place)
        self.woken.set()

    async def say(self, text: str, place: Place = HERE) -> TurnRow:
        def create(db: Any) -> TurnRow:
            session = people.ensure_session(db, place, 0.0)
            now = time.time()
            return turns.create(db, session, text=text, asked_at=now, now=now)

        return await self.database.write(create)

    async def all(self, statement: str) -> list[tuple[Any, ...]]:
        def read(db: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in db.execute(statement).fetchall()]

        return await self.database.read(read)

    async def parts(self) -> list[str]:
        found = await self.all("SELECT json_extract(params, '$.text') FROM outbox ORDER BY id")
        return [row[0] for row in found]

    async def answered(self, turns: int) -> None:
        """Wait until so many answers were queued."""
        while len(await self.parts()) < turns:
            await self.woken.wait()
            self.woken = trio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.lanes.run)
            yield
            nursery.cancel_scope.cancel()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def bench_with(
    database: Database, tmp_path: Path, *answers: Any, executor: Runner | None = None
) -> Bench:
    boot = await database.write(boots.begin, "test", 0.0)
    nobody = ExecutorClient(str(tmp_path / "none.sock"))
    return Bench(database, boot, FakeModel(*answers), executor or nobody)


async def test_a_turn_with_a_tool_is_answered(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path, Answer("", (SUM,)), Answer("It is 4."))
    turn = await bench.say("2 + 2?")
    async with bench.running():
        await bench.woken.wait()
    assert await bench.parts() == ["It is 4."]
    assert await bench.all("SELECT state, outcome FROM turns") == [("ended", "answered")]
    roles = await bench.all(f"SELECT role, content FROM messages WHERE turn_id = {turn.id}")
    assert roles == [
        ("user", "2 + 2?"),
        ("assistant", ""),
        ("tool", "4"),
        ("assistant", "It is 4."),
    ]


async def test_a_plain_turn_makes_two_commits_of_its_own(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model intent, and answer, end and outbox in one; intake and sending have two each."""
    bench = await bench_with(database, tmp_path, Answer("hi"))
    await bench.say("hello")
    done: list[str] = []
    transact = Database._transact

    def counted(self: Database, body: Callable[[], Any]) -> Any:
        done.append("commit")
        return transact(self, body)

    monkeypatch.setattr(Database, "_transact", counted)
    async with bench.running():
        await bench.woken.wait()
    assert len(done) == 1 + 2  # the first is the lanes' own start


async def test_the_same_words_reach_the_model_once(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path, Answer("", (SUM,)), Answer("4"))
    await bench.say("a singular question")
    async with bench.running():
        await bench.woken.wait()
    for messages in bench.model.asked:
        assert str(messages).count("a singular question") == 1


async def test_a_model_that_fails_is_told_in_a_sentence_with_an_id(
    database: Database, tmp_path: Path
) -> None:
    failure = ModelFailed("I cannot reach the model provider.", "connection refused")
    bench = await bench_with(database, tmp_path, failure)
    turn = await bench.say("hello")
    async with bench.running():
        await bench.woken.wait()
    assert await bench.parts() == [f"I cannot reach the model provider. (id {turn.ref})"]
    assert await bench.all("SELECT outcome, error FROM turns") == [("failed", "connection refused")]


async def test_what_was_said_before_a_cut_is_kept(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path, ModelFailed("Lost.", "cut", "Once upon a"))
    await bench.say("a story")
    async with bench.running():
        await bench.woken.wait()
    (part,) = await bench.parts()
    assert part.startswith("Once upon a\n\n[The answer breaks off here. Lost.]")


@pytest.mark.parametrize("text", ["", " \n\t "])
async def test_an_answer_without_words_is_told(
    database: Database, tmp_path: Path, text: str
) -> None:
    """There is nothing to send of it, and somebody waits."""
    bench = await bench_with(database, tmp_path, Answer(text))
    await bench.say("hello?")
    async with bench.running():
        await bench.woken.wait()
    assert await bench.parts() == [WORDLESS]


async def test_a_fault_of_ours_is_told_and_the_next_turn_works(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path, ZeroDivisionError("a bug"), Answer("fine"))
    first = await bench.say("one")
    await bench.say("two")
    async with bench.running():
        while len(bench.places) < 2:
            bench.woken = trio.Event()
            await bench.woken.wait()
    assert await bench.parts() == [f"Something went wrong inside me. (id {first.ref})", "fine"]


async def test_code_without_an_executor_says_why(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path, Answer("", (BASH,)), Answer("sorry"))
    await bench.say("list the files")
    async with bench.running():
        await bench.woken.wait()
    (result,) = await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert "no executor listens" in result[0]


# --- Files ---

PLOT = CallRequest("c3", "python_execute", '{"code": "plot()", "files": "t.txt"}')
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x09" * 2


@frozen
class Draws:
    """An executor whose every job gives back these files."""

    artifacts: tuple[Artifact, ...]
    jobs: list[Job] = field(factory=list)

    async def run(self, job: Job) -> Result:
        await trio.lowlevel.checkpoint()
        self.jobs.append(job)
        return Result("exit", 0, b"drawn", artifacts=self.artifacts, session="new")


async def test_files_of_a_tool_are_queued_with_its_result_and_before_the_answer(
    database: Database, tmp_path: Path
) -> None:
    """A picture as one, anything else as a document; the bytes are in the spool, private."""
    made = (Artifact(".plots/plot-1.png", PIXEL), Artifact("out/t.txt", b"text"))
    executor = Draws(made)
    answers = Answer("", (PLOT,)), Answer("There it is.")
    bench = await bench_with(database, tmp_path, *answers, executor=executor)
    turn = await bench.say("plot")
    async with bench.running():
        while "There it is." not in await bench.parts():
            await bench.woken.wait()
            bench.woken = trio.Event()
    rows = await bench.all("SELECT method, file, file_name, turn_id FROM outbox ORDER BY seq")
    assert [(row[0], row[2]) for row in rows] == [
        ("sendPhoto", "plot-1.png"),
        ("sendDocument", "t.txt"),
        ("sendMessage", ""),
    ]
    assert {row[3] for row in rows} == {turn.id}
    kept = [bench.spool.path / row[1] for row in rows[:2]]
    assert [path.read_bytes() for path in kept] == [PIXEL, b"text"]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    (job,) = executor.jobs
    assert job.artifacts == ("t.txt",)
    (result,) = await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert result[0] == "drawn\n[sent to the chat: plot-1.png (picture), t.txt (4 B)]"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"not at all", "sent to the chat: a.png (10 B)"),
        ("a.bin", PIXEL, "sent to the chat: a.bin (picture)"),
        ("a.png", b"", "not sent: a.png: it is empty"),
        ("a.png", bytes(101), f"not sent: a.png: {CROWDED}"),
    ],
)
async def test_what_the_model_is_told_of_a_file_is_what_becomes_of_it(
    database: Database, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    """By the bytes, that decide how it is sent; its name is whatever the job chose."""
    bench = await bench_with(database, tmp_path)
    bench.spool = Spool(bench.spool.path, most_bytes=100)
    ours, call = await begun_call(bench)
    text = await ours.tool_finished(call, ToolOutcome("drawn", files=(OutFile(name, data),)))
    assert text == f"drawn\n[{said}]"
    methods = await bench.all("SELECT method FROM outbox")
    expected = "sendPhoto" if "picture" in said else "sendDocument"
    assert methods == ([(expected,)] if said.startswith("sent") else [])


async def test_a_file_that_cannot_be_sent_is_named_to_the_model(
    database: Database, tmp_path: Path
) -> None:
    executor = Draws((Artifact("t.txt", b""),))
    answers = Answer("", (PLOT,)), Answer("Sorry.")
    bench = await bench_with(database, tmp_path, *answers, executor=executor)
    await bench.say("plot")
    async with bench.running():
        await bench.woken.wait()
    (result,) = await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert result[0] == "drawn\n[not sent: t.txt: it is empty]"
    assert await bench.parts() == ["Sorry."]
    assert not bench.spool.path.exists()


async def test_a_new_conversation_begins_without_variables(
    database: Database, tmp_path: Path
) -> None:
    """They are kept by a key, which changes at /new and at nothing else."""
    executor = Draws(())
    answers = [Answer("", (PLOT,)), Answer("done")] * 6
    bench = await bench_with(database, tmp_path, *answers, executor=executor)

    async def begin_again() -> None:
        ((session,),) = await bench.all("SELECT id FROM sessions")
        await database.write(people.begin_again, session)

    await bench.say("one")
    await bench.say("two")
    async with bench.running():
        await bench.answered(2)
    await begin_again()
    await begin_again()
    await bench.say("three")
    await bench.say("four")
    async with bench.running():
        await bench.answered(4)
    await bench.say("five, asked before /new and begun after it")
    await begin_again()
    async with bench.running():
        await bench.answered(5)
    await bench.say("six")
    async with bench.running():
        await bench.answered(6)
    one, two, three, four, five, six = (job.session for job in executor.jobs)
    assert (one, three) == (two, four)
    # The fifth is alone with its variables, as it is with what it is shown of earlier turns.
    assert len({one, three, five, six}) == 4
    assert all(parse_workspace(job.session) for job in executor.jobs)


async def begun_call(bench: Bench) -> tuple[TurnJournal, ToolCall]:
    """A turn that waits for the end of a job."""
    turn = await bench.say("plot")
    ours = TurnJournal(bench.database, turn.id, bench.boot, "fake", bench._wake, bench.spool)
    await ours.load()
    intent = await ours.intend_model_call(1)
    (call,) = await ours.answered(intent, Answer("", (PLOT,)))
    await ours.intend_tool_call(call)
    return ours, call


async def test_files_of_a_turn_that_was_lost_do_not_stay(
    database: Database, tmp_path: Path
) -> None:
    """Stopped between the job and its row: nothing is queued, and nothing lies about."""
    bench = await bench_with(database, tmp_path)
    ours, call = await begun_call(bench)
    ((session,),) = await bench.all("SELECT id FROM sessions")
    await database.write(turns.stop, session, time.time())
    with pytest.raises(TurnLost):
        await ours.tool_finished(call, ToolOutcome("drawn", files=(OutFile("p.png", PIXEL),)))
    assert list(bench.spool.path.iterdir()) == []
    assert await bench.parts() == []


# --- Stopping, and going on ---


async def test_a_stopped_turn_ends_at_once_and_says_nothing_more(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path, trio.Event(), Answer("next"))
    turn = await bench.say("one")
    async with bench.running():
        await bench.model.waiting.wait()
        await database.write(turns.stop, turn.session_id, time.time())
        bench.lanes.dropped(turn.id)
        bench.lanes.put(await bench.say("two"))
        await bench.woken.wait()
    assert await bench.parts() == ["next"]
    assert await bench.all("SELECT outcome FROM turns ORDER BY id") == [("stopped",), ("answered",)]


async def test_a_turn_goes_on_from_its_last_row(database: Database, tmp_path: Path) -> None:
    """An earlier boot died while a tool ran: what only reads is run again, the rest is asked."""
    bench = await bench_with(database, tmp_path, Answer("done"))
    turn = await bench.say("do both")
    earlier = await database.write(boots.begin, "test", 0.0)

    def half_done(db: Any) -> None:
        held = Claim(turn.id, earlier, first=True, seen=10**9)
        journal.hold(db, held, 0.0)
        held = Claim(turn.id, earlier, first=False, seen=0)
        for call in journal.add_answer(db, turn.id, Answer("", (BASH, SUM)), 0.0):
            journal.intend_tool_call(db, held, call.id, 0.0)

    await database.write(half_done)
    async with bench.running():
        await bench.woken.wait()
    results = await bench.all("SELECT content FROM messages WHERE role = 'tool' ORDER BY id")
    assert results == [(INTERRUPTED,), ("4",)]
    assert await bench.parts() == ["done"]


async def test_closing_gives_a_turn_back_at_its_next_journal_point(
    database: Database, tmp_path: Path
) -> None:
    go_on = trio.Event()
    bench = await bench_with(database, tmp_path, go_on, Answer("", (SUM,)), Answer("4"))
    await bench.say("2 + 2?")
    async with bench.running():
        await bench.model.waiting.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.lanes.close, 10.0)
            go_on.set()
    assert await bench.all("SELECT state, attempts FROM turns") == [("ready", 0)]
    again = await bench_with(database, tmp_path, Answer("It is 4."))
    async with again.running():
        await again.woken.wait()
    assert await again.parts() == ["It is 4."]


async def test_closing_waits_no_longer_than_its_grace(database: Database, tmp_path: Path) -> None:
    bench = await bench_with(database, tmp_path, trio.Event())
    await bench.say("hello")
    async with bench.running():
        await bench.model.waiting.wait()
        await bench.lanes.close(0.01)
    assert await bench.all("SELECT state FROM turns") == [("running",)]


async def test_a_turn_that_brings_the_process_down_is_given_up_visibly(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path)
    turn = await bench.say("poison")

    def die(db: Any) -> None:
        turns.recover(db)
        journal.hold(db, Claim(turn.id, bench.boot, first=True, seen=10**9), 0.0)

    for _ in range(MAX_ATTEMPTS):
        await database.write(die)
    async with bench.running():
        await bench.woken.wait()
    (part,) = await bench.parts()
    assert "poison" in part
    assert turn.ref in part
    assert await bench.all("SELECT outcome FROM turns") == [("dead",)]


async def test_a_forward_that_joins_a_running_turn_is_read_by_the_model(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path, trio.Event(), Answer("both read"))
    turn = await bench.say("what of this?")
    async with bench.running():
        await bench.model.waiting.wait()

        def join(db: Any) -> None:
            turns.add_user_message(db, turn.id, "[forwarded] a story", 0.0)
            turns.begin_afresh(db, turn.id)

        await database.write(join)
        bench.lanes.restart(turn.id)
        await bench.woken.wait()
    assert "a story" in str(bench.model.asked[-1])
    assert await bench.parts() == ["both read"]


async def test_topics_of_a_chat_share_its_workspace_and_chats_do_not(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path)

    async def key(place: Place) -> str:
        turn = await bench.say("x", place)
        return workspace_key((await database.read(journal.read_pages, turn.id)).address)

    one = await key(Place("telegram", "42", "-1001", "7"))
    two = await key(Place("telegram", "42", "-1001", "8"))
    three = await key(Place("telegram", "42", "1001"))
    assert one == two != three


async def test_a_hopeless_turn_whose_rows_make_no_sense_keeps_no_lane_from_starting(
    database: Database, tmp_path: Path
) -> None:
    bench = await bench_with(database, tmp_path, Answer("fine"))
    broken = await bench.say("a question")

    def spoil(db: Any) -> None:
        db.execute("DELETE FROM messages WHERE turn_id = ?", (broken.id,))
        db.execute("UPDATE turns SET attempts = ?", (MAX_ATTEMPTS,))

    await database.write(spoil)
    await bench.say("another")
    async with bench.running():
        while not [part for part in await bench.parts() if part == "fine"]:
            await bench.woken.wait()
    (given_up, _) = await bench.parts()
    assert broken.ref in given_up
