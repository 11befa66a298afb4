"""What becomes of what is said in a group: by whom, to whom, and what it may lead to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from daemon.chat import commands, doors
from daemon.chat.access import ADMINS, ALL, Access, Group
from daemon.chat.hearing import BEFORE
from daemon.chat.intake import CHANNEL
from daemon.store import admission, closed, journal, notes, overheard, search
from daemon.store.db import Database, open_database
from daemon.store.notes import Note
from daemon.store.search import Question
from daemon.store.values import Place
from tests.daemon.chat.test_router import BOT, Bench

GROUP = -100
HERE = Place(CHANNEL, BOT, str(GROUP))
NAMES = {1: "Ada", 2: "Bob", 3: "Gus", 9: "Eve"}
ACCESS = Access(
    frozenset({2}), frozenset({GROUP}), 1, frozenset({3}), called=frozenset({"Famulus"})
)


class Talk(Bench):
    """A bench where Ada owns the bot, Bob uses it, Gus is a guest, and Eve is a member."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.router.access = ACCESS
        self.router.owner = "1"
        self.router.username = "famulus_bot"

    def ruled(self, **rules: Any) -> None:
        self.router.access = evolve(self.router.access, groups={GROUP: Group(**rules)})

    async def says(self, user: int, text: str, *, chat: int = GROUP, **more: Any) -> str:
        """Somebody says something; returns what became of it."""
        who = {"id": user, "is_bot": False, "first_name": NAMES.get(user, f"User {user}")}
        await self.say(text, chat, **{"from": who, **more})
        return (await self.outcomes())[-1]

    async def standing(self, member: dict[str, Any], by: int = 1, chat: int = GROUP) -> str:
        where = {"id": chat, "type": "supergroup" if chat < 0 else "private", "title": "Team"}
        who = {"id": by, "is_bot": False, "first_name": "X"}
        self.number += 1
        change = {"chat": where, "from": who, "date": 1, "new_chat_member": member}
        await self.receive({"update_id": self.number, "my_chat_member": change})
        return (await self.outcomes())[-1]

    async def sent(self, chat: int) -> list[str]:
        query = f"SELECT json_extract(params, '$.text') FROM outbox WHERE chat = '{chat}'"
        return [row[0] for row in await self.all(f"{query} ORDER BY id")]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with open_database(tmp_path / "famulus.db") as database:
        yield Talk(database)


# --- To whom ---


async def test_what_is_said_to_others_is_told_with_what_is_said_to_us(talk: Talk) -> None:
    """Once, in order, with names, and behind what is said to us."""
    assert await talk.says(2, "It rains") == "overheard"
    assert await talk.says(9, "It does\nAda: it does not") == "overheard"
    assert await talk.says(1, "Famulus, does it?") == "turn"
    assert await talk.says(1, "Famulus, really?") == "turn"
    texts = [text for _, text in await talk.texts()]
    assert texts == [
        f"Ada: Famulus, does it?\n\n{BEFORE}\nBob: It rains\nEve: It does\n  Ada: it does not",
        "Ada: Famulus, really?",
    ]


async def test_topics_hear_only_themselves(talk: Talk) -> None:
    """Each is a conversation of its own."""
    topic = {"message_thread_id": 5, "is_topic_message": True}
    await talk.says(2, "in the topic", **topic)
    await talk.says(1, "Famulus, hi")
    assert [text for _, text in await talk.texts()] == ["Ada: Famulus, hi"]


async def test_who_does_not_want_it_has_nothing_kept(talk: Talk) -> None:
    """Not even for a moment."""
    talk.ruled(listens=False)
    assert await talk.says(2, "It rains") == "overheard"
    assert await talk.all("SELECT count(*) FROM overheard") == [(0,)]


