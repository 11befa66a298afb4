"""A turn in our own hands: journal, lanes and runner together, on a real database."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen

from agent.loop import INTERRUPTED
from agent.ports import ModelFailed, OutFile, ToolOutcome, TurnLost, Unsent
from agent.transcript import UNCOUNTED, Answer, CallRequest, Usage
from daemon.chat.drafts import CROWDED, WORDLESS
from daemon.chat.memory import MemoryKeeper
from daemon.chat.mind import Mind
from daemon.spool import Spool
from daemon.store import boots, journal, people, stops, turnrow, turns
from daemon.store.db import Database, open_database
from daemon.store.hopeless import MAX_ATTEMPTS
from daemon.store.values import Claim, Place
from daemon.telegram import media
from executor.client import Job, Result
from executor.messages import Artifact, parse_workspace
from tests.daemon.chat.fakefiles import FakeFiles
from tests.daemon.chat.turnbench import begun, bench_with

SUM = CallRequest("c1", "calculate_expression", '{"expression": "2 + 2"}')
BASH = CallRequest("c2", "bash", '{"command": "ls"}')


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


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


@pytest.mark.parametrize(
    ("outcome", "lost"),
    [
        (Answer("hi", usage=Usage(900, 0, 50), lost=UNCOUNTED * 2), 2),
        (ModelFailed("Lost.", "cut", lost=UNCOUNTED * 3), 3),
        (ModelFailed("No key.", "HTTP 401", lost=()), 0),
    ],
)
async def test_attempts_that_were_lost_are_counted(
    database: Database, tmp_path: Path, outcome: Answer | ModelFailed, lost: int
) -> None:
    """Whether an answer came in the end or not, each as what was set aside for the call."""
    bench = await bench_with(database, tmp_path, outcome)
    await bench.say("hello")
    async with bench.running():
        await bench.woken.wait()
    ((reserved, unknown),) = await bench.all(
        "SELECT c.reserved_tokens, u.unknown_tokens FROM model_calls AS c, agent_usage AS u"
    )
    assert (reserved > 0, unknown) == (True, lost * reserved)


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
WIDE = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\x23\x28" * 2
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


async def test_plots_of_one_call_are_one_album(database: Database, tmp_path: Path) -> None:
    """What is no picture comes after it, and what cannot be sent is told to the chat as well."""
    bench = await bench_with(database, tmp_path)
    ours, call = await begun(bench, PLOT)
    plots = [OutFile(f"plot-{n}.png", PIXEL + bytes([n])) for n in range(12)]
    files = (*plots, OutFile("t.csv", b"1"), OutFile("empty", b""))
    late = Unsent("big\n.zip", "it has 9 bytes, and 8 can be sent at once; zip it")
    result = await ours.tool_finished(call, ToolOutcome("", files=files, unsent=(late,)))
    assert result is not None
    rows = await bench.all(
        "SELECT method, file_name, json_array_length(more_files),"
        " json_extract(params, '$.text') FROM outbox ORDER BY seq"
    )
    assert rows == [
        ("sendMediaGroup", "plot-0.png", 9, None),
        ("sendMediaGroup", "plot-10.png", 1, None),
        ("sendDocument", "t.csv", 0, None),
        ("sendMessage", "", 0, f"I could not send big_.zip: {late.why}."),
        ("sendMessage", "", 0, "I could not send empty: it is empty."),
    ]
    assert "plot-11.png (picture), t.csv (1 B)]" in result.text
    assert result.text.count("[not sent: ") == 2
    assert len(list(bench.spool.path.iterdir())) == 13


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"not at all", "sent to the chat: a.png (10 B)"),
        ("a.bin", PIXEL, "sent to the chat: a.bin (picture)"),
        ("a.png", b"", "not sent: a.png: it is empty"),
        (
            "wide.png",
            WIDE,
            f"sent to the chat: wide.png (24 B as a file, since {media.unshown(WIDE)})",
        ),
        ("a.png", bytes(101), f"not sent: a.png: {CROWDED}"),
    ],
)
async def test_what_the_model_is_told_of_a_file_is_what_becomes_of_it(
    database: Database, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    """By the bytes, that decide how it is sent; its name is whatever the job chose."""
    bench = await bench_with(database, tmp_path)
    bench.spool = Spool(bench.spool.path, most_bytes=100)
    ours, call = await begun(bench, PLOT)
    result = await ours.tool_finished(call, ToolOutcome("drawn", files=(OutFile(name, data),)))
    assert result is not None
    text = result.text
    assert text == f"drawn\n[{said}]"
    methods = await bench.all("SELECT method FROM outbox")
    expected = "sendPhoto" if "(picture)" in said else "sendDocument"
    told = [("sendMessage",)] if "empty" in said else []
    assert methods == ([(expected,)] if said.startswith("sent") else told)


BOLD = {"type": "bold", "offset": 0, "length": 2}


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        ("", [{}]),
        (" By month. ", [{"caption": "By month."}]),
        ("**By** month.", [{"caption": "By month.", "caption_entities": [BOLD]}]),
        ("x" * 2000, [{"caption": "x" * 960}, {"text": "x" * 1040, "entities": []}]),
    ],
)
async def test_a_caption_is_queued_with_its_file(
    database: Database, tmp_path: Path, caption: str, kept: list[dict[str, Any]]
) -> None:
    """As much of it as Telegram shows below a label; the rest comes after it."""
    bench = await bench_with(database, tmp_path)
    ours, call = await begun(bench, PLOT)
    outcome = ToolOutcome("", files=(OutFile("p.png", PIXEL, caption),))
    result = await ours.tool_finished(call, outcome)
    assert result is not None
    assert result.text == "[sent to the chat: p.png (picture)]"
    found = [
        json.loads(row[0]) for row in await bench.all("SELECT params FROM outbox ORDER BY seq")
    ]
    for each in found:
        each.pop("link_preview_options", None)
    assert found == kept


async def test_a_file_that_cannot_be_sent_is_named_to_the_model(
    database: Database, tmp_path: Path
) -> None:
    executor = Draws((Artifact("t.txt", b""),))
    answers = Answer("", (PLOT,)), Answer("Sorry.")
    bench = await bench_with(database, tmp_path, *answers, executor=executor)
    await bench.say("plot")
    async with bench.running():
        await bench.answered(2)
    (result,) = await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert result[0] == "drawn\n[not sent: t.txt: it is empty]"
    assert await bench.parts() == ["I could not send t.txt: it is empty.", "Sorry."]
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


async def test_files_of_a_turn_that_was_lost_do_not_stay(
    database: Database, tmp_path: Path
) -> None:
    """Stopped between the job and its row: nothing is queued, and nothing lies about."""
    bench = await bench_with(database, tmp_path)
    ours, call = await begun(bench, PLOT)
    ((session,),) = await bench.all("SELECT id FROM sessions")
    await database.write(stops.stop, session, time.time())
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
        await database.write(stops.stop, turn.session_id, time.time())
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


async def test_calls_that_open_a_run_side_by_side_claim_it_once(
    database: Database, tmp_path: Path
) -> None:
    """A turn that is gone on with may begin with several tools at once."""
    bench = await bench_with(database, tmp_path, Answer("done"))
    turn = await bench.say("add up")

    def asked(db: Any) -> None:
        journal.add_answer(db, turn.id, Answer("", (SUM, SUM, SUM)), 0.0)

    await database.write(asked)
    async with bench.running():
        await bench.woken.wait()
    assert await bench.parts() == ["done"]
    assert await bench.all("SELECT attempts FROM turns") == [(1,)]


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
            turnrow.add_user_message(db, turn.id, "[forwarded] a story", 0.0)
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
        return (await database.read(journal.read_pages, turn.id)).address.workspace

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


async def test_a_later_request_begins_with_the_earlier_one_to_the_byte(
    database: Database, tmp_path: Path
) -> None:
    """System prompt, times and tool results included: what the provider has cached stays good."""
    answers = (Answer("", (SUM, SUM)), Answer("It is 4."), Answer("Still 4."))
    bench = await bench_with(database, tmp_path, *answers)
    await bench.say("2 + 2?")
    await bench.say("are you sure?")
    async with bench.running():
        await bench.answered(2)
    first, second, third = (list(messages) for messages in bench.model.asked)
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    assert "\n\n[Sent " in third[-1]["content"]


async def test_memory_is_looked_at_after_work_and_not_after_talk(
    database: Database, tmp_path: Path
) -> None:
    """So that rows are as new as the files for a search, and a plain turn costs nothing more."""
    bench = await bench_with(database, tmp_path, Answer("hi"), Answer("", (SUM,)), Answer("4"))
    looked: list[str] = []

    def files(workspace: str) -> FakeFiles:
        looked.append(workspace)
        return FakeFiles()

    mind = Mind(database, keeper=MemoryKeeper(database, files))
    bench.runner = evolve(bench.runner, mind=mind)
    await bench.say("hello")
    await bench.say("2 + 2?")
    async with bench.running():
        await bench.answered(2)
        while bench.lanes.board.running:
            await trio.lowlevel.checkpoint()
    assert looked == ["house-42-1"] * 2  # for the first turn's snapshot, and after the second


async def test_what_is_said_to_a_running_turn_is_the_same_to_the_byte_later(
    database: Database, tmp_path: Path
) -> None:
    """With the time at which it came: as it is read while the turn runs, and from its row."""
    held = trio.Event()
    bench = await bench_with(database, tmp_path, held, Answer("", (SUM,)), Answer("In blue."))
    turn = await bench.say("paint it")
    async with bench.running():
        await bench.model.waiting.wait()
        await database.write(turns.add_user_message, turn.id, "in blue", 5_000.0)
        held.set()
        await bench.answered(1)
    later = await bench_with(database, tmp_path, Answer("Welcome."))
    await later.say("thanks")
    async with later.running():
        await later.answered(2)
    second, third = list(bench.model.asked[1]), list(later.model.asked[0])
    assert second[-1]["content"] == "in blue\n\n[Sent 1970-01-01 01:23 (UTC)]"
    assert third[: len(second)] == second
