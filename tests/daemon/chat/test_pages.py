"""What a chat can see and change of itself, by words and by buttons."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from agent.ports import Subtask
from agent.transcript import Answer, CallRequest
from daemon.chat import buttons, choosing, commands, hearing, roles, settling, tasks
from daemon.chat.commands import COMMANDS, HELP, MENUS, help_for
from daemon.chat.forgetting import Forgetter
from daemon.chat.intake import Command, Pressed, Said, Speaker
from daemon.chat.situation import Effects, Situation
from daemon.store import (
    boots,
    children,
    forgetting,
    grants,
    journal,
    memory,
    notes,
    people,
    settings,
    turnrow,
    turns,
)
from daemon.store.db import open_database
from daemon.store.memory import Found, Kept, Period
from daemon.store.values import Address, Claim, Place
from executor.errors import ExecutorUnavailable, FileRefused
from tests.daemon.chat.test_buttons import connect

ADA, BOB = Speaker("1", "Ada"), Speaker("2", "Bob")
OLGA = Speaker("9", "Olga", roles.OWNER)
HERE = Place("telegram", "42", "1")
MODELS = ("large", "small")


@define
class Chat:
    """A chat over a database, whose people command, press and say things."""

    db: sqlite3.Connection
    now: float = 1000.0
    message_id: str = "5"
    effects: Effects = field(factory=Effects)

    def _do(self, what: Callable[[Situation], object]) -> None:
        self.effects = Effects()
        situation = Situation(self.db, self.now, list, self.effects, models=MODELS)
        what(situation)
        settling.settle(self.db, self.now)

    def command(self, text: str, speaker: Speaker = ADA) -> str:
        """What is replied."""
        name, _, rest = text.partition(" ")
        self._do(lambda to: commands.run(to, Command(HERE, speaker, name, rest, self.now)))
        return str(self.sent()[-1]["text"])

    def say(self, text: str, speaker: Speaker = ADA, message_id: int = 7) -> None:
        said = Said(
            HERE, speaker, text, self.now, f"text {speaker.external_id}", message_id=message_id
        )
        self._do(lambda to: hearing.hear(to, said, "queue"))

    def press(self, label: str, speaker: Speaker = ADA) -> str:
        """Press the newest button with that label; what the person is told."""
        pressed = Pressed(HERE, speaker, "q", self.labels()[label], self.message_id)
        self._do(lambda to: buttons.press(to, pressed, "42"))
        return str(self.rows("answerCallbackQuery")[-1]["text"])

    def rows(self, method: str) -> list[dict[str, Any]]:
        found = self.db.execute("SELECT params FROM outbox WHERE method = ? ORDER BY id", (method,))
        return [json.loads(row[0]) for row in found.fetchall()]

    def sent(self) -> list[dict[str, Any]]:
        return self.rows("sendMessage")

    def edited(self) -> str:
        """What the page says now; the edit is of the message that the button stands in."""
        edit = self.rows("editMessageText")[-1]
        assert edit["message_id"] == 5
        return str(edit["text"])

    def labels(self) -> dict[str, str]:
        found = self.db.execute(
            "SELECT params FROM outbox WHERE method IN ('sendMessage', 'editMessageText')"
            " ORDER BY id"
        )
        pages = [json.loads(row[0]).get("reply_markup") for row in found.fetchall()]
        rows = [row for page in pages if page for row in page["inline_keyboard"]]
        return {key["text"]: key["callback_data"] for row in rows for key in row}

    @property
    def session(self) -> str:
        return people.ensure_session(self.db, HERE, self.now)

    def running(self) -> int:
        """A turn of Ada's that is at work."""
        user = people.ensure_user(self.db, "telegram", "1", "Ada", self.now)
        turn = turns.create(
            self.db, self.session, text="work", asked_at=1.0, now=self.now, payer_id=user
        )
        boot = boots.begin(self.db, "test", 0.0)
        seen = journal.read_pages(self.db, turn.id).last_message
        journal.hold(self.db, Claim(turn.id, boot, first=True, seen=seen), self.now)
        return turn.id


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    return Chat(connect(tmp_path / "famulus.db"))