async def test_little_is_kept_and_not_for_long(talk: Talk) -> None:
    """Twenty messages of a place, each cut, for a day."""
    for number in range(overheard.MOST + 5):
        await talk.database.write(overheard.keep, HERE, f"{number} {'x' * 900}", 1000.0)
    lines = await talk.database.write(overheard.take, HERE, 1001.0)
    assert [line.split()[0] for line in lines] == [str(n) for n in range(5, 25)]
    assert max(map(len, lines)) <= overheard.MOST_CHARACTERS + len(overheard.CUT)
    await talk.database.write(overheard.keep, HERE, "old", 1000.0)
    assert await talk.database.write(overheard.take, HERE, 1000.0 + overheard.HOLDS) == []


async def test_an_album_whose_caption_mentions_us_is_ours(talk: Talk) -> None:
    """The other pictures have no words, and belong to it all the same."""
    for caption in ("Famulus, look", None, None):
        album = {"caption": caption, "photo": [{"file_id": "x"}], "media_group_id": "9"}
        await talk.says(2, None, **album)  # type: ignore[arg-type]  # it has no text
    assert await talk.all("SELECT count(*) FROM turns") == [(1,)]
    assert await talk.outcomes() == ["turn"] * 3


async def test_an_album_of_files_is_ours_though_only_its_last_one_mentions_us(talk: Talk) -> None:
    """Where clients put the caption of files; what others sent in between is told as ever."""
    for number in (1, 2):
        file = {"file_id": f"f{number}", "file_name": f"{number}.pdf"}
        await talk.says(2, None, document=file, media_group_id="9")  # type: ignore[arg-type]
        await talk.says(9, f"chatter {number}")
    last = {"document": {"file_id": "f3", "file_name": "3.pdf"}, "media_group_id": "9"}
    await talk.says(2, None, caption="Famulus, look", **last)  # type: ignore[arg-type]
    assert await talk.all("SELECT turn_id, name FROM attachments ORDER BY id") == [
        (1, "3.pdf"),
        (1, "1.pdf"),
        (1, "2.pdf"),
    ]
    assert [text for _, text in await talk.texts()] == [
        f"Bob: Famulus, look\n\n{BEFORE}\nEve: chatter 1\nEve: chatter 2",
        "Bob: ",
        "Bob: ",
    ]


async def test_a_long_text_takes_no_talk_with_it(talk: Talk) -> None:
    """Its key is its speaker's, who may have said much before."""
    await talk.says(2, "x" * 4096)
    await talk.says(2, f"Famulus, {'y' * 4096}")
    assert len(await talk.texts()) == 1


async def test_an_album_that_nobody_calls_us_for_is_talk(talk: Talk) -> None:
    """Its files are named with what was said in the group, and not fetched."""
    album = {"document": {"file_id": "f", "file_name": "1.pdf"}, "media_group_id": "9"}
    assert await talk.says(2, None, **album) == "overheard"  # type: ignore[arg-type]
    await talk.says(1, "Famulus, what was that?")
    ((_, text),) = await talk.texts()
    assert text.endswith(f"{BEFORE}\nBob: \n[the file 1.pdf]")
    assert await talk.all("SELECT 1 FROM attachments") == []


async def test_an_answer_shows_what_it_answers(talk: Talk) -> None:
    """In a group; alone with somebody it is plain."""
    await talk.says(2, "Famulus, hi", message_id=77)
    await talk.says(2, "hi", chat=2, message_id=78)
    assert await talk.all("SELECT reply_to FROM turns ORDER BY id") == [("77",), (None,)]


async def test_all_is_everything(talk: Talk) -> None:
    """Where the owner wants it."""
    talk.ruled(answer=ALL)
    assert await talk.says(9, "hello") == "turn"


# --- Administrators ---


async def test_administrators_alone_are_answered_where_the_owner_wants_that(talk: Talk) -> None:
    """And the owner; nobody is an administrator before that is known, or when it is long ago."""
    talk.ruled(answer=ADMINS)
    assert await talk.says(2, "Famulus, hi") == "not an administrator"
    await talk.database.write(admission.keep_admins, HERE, {2}, time.time())
    assert await talk.says(2, "Famulus, hi") == "turn"
    assert await talk.says(2, "hi") == "overheard"
    assert await talk.says(9, "Famulus, hi") == "not an administrator"
    assert await talk.says(9, "/status") == "not an administrator"
    assert await talk.says(1, "Famulus, hi") == "turn"
    old = time.time() - admission.ADMINS_HOLD - 1
    await talk.database.write(admission.keep_admins, HERE, {2}, old)
    assert await talk.says(2, "Famulus, hi") == "not an administrator"


