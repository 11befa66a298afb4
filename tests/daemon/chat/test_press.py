"""What is pressed under a question: turns go on, messages say what became of them, once."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
import trio

from agent.ports import Policy
from agent.tools.ask import ask_tools
from agent.tools.registry import Kind, Registry, tool
from agent.transcript import Answer, CallRequest
from daemon.chat import buttons, commands, hearing, roles, settling
from daemon.chat.approvals import Console
from daemon.chat.intake import Command, Pressed, Said, Speaker
from daemon.chat.questions import FILE_NAME
from daemon.chat.situation import Effects, Situation
from daemon.chat.toolset import Scope, Toolset
from daemon.store import approvals, boots, people, questions, turns
from daemon.store.db import Database, open_database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from executor.client import ExecutorClient
from tests.daemon.chat.turnbench import HERE, Bench, FakeModel

ADA, BOB, OWNER = Speaker("1", "Ada"), Speaker("2", "Bob"), Speaker("9", "Olga")
PAY = CallRequest("", "pay", '{"to": "Ada", "sum": "5"}')
WHICH = CallRequest(
    "", "ask_user", '{"question": "Which colour?", "choices": ["blue", "red", "neither"]}'
)
PLAIN = CallRequest("", "ask_user", '{"question": "What is your name?"}')


@attrs.frozen
class Errands(Toolset):
    """A tool that needs permission, for good only by whom it pays; and one that asks."""

    paid: list[str] = attrs.field(factory=list)

    def registry(self, scope: Scope) -> Registry:
        @tool(kind=Kind.OUTWARD, policy=Policy.ASK, scope=lambda given: f"to {given['to']}")
        async def pay(to: Annotated[str, "Whom"], sum: Annotated[str, "How much"]) -> str:  # noqa: A002
            """Pay."""
            self.paid.append(f"{to} {sum}"[:40])
            return f"paid {to}"

        return Registry.of([pay, *ask_tools()], attended=scope.attended)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@attrs.define
class Chat:
    """A bench whose people press and say things, as by the router."""

    bench: Bench
    queries: int = 0

    @property
    def paid(self) -> list[str]:
        toolset = self.bench.runner.toolset
        assert isinstance(toolset, Errands)
        return toolset.paid

    async def begin(
        self, text: str = "go on", place: Place = HERE, reply_to: str | None = None
    ) -> TurnRow:
        """Ada asks for something."""

        def create(db: Any) -> TurnRow:
            now = time.time()
            payer = people.ensure_user(db, "telegram", "1", "Ada", now)
            session = people.ensure_session(db, place, now)
            return turns.create(
                db, session, text=text, asked_at=now, now=now, payer_id=payer, reply_to=reply_to
            )

        turn = await self.bench.database.write(create)
        self.bench.lanes.put(turn)
        return turn

    async def _do(self, what: Any) -> None:
        def run(db: Any) -> Effects:
            situation = Situation(db, time.time(), list, Effects(), owner=OWNER.external_id)
            what(situation)
            situation.effects.queued += settling.settle(db, situation.now)
            return situation.effects

        effects = await self.bench.database.write(run)
        for turn in effects.begun:
            self.bench.lanes.put(turn)
        for turn_id in effects.dropped:
            self.bench.lanes.dropped(turn_id)

    async def press(self, label: str, speaker: Speaker = ADA, place: Place = HERE) -> str:
        """Press the newest button with that label; what the person is told."""
        data = (await self.labels())[label]
        self.queries += 1
        pressed = Pressed(place, speaker, str(self.queries), data, "5")
        await self._do(lambda situation: buttons.press(situation, pressed, "42"))
        rows = await self.rows("answerCallbackQuery")
        assert len(rows) == self.queries, "every press has one answer"
        return str(rows[-1]["text"])

    async def say(self, text: str, speaker: Speaker = ADA) -> None:
        said = Said(HERE, speaker, text, time.time(), f"text {speaker.external_id}")
        await self._do(lambda situation: hearing.hear(situation, said, "queue"))

    async def command(self, text: str, speaker: Speaker = ADA) -> None:
        name, _, rest = text.partition(" ")
        asked = Command(HERE, speaker, name, rest, time.time())
        await self._do(lambda situation: commands.run(situation, asked))

    async def rows(self, method: str) -> list[dict[str, Any]]:
        found = await self.bench.all(
            f"SELECT params FROM outbox WHERE method = '{method}' ORDER BY id"
        )
        return [json.loads(row[0]) for row in found]

    async def labels(self) -> dict[str, str]:
        """The buttons that the chat has been sent, by what they say, the newest counting."""
        keyboards = [
            row["reply_markup"]["inline_keyboard"]
            for row in await self.rows("sendMessage")
            if "reply_markup" in row
        ]
        return {
            each["text"]: each["callback_data"]
            for keys in keyboards
            for row in keys
            for each in row
        }

    async def sent(self) -> None:
        """Everything that was queued has been sent."""
        await self.bench.database.write(
            lambda db: db.execute("UPDATE outbox SET state = 'sent', message_id = id")
        )

    async def asked(self, count: int = 1) -> None:
        """Wait until the turn waits for its questions, which the chat has seen."""
        while (
            len(await self.bench.all("SELECT 1 FROM approvals UNION ALL SELECT 1 FROM questions"))
            < count
        ):
            await trio.testing.wait_all_tasks_blocked(0.01)
        while not await self.bench.all("SELECT 1 FROM turns WHERE state = 'waiting'"):
            await trio.testing.wait_all_tasks_blocked(0.01)
        await self.sent()

    async def ended(self, count: int = 1) -> None:
        while len(await self.bench.all("SELECT 1 FROM turns WHERE state = 'ended'")) < count:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def chat_with(database: Database, *answers: Any) -> Chat:
    boot = await database.write(boots.begin, "test", 0.0)
    toolset = Errands(ExecutorClient("/nowhere"), database)
    return Chat(Bench(database, boot, FakeModel(*answers), toolset))


# --- Permission ---


async def test_a_question_is_allowed_by_a_button_and_says_so(database: Database) -> None:
    """The call runs, and the message that asked has no buttons and the name of who answered."""
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Done."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        assert list(await chat.labels()) == ["Allow once", "Allow for this chat", "Deny"]
        assert await chat.press("Allow once") == "Allowed."
        await chat.ended()
    (edit,) = await chat.rows("editMessageText")
    assert edit["text"] == "Allowed once by Ada:\n\npay\nto: Ada\nsum: 5"
    assert edit["entities"] == [{"type": "pre", "offset": 22, "length": 18}]
    assert "reply_markup" not in edit
    assert chat.paid == ["Ada 5"]
    assert await chat.bench.all("SELECT count(*) FROM grants") == [(0,)]


async def test_the_edit_is_of_the_message_that_asked(database: Database) -> None:
    """By its row, since its number is known only when it has been sent."""
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Done."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.press("Deny")
    assert await chat.bench.all(
        "SELECT asked.method FROM outbox AS e JOIN outbox AS asked ON asked.ref = e.edits"
    ) == [("sendMessage",)]


async def test_of_two_presses_one_counts(database: Database) -> None:
    """Also of two different buttons of one question."""
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Then not."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        assert await chat.press("Deny") == "Forbidden."
        assert await chat.press("Allow once") == "This was answered already."
        assert await chat.press("Deny") == "This was answered already."
        await chat.ended()
    assert chat.paid == []
    assert len(await chat.rows("editMessageText")) == 1


async def test_others_may_not_press_and_the_owner_may(database: Database) -> None:
    """A press that may not count leaves the buttons as they are."""
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Done."))
    await chat.begin()
    elsewhere = attrs.evolve(HERE, chat="7")
    async with chat.bench.running():
        await chat.asked()
        told = await chat.press("Allow once", BOB)
        assert told == "Only the person who asked for this, or the owner, may answer."
        assert await chat.press("Deny", ADA, elsewhere) == "This button is no longer valid."
        assert await chat.bench.all("SELECT state FROM approvals") == [("open",)]
        assert await chat.press("Allow once", OWNER) == "Allowed."
        await chat.ended()
    assert chat.paid == ["Ada 5"]
    assert (await chat.rows("editMessageText"))[0]["text"].startswith("Allowed once by Olga:")


async def test_who_was_made_a_guest_since_presses_no_more_than_a_guest_may(
    database: Database,
) -> None:
    """The buttons that they were offered before are commands that they may not give any more."""
    guest = attrs.evolve(ADA, role=roles.GUEST)
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Done."))
    async with chat.bench.running():
        await chat.command("busy")
        assert await chat.press("steer", guest) == "This button is not for guests."
        assert await chat.bench.all("SELECT * FROM chat_settings") == []
        await chat.begin()
        await chat.asked()
        assert await chat.press("Allow once", guest) == "This button is not for guests."
        assert await chat.press("Deny", guest) == "Forbidden."
        await chat.ended()
    assert chat.paid == []


async def test_allowed_for_this_chat_is_not_asked_again_within_its_scope(
    database: Database,
) -> None:
    """Only what the scope names, only for that person, only there."""
    more = CallRequest("", "pay", '{"to": "Ada", "sum": "6"}')
    other = CallRequest("", "pay", '{"to": "Bob", "sum": "7"}')
    chat = await chat_with(
        database,
        *(Answer("", (PAY,)), Answer("One.")),
        *(Answer("", (more,)), Answer("Two.")),
        *(Answer("", (other,)), Answer("Three.")),
    )
    async with chat.bench.running():
        await chat.begin()
        await chat.asked()
        assert await chat.press("Allow for this chat") == "Allowed."
        await chat.ended()
        await chat.begin("again")
        await chat.ended(2)
        assert chat.paid == ["Ada 5", "Ada 6"], "nobody was asked"
        await chat.begin("somebody else")
        await chat.asked(3)
    assert chat.paid == ["Ada 5", "Ada 6"]
    assert await chat.bench.all("SELECT state, lasting FROM approvals ORDER BY id") == [
        ("granted", 1),
        ("granted", 1),
        ("open", 0),
    ]
    (edit,) = await chat.rows("editMessageText")
    assert edit["text"].startswith("Allowed for this chat (pay to Ada; /settings takes it back)")


async def test_what_is_taken_back_is_asked_again(database: Database) -> None:
    """By the button that /settings shows."""
    chat = await chat_with(
        database, Answer("", (PAY,)), Answer("One."), Answer("", (PAY,)), Answer("Two.")
    )
    async with chat.bench.running():
        await chat.begin()
        await chat.asked()
        await chat.press("Allow for this chat")
        await chat.ended()
        await chat.command("settings")
        assert await chat.press("✗ pay to Ada") == "I will ask again."
        await chat.begin("again")
        await chat.asked(2)
    assert await chat.bench.all("SELECT state FROM approvals ORDER BY id") == [
        ("granted",),
        ("open",),
    ]


async def test_answers_from_elsewhere_edit_the_message_too(database: Database) -> None:
    """The command, the console and /stop: the buttons go, and say so if they are pressed."""
    chat = await chat_with(database, *[Answer("", (PAY,))] * 3)
    console = Console(database, chat.bench.lanes.put)
    async with chat.bench.running():
        for number, way in enumerate(("deny", "console", "stop"), 1):
            chat.bench.model.answers[1:1] = [Answer("So be it.")]
            await chat.begin()
            await chat.asked(number)
            if way == "console":
                ((ref,),) = await chat.bench.all("SELECT ref FROM approvals WHERE state = 'open'")
                await console.answer({"ref": ref, "granted": False})
            else:
                await chat.command(way)
            assert await chat.press("Allow once") == "That question is over."
            await chat.ended(number)
    said = [row["text"].partition(":\n")[0] for row in await chat.rows("editMessageText")]
    assert said == ["Denied by Ada", "Denied at the console", "Not run: what I was doing has ended"]
    assert chat.paid == []


async def test_a_question_that_lapses_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "WAIT_SECONDS", 0.0)
    chat = await chat_with(database, Answer("", (PAY,)), Answer("A pity."))
    await chat.begin()
    async with chat.bench.running():
        await chat.ended()
    texts = [row["text"] for row in await chat.rows("sendMessage")]
    assert texts[0].startswith("Nobody answered within a day, so this was not run:"), "never seen"
    assert "reply_markup" not in (await chat.rows("sendMessage"))[0]


async def test_what_has_no_room_is_sent_as_a_file_before_the_question(database: Database) -> None:
    """The whole of it, to the last letter."""
    large = CallRequest("", "pay", json.dumps({"to": "Ada", "sum": "5" * 9000}))
    chat = await chat_with(database, Answer("", (large,)), Answer("Done."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        (file,) = await chat.bench.all("SELECT file, file_name FROM outbox WHERE file IS NOT NULL")
        assert file[1] == FILE_NAME
        kept = (database.path.parent / "spool" / file[0]).read_text()
        assert kept == f"pay\nto: Ada\nsum: {'5' * 9000}"
        assert await chat.press("Allow once") == "Allowed."
        await chat.ended()
    (question,) = [r for r in await chat.rows("sendMessage") if "reply_markup" in r]
    assert "all of it is in the file above" in question["text"]


async def test_a_file_is_not_kept_for_what_was_allowed_before(database: Database) -> None:
    large = CallRequest("", "pay", json.dumps({"to": "Ada", "sum": "5" * 9000}))
    chat = await chat_with(
        database, Answer("", (PAY,)), Answer("One."), Answer("", (large,)), Answer("Two.")
    )
    async with chat.bench.running():
        await chat.begin()
        await chat.asked()
        await chat.press("Allow for this chat")
        await chat.ended()
        await chat.begin("again")
        await chat.ended(2)
    assert len(chat.paid) == 2
    assert list((database.path.parent / "spool").iterdir()) == []


# --- Questions of the agent's ---


async def test_a_choice_is_the_result_of_the_question(database: Database) -> None:
    """The model reads it and goes on; the message shows the answer."""
    chat = await chat_with(database, Answer("", (WHICH,)), Answer("Blue it is."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        assert await chat.bench.all("SELECT state, waiting_for FROM turns") == [
            ("waiting", "question")
        ]
        assert list(await chat.labels()) == ["blue", "red", "neither"]
        assert await chat.press("blue") == "You chose: blue"
        await chat.ended()
    assert await chat.bench.all("SELECT content FROM messages WHERE role = 'tool'") == [("blue",)]
    (edit,) = await chat.rows("editMessageText")
    assert edit["text"] == "Which colour?\n\nAda: blue"


async def test_what_the_person_says_next_is_the_answer(database: Database) -> None:
    """It is no turn of its own; what they say after it is."""
    chat = await chat_with(
        database, Answer("", (PLAIN,)), Answer("Hello Ada."), Answer("You are welcome.")
    )
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.say("Ada, of course")
        await chat.ended()
        await chat.say("thanks")
        await chat.ended(2)
    results = await chat.bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert results == [("Ada, of course",)]
    assert await chat.bench.all("SELECT count(*) FROM turns") == [(2,)]


async def test_others_do_not_answer_for_the_person_who_is_asked(database: Database) -> None:
    """What they say waits, and they are told so; their presses do nothing."""
    chat = await chat_with(database, Answer("", (WHICH,)), Answer("Red it is."), Answer("Hi Bob."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.say("blue!", BOB)
        assert (await chat.rows("sendMessage"))[-1]["text"] == hearing.ASKED
        assert await chat.press("blue", BOB) == "This question is for somebody else."
        assert await chat.press("red") == "You chose: red"
        await chat.ended(2)
    results = await chat.bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert results == [("red",)]


@pytest.mark.parametrize("call", [PAY, WHICH, PLAIN])
async def test_in_a_group_a_question_shows_whom_it_is_for(
    database: Database, call: CallRequest
) -> None:
    """By the message that it replies to; and an answer in words must reach the bot."""
    chat = await chat_with(database, Answer("", (call,)))
    await chat.begin(place=attrs.evolve(HERE, chat="-100"), reply_to="7")
    async with chat.bench.running():
        await chat.asked()
    (question,) = await chat.rows("sendMessage")
    assert question["reply_parameters"]["message_id"] == 7
    assert call is PAY or question["text"].endswith("in reply to this. I wait for a day.")


async def test_a_question_survives_a_restart(database: Database) -> None:
    """It is answered in the next boot, by the button that the last one sent."""
    chat = await chat_with(database, Answer("", (WHICH,)))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
    again = await chat_with(database, Answer("Neither, then."))
    async with again.bench.running():
        assert await again.press("neither") == "You chose: neither"
        await again.ended()
    assert await again.bench.all("SELECT count(*) FROM messages WHERE role = 'tool'") == [(1,)]


async def test_a_question_that_nobody_answers_is_over_after_a_day(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is told, and the late press, too."""
    monkeypatch.setattr(questions, "WAIT_SECONDS", 0.0)
    chat = await chat_with(database, Answer("", (WHICH,)), Answer("Then I choose."))
    await chat.begin()
    async with chat.bench.running():
        await chat.ended()
    results = await chat.bench.all(
        "SELECT content, failed FROM messages AS m JOIN tool_calls AS c ON c.id = m.tool_call_id"
    )
    assert results == [(questions.UNANSWERED, 1)]
    assert "Nobody answered within a day." in (await chat.rows("sendMessage"))[0]["text"]