# --- What is offered ---


def test_every_command_of_the_menus_is_there_and_explained() -> None:
    """And no menu has what nobody can say."""
    named = {name for menu in MENUS.values() for name in menu}
    assert named <= COMMANDS.keys()
    assert named | {"start"} | roles.OWNER_COMMANDS == COMMANDS.keys()
    assert all(f"/{name}" in HELP for name in named)
    assert all(f"/{name}" in help_for("owner") for name in roles.OWNER_COMMANDS)


def test_a_guests_help_names_what_a_guest_may_do() -> None:
    """And nothing else."""
    told = help_for("guest")
    named = set(re.findall(r"/([a-z]+)", told))
    assert named == roles.GUEST_COMMANDS - {"start"}
    assert "sandbox" not in told
    assert all(len(menu) <= 100 for menu in MENUS.values())


# --- What happens while a turn runs ---


@pytest.mark.parametrize("way", ["words", "button"])
def test_a_chat_chooses_what_happens_to_what_is_said_meanwhile(chat: Chat, way: str) -> None:
    """It holds from then on, in place of what is configured."""
    if way == "words":
        assert "told to me at once" in chat.command("busy steer")
    else:
        assert "waits until I am done" in chat.command("busy")
        assert "told to me at once" in chat.press("steer")
        assert "told to me at once" in chat.edited()
        assert "✓ steer" in chat.labels()
    turn = chat.running()
    chat.say("use metres")
    assert [each[1] for each in turns.unread(chat.db, turn, 1)] == ["use metres"]


def test_steer_tells_what_runs_whatever_the_chat_has_chosen(chat: Chat) -> None:
    turn = chat.running()
    assert chat.command("steer use metres") == "Told."
    assert [each[1] for each in turns.unread(chat.db, turn, 1)] == ["use metres"]


def test_steer_begins_a_turn_where_nothing_runs(chat: Chat) -> None:
    """What a person wants to say is never lost."""
    assert "after the command" in chat.command("steer")
    chat.command("steer use metres")
    assert len(chat.effects.begun) == 1
    assert chat.db.execute("SELECT content FROM messages").fetchall()[0][0] == "use metres"


def test_stop_names_what_it_has_stopped(chat: Chat) -> None:
    turn = chat.running()
    requests = (CallRequest("", "python_execute", "{}"), CallRequest("", "bash", "{}"))
    code, _ = journal.add_answer(chat.db, turn, Answer("", requests), chat.now)
    chat.db.execute("UPDATE tool_calls SET state = 'running' WHERE id = ?", (code.id,))
    assert chat.command("stop") == "Stopped: running Python."
    chat.now += 1
    assert chat.command("stop") == "There is nothing to stop."


# --- Settings ---


def test_a_person_chooses_a_zone(chat: Chat) -> None:
    """Times beside messages, and the date in the prompt, are of that zone from then on."""
    assert "Asia/Tokyo, from the next" in chat.command("settings zone Asia/Tokyo")
    assert journal.read_pages(chat.db, chat.running()).zone == "Asia/Tokyo"
    assert "no time zone that I know" in chat.command("settings zone Atlantis/Middle")
    assert "Your time zone: Asia/Tokyo" in chat.command("settings")
    assert "configured zone" in chat.command("settings zone default")
    assert "as configured" in chat.command("settings")


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "\0", "a" * 5000, "Europe", "/"])
def test_no_file_but_a_zones_is_opened_for_a_zone(name: str) -> None:
    assert choosing.known_zone(name) is None


def test_a_chat_chooses_whether_answers_are_shown_while_they_are_written(chat: Chat) -> None:
    """Or it is as configured."""
    assert choosing.SHOWN in chat.command("settings")
    assert chat.press("Only when done") == choosing.UNSHOWN
    assert choosing.UNSHOWN in chat.edited()
    turn = chat.running()
    assert journal.read_pages(chat.db, turn).quiet
    assert chat.press("As I write") == choosing.SHOWN
    assert not journal.read_pages(chat.db, turn).quiet