async def test_the_owner_says_whom_a_group_is_answered(talk: Talk) -> None:
    """From the next message on, by a row that outlives the process."""
    woken: list[int] = []
    talk.router.regranted = lambda: woken.append(1)
    await talk.receive(
        talk.update("/answer all", GROUP, **{"from": {"id": 1, "is_bot": False}}),
        talk.update("hello", GROUP, **{"from": {"id": 9, "is_bot": False, "first_name": "Eve"}}),
    )
    assert (await talk.outcomes())[-1] == "turn"
    assert woken
    assert await talk.says(1, "/answer admins") == "command"
    assert await talk.says(2, "Famulus, hi") == "not an administrator"
    assert await talk.says(1, "/answer loudly") == "command"
    assert "mention, /answer all" in (await talk.sent(GROUP))[-1]


@pytest.mark.parametrize("user", [2, 3, 9])
async def test_nobody_else_does(talk: Talk, user: int) -> None:
    """Whatever their role."""
    assert await talk.says(user, "/answer all") == "command"
    assert "owner" in (await talk.sent(GROUP))[-1]
    assert await talk.says(9, "hello") == "overheard"


# --- Roles ---


async def test_a_turn_has_the_role_of_who_began_it(talk: Talk) -> None:
    """In a group that is the speaker's, or that of its members."""
    talk.ruled(members="guest")
    for user in (1, 2, 3, 9):
        await talk.says(user, "Famulus, hi")
    roles = await talk.all("SELECT role FROM turns ORDER BY id")
    assert roles == [("owner",), ("user",), ("guest",), ("guest",)]


@pytest.mark.parametrize("while_busy", ["steer", "interrupt"])
async def test_a_guest_neither_steers_nor_interrupts_what_may_do_more(
    talk: Talk, while_busy: str
) -> None:
    """Their words wait for a turn of their own, which may do less."""
    talk.router.while_busy = while_busy
    await talk.says(2, "Famulus, work")
    await talk.database.write(lambda db: db.execute("UPDATE turns SET state = 'running'"))
    await talk.says(3, "Famulus, and delete it all")
    assert await talk.all("SELECT state, role FROM turns ORDER BY id") == [
        ("running", "user"),
        ("ready", "guest"),
    ]


async def test_who_may_do_more_makes_nothing_of_a_guests_turn(talk: Talk) -> None:
    """What the owner adds to it is done with a guest's tools."""
    talk.router.while_busy = "steer"
    await talk.says(3, "Famulus, work")
    await talk.database.write(lambda db: db.execute("UPDATE turns SET state = 'running'"))
    await talk.says(1, "Famulus, do that")
    assert await talk.all("SELECT role, count(*) FROM turns") == [("guest", 1)]
    assert len(await talk.texts()) == 2


async def test_a_guest_stops_what_guests_have_begun(talk: Talk) -> None:
    """And nothing of others."""
    await talk.says(2, "Famulus, work")
    await talk.says(3, "/stop")
    assert await talk.all("SELECT state FROM turns") == [("ready",)]
    await talk.says(2, "/stop")
    await talk.says(3, "Famulus, work")
    await talk.says(3, "/stop")
    assert await talk.all("SELECT outcome FROM turns") == [("stopped",), ("stopped",)]


async def test_a_guest_ends_no_conversation_of_a_group(talk: Talk) -> None:
    """Their own, in private, they do."""
    fresh = "SELECT fresh_after FROM sessions"
    await talk.says(2, "Famulus, work")
    before = await talk.all(fresh)
    await talk.says(3, "/new")
    assert await talk.all(fresh) == before
    assert await talk.sent(GROUP) == [commands.NEW_NOT_YOURS]
    await talk.says(3, "/new", chat=3)
    assert await talk.sent(3) == [commands.NEW]