async def test_stop_gives_a_question_up(database: Database) -> None:
    """It says what it was waiting for; what is said then is a new message."""
    chat = await chat_with(database, Answer("", (WHICH,)), Answer("Hello."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.command("stop")
        assert await chat.press("blue") == "That question is over."
        await chat.say("hello")
        await chat.ended(2)
    texts = [row["text"] for row in await chat.rows("sendMessage")]
    assert "Stopped: waiting for your answer." in texts
    results = await chat.bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert results == [(questions.GIVEN_UP,)]


async def test_a_new_conversation_does_not_answer_what_was_asked_in_the_old_one(
    database: Database,
) -> None:
    """The question is over, and what is said next begins the new conversation."""
    chat = await chat_with(database, Answer("", (WHICH,)), Answer("Hello."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.command("new")
        assert await chat.press("blue") == "That question is over."
        await chat.say("hello")
        await chat.ended(2)
    told = [row["text"] for row in await chat.rows("sendMessage")]
    assert told[1:] == [f"{commands.NEW} {commands.NEW_GIVEN_UP}", "Hello."]
    (edit,) = await chat.rows("editMessageText")
    assert edit["text"].endswith("Not answered: what I was doing has ended.")
    assert await chat.bench.all("SELECT outcome FROM turns ORDER BY id") == [
        ("stopped",),
        ("answered",),
    ]


async def test_a_new_conversation_gives_up_what_needs_permission(database: Database) -> None:
    """It is not run, and nobody is left waiting behind it."""
    chat = await chat_with(database, Answer("", (PAY,)), Answer("Hello."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked()
        await chat.command("new")
        await chat.say("hello")
        await chat.ended(2)
    assert chat.paid == []
    assert (await chat.rows("editMessageText"))[0]["text"].startswith("Not run:")


async def test_a_new_conversation_lets_what_is_at_work_come_to_its_end(
    database: Database,
) -> None:
    """And says so."""
    held = trio.Event()
    chat = await chat_with(database, held, Answer("Done."))
    await chat.begin()
    async with chat.bench.running():
        await chat.bench.model.waiting.wait()
        await chat.command("new")
        held.set()
        await chat.ended()
    told = [row["text"] for row in await chat.rows("sendMessage")]
    assert told == [f"{commands.NEW} {commands.NEW_BUSY}", "Done."]


@pytest.mark.parametrize("order", [("blue", "Allow once"), ("Allow once", "blue")])
async def test_permission_and_a_question_are_waited_for_side_by_side(
    database: Database, order: tuple[str, str]
) -> None:
    """In either order, and the model goes on when it has both."""
    chat = await chat_with(database, Answer("", (PAY, WHICH)), Answer("Done."))
    await chat.begin()
    async with chat.bench.running():
        await chat.asked(2)
        for label in order:
            await chat.press(label)
        await chat.ended()
    assert chat.paid == ["Ada 5"]
    results = await chat.bench.all("SELECT content FROM messages WHERE role = 'tool' ORDER BY 1")
    assert results == [("blue",), ("paid Ada",)]