def test_a_lasting_permission_is_shown_to_whose_it_is_alone(chat: Chat) -> None:
    user = people.ensure_user(chat.db, "telegram", "1", "Ada", 1.0)
    home = people.home(chat.db, HERE)
    assert chat.session
    grants.grant(chat.db, home, grants.Kind(user, "pay", "to Ada"), user, 1.0)
    assert "- pay to Ada" in chat.command("settings")
    assert "pay to Ada" not in chat.command("settings", BOB)
    assert chat.press("✗ pay to Ada", BOB) == "This button is for somebody else."
    assert chat.press("✗ pay to Ada") == "I will ask again."
    assert "pay to Ada" not in chat.edited()


def test_the_owner_sees_the_lasting_permissions_of_others_too(chat: Chat) -> None:
    """Who may give them on behalf of others may take them back; it says whose they are."""
    user = people.ensure_user(chat.db, "telegram", "1", "Ada", 1.0)
    assert chat.session
    grants.grant(chat.db, people.home(chat.db, HERE), grants.Kind(user, "pay", ""), user, 1.0)
    assert "- pay (for Ada)" in chat.command("settings", OLGA)
    assert chat.press("✗ pay", OLGA) == "I will ask again."
    assert "pay" not in chat.command("settings")


def test_a_model_is_chosen_in_words(chat: Chat) -> None:
    """By its name; any other word shows which there are."""
    assert chat.command("model small") == "From the next message on: small"
    assert "This chat's model: small" in chat.command("model huge")


def test_a_chat_chooses_among_the_models_that_are_configured(chat: Chat) -> None:
    """And is as configured again when it chooses the first."""
    assert "This chat's model: large" in chat.command("model")
    assert chat.press("small") == "From the next message on: small"
    assert "This chat's model: small" in chat.edited()
    assert journal.read_pages(chat.db, chat.running()).model == "small"
    assert "this chat's model: small" in chat.command("status")
    chat.press("large")
    assert settings.get(chat.db, HERE, choosing.MODEL) is None


def test_a_model_that_is_configured_no_more_is_not_the_chats(chat: Chat) -> None:
    settings.put(chat.db, HERE, choosing.MODEL, "gone")
    assert "This chat's model: large" in chat.command("model")


def test_choices_come_along_to_a_supergroup(chat: Chat) -> None:
    settings.put(chat.db, HERE, choosing.BUSY, "steer")
    people.move_chat(chat.db, HERE, "-1007")
    assert settings.get(chat.db, Place("telegram", "42", "-1007"), choosing.BUSY) == "steer"


def test_a_page_that_has_no_room_says_so(chat: Chat) -> None:
    """Nothing is left out in silence."""
    home = people.home(chat.db, HERE)
    for number in range(12):
        title = f"{number} {'x' * 700}"
        notes.save(chat.db, home, notes.Note(title, "words", float(number), None))
    text = chat.command("memory")
    assert len(text) <= 4096
    assert text.endswith("[there is more, which has no room here]")


def test_a_page_is_sent_anew_where_its_message_is_not_named(chat: Chat) -> None:
    """As the network does for very old ones."""
    chat.command("busy")
    chat.message_id = ""
    before = len(chat.sent())
    chat.press("steer")
    assert len(chat.sent()) == before + 1


# --- Tasks ---


def test_a_task_in_the_background_is_stopped_by_its_button(chat: Chat) -> None:
    """The others go on, and the conversation is told."""
    assert chat.command("tasks") == tasks.NOTHING
    turn = chat.running()
    requests = (CallRequest("", "spawn", "{}"),) * 2
    calls = journal.add_answer(chat.db, turn, Answer("", requests), chat.now)
    brew, bake = (
        children.begin(chat.db, turn, call.id, Subtask(f"do {name}", name), chat.now)
        for name, call in zip(("brew", "bake"), calls, strict=True)
    )
    assert "- brew: about to go on\n- bake: about to go on" in chat.command("tasks")
    assert chat.press("Stop: brew") == "Stopped."
    assert chat.effects.dropped == [brew.id]
    assert "brew" not in chat.edited()
    assert turnrow.get(chat.db, bake.id).state == "ready"
    told = chat.db.execute("SELECT content FROM messages WHERE content LIKE '[brew]%'").fetchall()
    assert len(told) == 1