@pytest.mark.parametrize("name", ["status", "compact", "approve", "deny", "answer", "pair"])
async def test_commands_that_are_not_for_guests(talk: Talk, name: str) -> None:
    """Are refused, and do nothing."""
    assert await talk.says(3, f"/{name}", chat=3) == "command"
    (text,) = await talk.sent(3)
    assert text.startswith(f"/{name} is ")


async def test_a_guests_files_are_not_fetched(talk: Talk) -> None:
    """The model is told, so that the guest is."""
    document = {"document": {"file_id": "x", "file_unique_id": "y", "file_name": "a.py"}}
    await talk.says(3, None, chat=3, caption="run it", **document)  # type: ignore[arg-type]
    ((_, text),) = await talk.texts()
    assert text.startswith("run it\n")
    assert "not opened for guests" in text
    assert await talk.all("SELECT count(*) FROM attachments") == [(0,)]


async def test_an_unknown_command_in_a_group_may_be_another_bots(talk: Talk) -> None:
    """Unless it names us."""
    await talk.says(2, "/weather")
    assert await talk.sent(GROUP) == []
    await talk.says(2, "/weather@famulus_bot")
    assert "do not know" in (await talk.sent(GROUP))[0]


# --- Standing ---


async def test_a_stranger_who_blocks_us_is_no_news(talk: Talk) -> None:
    """Nobody is told, and nothing is said."""
    assert await talk.standing({"status": "kicked"}, by=666, chat=666) == "stranger"
    assert await talk.replies() == []
    assert await talk.all("SELECT count(*) FROM destinations") == [(0,)]


async def test_the_owner_is_told_how_to_allow_a_group(talk: Talk) -> None:
    """In private, and in the group nothing is said; nor to anybody else who adds us."""
    assert await talk.standing({"status": "member"}, by=9, chat=-555) == "stranger"
    assert await talk.replies() == []
    await talk.standing({"status": "member"}, by=1, chat=-555)
    (text,) = await talk.sent(1)
    assert "-555" in text
    assert "Team" in text
    assert await talk.sent(-555) == []
    await talk.standing({"status": "member"}, by=1)
    await talk.standing({"status": "administrator"}, by=1, chat=-555)
    assert len(await talk.replies()) == 1, "once, whatever becomes of us there"


@pytest.mark.parametrize(
    ("label", "role"), [("Allow this group", "user"), ("Allow it, for guests", "guest")]
)
async def test_the_owner_allows_a_group_by_a_button(talk: Talk, label: str, role: str) -> None:
    """It is told so, and answered from then on, as by the configuration; nothing before is read."""
    await talk.standing({"status": "member"}, by=1, chat=-555)
    assert await talk.says(9, "Famulus, hi", chat=-555) == "stranger"
    await press(talk, label)
    assert await talk.sent(-555) == [doors.ANSWERS["mention"]]
    assert await talk.says(9, "hi", chat=-555) == "overheard"
    assert await talk.says(9, "Famulus, hi", chat=-555) == "turn"
    assert await talk.all("SELECT role FROM turns") == [(role,)]
    edits = [text for text in await talk.sent(1) if "is answered now" in text]
    assert len(edits) == 1


async def test_nobody_else_allows_a_group(talk: Talk) -> None:
    await talk.standing({"status": "member"}, by=1, chat=-555)
    await press(talk, "Allow this group", user=2)
    assert await talk.says(9, "Famulus, hi", chat=-555) == "stranger"


async def test_a_group_that_was_allowed_by_a_button_moves_like_any_other(talk: Talk) -> None:
    await talk.standing({"status": "member"}, by=1, chat=-555)
    await press(talk, "Allow it, for guests")
    await talk.says(9, "", chat=-555, migrate_to_chat_id=-1007)
    assert await talk.says(9, "Famulus, hi", chat=-1007) == "turn"
    assert await talk.all("SELECT role FROM turns") == [("guest",)]


async def test_no_model_is_asked_where_nothing_can_be_said(talk: Talk) -> None:
    """Until the rights are back."""
    muted = {"status": "restricted", "is_member": True, "can_send_messages": False}
    await talk.standing(muted)
    assert await talk.says(2, "Famulus, hi") == "unreachable"
    assert await talk.says(2, "/help") == "unreachable"
    await talk.standing({**muted, "can_send_messages": True})
    assert await talk.says(2, "Famulus, hi") == "turn"


@pytest.mark.parametrize("member", [{"status": "kicked"}, {"status": "left"}])
async def test_a_group_that_threw_us_out_is_closed(talk: Talk, member: dict[str, Any]) -> None:
    """And open when it lets us in again."""
    await talk.standing(member)
    assert await talk.database.read(closed.why, HERE) == closed.KICKED
    await talk.standing({"status": "administrator"})
    assert await talk.database.read(closed.why, HERE) is None


async def test_a_person_who_blocks_us_and_comes_back_is_answered(talk: Talk) -> None:
    """Telegram tells both, and to write is to come back."""
    here = Place(CHANNEL, BOT, "2")
    await talk.standing({"status": "kicked"}, by=2, chat=2)
    assert await talk.database.read(closed.why, here) == closed.BLOCKED
    assert await talk.says(2, "hello", chat=2) == "turn"
    assert await talk.database.read(closed.why, here) is None


# --- Moves ---


@pytest.mark.parametrize("order", [("to", "from"), ("from", "to"), ("to",), ("from",)])
async def test_a_group_that_moves_keeps_its_rules_and_its_words(
    talk: Talk, order: tuple[str, ...]
) -> None:
    """Whichever of Telegram's two messages comes, and in whatever order."""
    await talk.says(1, "/answer all")
    await talk.says(2, "first", message_id=5)
    for each in order:
        if each == "to":
            await talk.says(1, "", migrate_to_chat_id=-1007)
        else:
            await talk.says(1, "", chat=-1007, migrate_from_chat_id=GROUP)
    assert await talk.says(9, "second", chat=-1007) == "turn"
    assert await talk.all("SELECT DISTINCT chat FROM sessions") == [("-1007",)]
    assert await talk.all("SELECT count(DISTINCT session_id) FROM turns") == [(1,)]
    assert (await talk.all("SELECT reply_to FROM turns ORDER BY id"))[0] == (None,)


async def test_a_group_that_has_moved_is_not_closed_by_its_end(talk: Talk) -> None:
    """What is unsent there still has to hear, from the refusal, where the group has gone."""
    await talk.says(1, "", migrate_to_chat_id=-1007)
    await talk.standing({"status": "left"})
    assert await talk.database.read(closed.why, HERE) is None
    await talk.standing({"status": "left"}, chat=-1007)
    assert await talk.database.read(closed.why, evolve(HERE, chat="-1007")) == closed.KICKED


async def test_a_group_that_is_not_allowed_does_not_move_into_the_list(talk: Talk) -> None:
    """Its messages say where they come from, and that is no group of ours."""
    assert await talk.says(9, "", chat=-555, migrate_from_chat_id=-554) == "stranger"
    assert await talk.says(9, "", chat=-554, migrate_to_chat_id=-555) == "stranger"
    assert await talk.says(9, "Famulus, hi", chat=-555) == "stranger"


# --- Chats that are answered no more ---


async def test_what_is_under_way_ends_where_nothing_is_allowed_any_more(talk: Talk) -> None:
    """At a start, when the configuration may be another; strangers who knock still get a code."""
    talk.router.access = evolve(ACCESS, pairing=True)
    await talk.says(2, "hi", chat=2)
    await talk.says(2, "Famulus, hi")
    await talk.says(2, "Famulus, are you there?")
    await talk.says(2, "/help")
    await talk.says(9, "/start", chat=9)
    narrower = evolve(ACCESS, chats=frozenset())
    await talk.router.carry_out(lambda each: doors.shut_out(each, BOT, narrower))
    states = await talk.all("SELECT state FROM turns ORDER BY id")
    assert states == [("ready",), ("ended",), ("ended",)]
    assert talk.lanes.board.waiting == 1
    states = await talk.all("SELECT chat, state FROM outbox ORDER BY id")
    assert states == [
        ("-100", "failed"),
        ("9", "queued"),
        ("1", "queued"),
    ]