def test_a_task_that_has_ended_by_itself_is_not_stopped(chat: Chat) -> None:
    turn = chat.running()
    (call,) = journal.add_answer(chat.db, turn, Answer("", (CallRequest("", "spawn", "{}"),)), 1.0)
    task = children.begin(chat.db, turn, call.id, Subtask("do it", "brew"), chat.now)
    chat.command("tasks")
    turns.end(chat.db, task.id, "answered", chat.now)
    assert chat.press("Stop: brew") == "It has ended by itself."


# --- Memory ---


def remember(db: sqlite3.Connection, session: str) -> None:
    """Two notes and a memory file, which the session's prompt shows."""
    address = Address(HERE, people.HOUSE_AGENT, None, "", "", 0.0)
    files = {"memory/MEMORY.md": Kept("Ada likes tea.", 1.0)}
    memory.keep(db, address, Found(1, files, ()), 1.0)
    memory.keep_snapshot(db, Period(session, "c", "2026-01-01"), "Ada likes tea.", 1.0)
    for title in ("plants", "birds"):
        notes.save(db, people.home(db, HERE), notes.Note(title, "words", 1.0, None))


def test_memory_shows_what_is_kept_and_how_much(chat: Chat) -> None:
    assert chat.command("memory").startswith("I keep nothing of this chat")
    remember(chat.db, chat.session)
    text = chat.command("memory")
    assert "- memory/MEMORY.md, 14 B" in text
    assert "Notes (2):" in text
    assert "- plants, 5 B" in text


def test_a_note_is_forgotten_when_that_is_confirmed(chat: Chat) -> None:
    """By the second press, not by the first."""
    remember(chat.db, chat.session)
    chat.command("memory")
    chat.press("Forget plants")
    assert "Shall I forget the note 'plants'?" in chat.edited()
    assert chat.press("Keep it") == "It is kept."
    chat.press("Forget plants")
    assert chat.press("Forget it") == "Forgotten."
    assert "plants" not in chat.edited()
    assert "birds" in chat.edited()


class Files:
    """The files of a workspace, as far as they can be removed; `raises` come first."""

    def __init__(self, *raises: Exception) -> None:
        self.raises = list(raises)
        self.removed: list[str] = []

    async def remove(self, path: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.raises:
            raise self.raises.pop(0)
        self.removed.append(path)


@pytest.mark.parametrize(
    ("raises", "says", "known"),
    [
        ([], "Forgotten: memory/MEMORY.md.", 0),
        ([FileRefused("memory/MEMORY.md does not exist")], "Forgotten: memory/MEMORY.md.", 0),
        ([FileRefused("it is a link")], "could not be removed: it is a link", 1),
        ([ExecutorUnavailable("it is away")], "Forgotten: memory/MEMORY.md.", 0),
    ],
)
async def test_a_memory_file_is_forgotten_by_the_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: list[Exception], says: str, known: int
) -> None:
    """Where it is away, that is tried again; then neither search nor a prompt knows the file."""
    monkeypatch.setattr("daemon.chat.forgetting.AGAIN_SECONDS", 0.0)
    files, woken = Files(*raises), trio.Event()
    async with open_database(tmp_path / "famulus.db") as database, trio.open_nursery() as nursery:

        def ask(db: sqlite3.Connection) -> Effects:
            chat = Chat(db)
            remember(db, chat.session)
            chat.command("memory")
            chat.press("Forget memory/MEMORY.md")
            assert chat.press("Forget it") == "I am forgetting it."
            return chat.effects

        assert (await database.write(ask)).forgetting
        forgetter = Forgetter(database, lambda _key: files, lambda _place: woken.set())
        nursery.start_soon(forgetter.run)
        with trio.fail_after(20):
            await woken.wait()
        nursery.cancel_scope.cancel()
    db = connect(tmp_path / "famulus.db")
    assert says in Chat(db).sent()[-1]["text"]
    assert forgetting.wanted(db) == []
    assert db.execute("SELECT count(*) FROM memory_files").fetchone()[0] == known
    assert db.execute("SELECT count(*) FROM prompt_snapshots").fetchone()[0] == known