# --- Pairing ---


async def press(talk: Talk, label: str, user: int = 1) -> None:
    """Press a button of the last message to the owner."""
    query = "SELECT params FROM outbox WHERE chat = '1' AND params LIKE '%callback_data%'"
    import json  # noqa: PLC0415

    params = json.loads((await talk.all(f"{query} ORDER BY id DESC"))[0][0])
    buttons = [b for row in params["reply_markup"]["inline_keyboard"] for b in row]
    data = next(each["callback_data"] for each in buttons if each["text"] == label)
    talk.number += 1
    shown = {"message_id": 9, "date": 1, "chat": {"id": 1, "type": "private"}}
    who = {"id": user, "is_bot": False, "first_name": "Ada"}
    body = {"id": f"q{talk.number}", "from": who, "data": data, "message": shown}
    await talk.receive({"update_id": talk.number, "callback_query": body})


async def test_a_strangers_start_is_silent_unless_pairing_is_on(talk: Talk) -> None:
    """The default."""
    assert await talk.says(9, "/start", chat=9) == "stranger"
    assert await talk.replies() == []


async def test_a_stranger_gets_one_code_and_else_silence(talk: Talk) -> None:
    """Only for /start, only in private, once an hour; the owner is asked."""
    talk.router.access = evolve(ACCESS, pairing=True)
    assert await talk.says(9, "let me in", chat=9) == "stranger"
    assert await talk.says(9, "/help", chat=9) == "stranger"
    assert await talk.says(9, "/start", chat=-555) == "stranger"
    assert await talk.says(9, "/start", chat=9) == "pairing"
    assert await talk.says(9, "/start", chat=9) == "stranger"
    assert len(await talk.sent(9)) == 1
    (asked,) = await talk.sent(1)
    assert "Eve (id 9)" in asked
    assert asked.partition("code is ")[2][:9] in (await talk.sent(9))[0]


async def test_a_stranger_who_had_blocked_us_gets_their_code(talk: Talk) -> None:
    """They have let us in again, or could not write; that a stranger did so is told by nothing."""
    talk.router.access = evolve(ACCESS, pairing=True)
    theirs = Place(CHANNEL, BOT, "9")
    await talk.database.write(closed.close, theirs, closed.BLOCKED, 1.0)
    assert await talk.says(9, "/start", chat=9) == "pairing"
    assert await talk.database.read(closed.why, theirs) is None


@pytest.mark.parametrize(
    ("label", "outcome", "role"),
    [
        ("Allow", "turn", "user"),
        ("Allow as guest", "turn", "guest"),
        ("Refuse", "stranger", None),
    ],
)
async def test_the_owner_decides_by_a_button(
    talk: Talk, label: str, outcome: str, role: str | None
) -> None:
    """Once: the buttons beside it are used up with it."""
    talk.router.access = evolve(ACCESS, pairing=True)
    await talk.says(9, "/start", chat=9)
    await press(talk, label)
    await press(talk, "Allow")
    assert await talk.says(9, "hello", chat=9) == outcome
    assert await talk.all("SELECT role FROM turns") == ([(role,)] if role else [])
    told = [text for text in await talk.sent(9) if "has let you in" in text]
    assert len(told) == (1 if role else 0)


async def test_nobody_else_can_press_it(talk: Talk) -> None:
    """It is bound to the owner's chat, and the role of who presses it is looked at, too."""
    talk.router.access = evolve(ACCESS, pairing=True)
    await talk.says(9, "/start", chat=9)
    await press(talk, "Allow", user=2)
    assert await talk.says(9, "hello", chat=9) == "stranger"


async def test_the_owner_decides_by_a_command(talk: Talk) -> None:
    """In private; three wrong codes make all void."""
    talk.router.access = evolve(ACCESS, pairing=True)
    await talk.says(9, "/start", chat=9)
    code = (await talk.sent(1))[0].partition("code is ")[2][:9]
    await talk.says(1, f"/pair {code}")  # in the group
    assert await talk.says(9, "hello", chat=9) == "stranger"
    await talk.says(2, f"/pair {code}", chat=2)
    assert await talk.says(9, "hello", chat=9) == "stranger"
    await talk.says(1, "/pair XXXX-XXXX", chat=1)
    assert "No open code" in (await talk.sent(1))[-1]
    await talk.says(1, f"/pair {code.lower()} guest", chat=1)
    assert await talk.says(9, "hello", chat=9) == "turn"
    assert await talk.all("SELECT role FROM users WHERE name = 'Eve'") == [("guest",)]


# --- Memory ---


async def homes(talk: Talk) -> dict[tuple[str, str], Any]:
    """The addresses of the turns, by chat and person."""

    def read(db: Any) -> dict[tuple[str, str], Any]:
        rows = db.execute("SELECT id FROM turns ORDER BY id").fetchall()
        found = [journal.read_address(db, row[0]) for row in rows]
        return {(each.place.chat, str(each.payer_id)): each for each in found}

    return await talk.database.read(read)


async def test_memory_is_a_chats_and_never_a_persons(talk: Talk) -> None:
    """Nobody's notes, files or words are found in another chat, their own in a group included."""
    for user in (1, 2):
        await talk.says(user, f"secret of {NAMES[user]}", chat=user)
        await talk.says(user, f"Famulus, known to all by {NAMES[user]}")
    found = await homes(talk)
    assert {each.workspace for each in found.values()} == {
        f"house-{BOT}-1",
        f"house-{BOT}-2",
        f"house-{BOT}-{GROUP}",
    }

    def remember(db: Any) -> dict[str, list[str]]:
        for (chat, _), address in found.items():
            notes.save(db, address.home, Note(f"n{chat}", f"secret of {chat}", 1.0, None))
        hits = {}
        for (chat, _), address in found.items():
            question = Question(address.home, "secret known", 0, time.time() + 9)
            hits[chat] = sorted(each.excerpt for each in search.search(db, question, 20).hits)
        return hits

    hits = await talk.database.write(remember)
    assert hits.keys() == {"1", "2", str(GROUP)}
    for chat, texts in hits.items():
        assert any(f"secret of {chat}" in text for text in texts)
        foreign = [other for other in hits if other != chat]
        assert not any(f"secret of {other}" in text for other in foreign for text in texts)
    assert not any("Bob" in text for text in hits["1"])
    assert not any("Ada" in text for text in hits["2"])
    assert not any("secret of Ada" in text or "secret of Bob" in text for text in hits[str(GROUP)])


async def test_what_a_group_is_told_is_shown_to_nobody_alone(talk: Talk) -> None:
    """The history of a turn is that of its chat and topic."""
    await talk.says(2, "my own secret", chat=2)
    await talk.says(2, "Famulus, hello all")
    await talk.says(2, "Famulus, hello topic", message_thread_id=5, is_topic_message=True)
    await talk.says(2, "and now?", chat=2)

    def pages(db: Any) -> list[str]:
        rows = db.execute("SELECT id FROM turns ORDER BY id").fetchall()
        found = [journal.read_pages(db, row[0]) for row in rows]
        return [" | ".join(each.text for each in (*p.history, *p.turn)) for p in found]

    assert await talk.database.read(pages) == [
        "my own secret",
        "Bob: Famulus, hello all",
        "Bob: Famulus, hello topic",
        "my own secret | and now?",
    ]


async def test_a_picture_that_was_sent_to_others_is_named(talk: Talk) -> None:
    """It is not fetched; a reply to it that is said to us is how it comes."""
    photo = {"photo": [{"file_id": "x", "width": 9, "height": 9}]}
    assert await talk.says(2, None, **photo) == "overheard"  # type: ignore[arg-type]  # no words
    assert await talk.says(1, "Famulus, well?") == "turn"
    ((_, text),) = await talk.texts()
    assert "[a photo]" in text.partition(BEFORE)[2]
    assert await talk.all("SELECT 1 FROM attachments") == []
