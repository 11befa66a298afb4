"""What becomes of a message that came with files, and of one that was corrected."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Inquiry
from agent.transcript import Answer, CallRequest
from daemon.chat import hearing
from daemon.chat.recovery import take_over
from daemon.store import attachments, boots, journal, questions, turnrow, turns
from daemon.store.attachments import Settled
from daemon.store.db import open_database
from daemon.store.values import Claim
from tests.daemon.chat.test_router import Bench

PHOTO = {"photo": [{"file_id": "x", "file_unique_id": "u", "width": 9, "height": 9}]}


class Hearing(Bench):
    """The router's bench, with words for what these tests are about."""

    def __init__(self, database: Any) -> None:
        super().__init__(database)
        self.fetches = 0
        self.router.fetch = self._fetch
        self.messages: list[dict[str, Any]] = []

    def _fetch(self) -> None:
        self.fetches += 1

    async def say(self, text: str | None, chat: int = 1, **more: Any) -> None:
        update = self.update(text, chat, **more)
        self.messages.append(update["message"])
        await self.receive(update)

    async def edit(self, number: int, text: str | None, **more: Any) -> str:
        """Edit the message that was said as this one (from 1); its outcome."""
        self.number += 1
        edited = {**self.messages[number - 1], "text": text, "edit_date": 2000, **more}
        await self.receive({"update_id": self.number, "edited_message": edited})
        return (await self.outcomes())[-1]

    async def settle(
        self, attachment: int, note: str = "[They sent a photo]", at: float | None = None
    ) -> None:
        settled, now = Settled("placed", note), time.time() if at is None else at
        await self.database.write(attachments.settle, attachment, settled, now)

    async def place(self, attachment: int, path: str) -> None:
        def put(db: Any) -> None:
            db.execute("UPDATE attachments SET path = ? WHERE id = ?", (path, attachment))

        await self.database.write(put)
        await self.settle(attachment)

    async def begin(self, turn: int) -> Claim:
        boot = await self.database.write(boots.begin, "test", 0.0)
        seen = (await self.database.read(journal.read_pages, turn)).last_message
        await self.database.write(journal.hold, Claim(turn, boot, first=True, seen=seen), 0.0)
        return Claim(turn, boot, first=False, seen=seen)

    async def end(self, turn: int) -> None:
        await self.database.write(journal.add_answer, turn, Answer("done"), 1.0)
        await self.database.write(turns.end, turn, "answered", 1.0)

    async def states(self) -> list[str]:
        rows = await self.all("SELECT coalesce(waiting_for, state) FROM turns ORDER BY id")
        return [row[0] for row in rows]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Hearing]:
    async with open_database(tmp_path / "famulus.db") as database:
        yield Hearing(database)


# --- Files ---


async def test_a_turn_waits_for_its_file(bench: Hearing) -> None:
    """And its caption is answered then, whatever became of the file."""
    await bench.say(None, caption="what is this?", **PHOTO)
    assert (await bench.states(), bench.fetches) == (["gathering"], 1)
    await bench.settle(1)
    assert await bench.states() == ["ready"]
    assert await bench.texts() == [(1, "what is this?\n[They sent a photo]")]


async def test_a_file_without_a_caption_has_its_line_alone(bench: Hearing) -> None:
    await bench.say(None, **PHOTO)
    await bench.settle(1)
    assert await bench.texts() == [(1, "[They sent a photo]")]


async def test_other_lanes_go_on_while_one_waits_for_a_file(bench: Hearing) -> None:
    await bench.say(None, **PHOTO)
    await bench.say("hello", chat=2)
    assert await bench.states() == ["gathering", "ready"]


async def test_an_album_closes_when_its_files_have_come_and_nothing_follows(
    bench: Hearing,
) -> None:
    """Not before a second has passed since its last item; more may be on its way."""
    await bench.say(None, caption="two", media_group_id="9", **PHOTO)
    await bench.settle(1)
    assert await bench.states() == ["gathering"], "more may come"
    await bench.say(None, media_group_id="9", **PHOTO)
    assert await bench.database.write(turns.ripen, time.time() + 2) != []
    assert await bench.states() == ["gathering"], "a file is still on its way"
    await bench.say(None, media_group_id="9", **PHOTO)
    for attachment in (2, 3):
        await bench.settle(attachment)
    ripe = await bench.database.write(turns.ripen, time.time() + 2)
    assert [turn.state for turn in ripe] == ["ready"]
    assert {turn for turn, _ in await bench.texts()} == {1}


async def test_no_turn_waits_for_a_file_for_ever(bench: Hearing) -> None:
    """The fetching may be dead; the text is answered all the same."""
    await bench.say("look", document={"file_id": "x", "file_name": "a.pdf"})
    later = time.time() + attachments.PATIENCE + 1
    assert [turn.state for turn in await bench.database.write(turns.ripen, later)] == ["ready"]
    ((_, text),) = await bench.texts()
    assert text == "look\n[They sent the file a.pdf. It could not be fetched: it took too long]"


async def test_a_file_that_comes_too_late_changes_nothing(bench: Hearing) -> None:
    await bench.say("look", **PHOTO)
    await bench.database.write(turns.ripen, time.time() + attachments.PATIENCE + 1)
    before = await bench.texts()
    await bench.settle(1)
    assert await bench.texts() == before


async def test_a_comment_waits_for_the_file_of_its_forward(bench: Hearing) -> None:
    """A run that read the comment alone has lost it."""
    await bench.say("what of this?", date=1000)
    claim = await bench.begin(1)
    await bench.say(None, date=1000, forward_origin={"type": "user"}, **PHOTO)
    assert await bench.states() == ["gathering"]
    with pytest.raises(journal.NotOurs):
        await bench.database.write(journal.hold, claim, 0.0)
    await bench.say(None, date=1000, forward_origin={"type": "user"}, **PHOTO)
    await bench.settle(1)
    await bench.settle(2)
    assert await bench.states() == ["ready"]
    assert len(await bench.texts()) == 3


async def test_a_file_is_not_told_to_a_turn_that_runs(bench: Hearing) -> None:
    """It would have to wait for it; so it comes behind."""
    bench.router.while_busy = "steer"
    await bench.say("paint")
    await bench.begin(1)
    await bench.say("like this", **PHOTO)
    assert await bench.states() == ["running", "gathering"]


async def test_stopping_a_turn_that_waits_for_files_ends_it(bench: Hearing) -> None:
    """What comes later is told to nobody, and shown to nobody, and the lane is free."""
    await bench.say(None, **PHOTO)
    await bench.say("/stop")
    await bench.settle(1)
    assert await bench.states() == ["ended"]


async def test_a_file_of_a_message_that_was_said_here_is_not_fetched_twice(
    bench: Hearing,
) -> None:
    """Where it lies is told."""
    await bench.say(None, **PHOTO)
    await bench.place(1, "inbox/photo.jpg")
    await bench.say("and now?", reply_to_message=bench.messages[0])
    assert (await bench.texts())[-1][1] == (
        "[Replying to a message of Ada, a photo]\nand now?\n"
        "[What they reply to was saved as inbox/photo.jpg]"
    )
    assert await bench.edit(2, "what is this then?") == "corrected"
    (_, *_), (_, text) = await bench.texts()
    assert text.endswith("what is this then?\n[What they reply to was saved as inbox/photo.jpg]")
    unknown = {**bench.messages[0], "message_id": 555}
    await bench.say("and this?", reply_to_message=unknown)
    assert await bench.all("SELECT turn_id FROM attachments") == [(1,), (3,)]


async def test_a_start_lets_the_wait_begin_anew(bench: Hearing) -> None:
    """Nobody fetched while the process was down, however long that was."""
    await bench.say(None, **PHOTO)
    later = time.time() + attachments.PATIENCE * 2
    await bench.database.write(attachments.renew, later)
    (turn,) = await bench.database.write(turns.ripen, later)
    assert (turn.waiting_for, turn.deadline) == ("gathering", later + attachments.PATIENCE)


async def test_an_album_whose_rest_comes_after_a_kill_is_one_turn(bench: Hearing) -> None:
    """Whether its first files are there by then or not; and what a client has cut as well."""
    await bench.say(None, caption="two", media_group_id="9", **PHOTO)
    await bench.say(None, caption="other", media_group_id="8", chat=2, **PHOTO)
    await bench.settle(1)
    await bench.say("x" * 4096, chat=-100)
    back = time.time() + 20
    await bench.database.write(take_over, back)
    await bench.settle(2, at=back + 0.5)
    assert await bench.database.write(turns.ripen, back + 1) == []
    await bench.say(None, media_group_id="9", **PHOTO)
    await bench.say(None, media_group_id="8", chat=2, **PHOTO)
    await bench.say("y", chat=-100)
    assert [turn for turn, _ in await bench.texts()] == [1, 2, 3, 1, 2, 3]


async def test_a_gathering_that_the_last_process_left_has_an_end(bench: Hearing) -> None:
    await bench.say(None, caption="two", media_group_id="9", **PHOTO)
    await bench.settle(1)
    back = time.time() + 20
    await bench.database.write(take_over, back)
    ripe = await bench.database.write(turns.ripen, back + 4)
    assert [turn.state for turn in ripe] == ["ready"]


async def test_who_never_ends_a_message_is_answered_all_the_same(bench: Hearing) -> None:
    """A client that sends full messages without a pause does not hold its chat up for ever."""
    await bench.say("x" * 4096)
    long_ago = turnrow.MOST_GATHERING + 1
    await bench.database.write(
        lambda db: db.execute("UPDATE turns SET created_at = created_at - ?", (long_ago,))
    )
    await bench.say("x" * 4096)
    ripe = await bench.database.write(turns.ripen, time.time())
    assert [turn.state for turn in ripe] == ["ready"]


# --- Corrections ---


async def test_a_message_that_nobody_has_read_is_read_as_corrected(bench: Hearing) -> None:
    await bench.say("waht is this", date=1000)
    await bench.say("and that", date=1000, forward_origin={"type": "user"})
    assert await bench.edit(1, "what is this?") == "corrected"
    assert await bench.texts() == [(1, "what is this?"), (1, "[Forwarded]\nand that")]


async def test_a_run_that_has_read_the_old_words_does_not_get_the_turn(bench: Hearing) -> None:
    await bench.say("waht is this")
    boot = await bench.database.write(boots.begin, "test", 0.0)
    seen = (await bench.database.read(journal.read_pages, 1)).last_message
    await bench.edit(1, "what is this?")
    with pytest.raises(journal.NotOurs):
        await bench.database.write(journal.hold, Claim(1, boot, first=True, seen=seen), 0.0)


async def test_a_caption_is_corrected_beside_its_file(bench: Hearing) -> None:
    """Before the file has come and after it."""
    await bench.say(None, caption="waht", **PHOTO)
    assert await bench.edit(1, None, caption="what") == "corrected"
    await bench.settle(1)
    assert await bench.edit(1, None, caption="what is this?") == "corrected"
    assert await bench.texts() == [(1, "what is this?\n[They sent a photo]")]
    assert await bench.all("SELECT count(*) FROM attachments") == [(1,)]
    assert await bench.states() == ["ready"]


async def test_a_turn_that_works_is_told_of_the_correction(bench: Hearing) -> None:
    await bench.say("two pounds of flour")
    claim = await bench.begin(1)
    assert await bench.edit(1, "three pounds of flour") == "corrected"
    unread = await bench.database.read(turns.unread, 1, claim.seen)
    assert [text for _, text, _ in unread] == [
        "[They corrected their message. It now reads:]\nthree pounds of flour"
    ]
    assert await bench.edit(1, "four pounds of flour") == "corrected"
    assert len(await bench.database.read(turns.unread, 1, claim.seen)) == 2


async def test_a_correction_of_the_last_turn_is_answered(bench: Hearing) -> None:
    await bench.say("two pounds of flour")
    await bench.end(1)
    assert await bench.edit(1, "three pounds of flour") == "corrected"
    assert (await bench.texts())[-1] == (
        2,
        "[They corrected their message. It now reads:]\nthree pounds of flour",
    )


async def test_an_edit_of_anything_older_is_let_be(bench: Hearing) -> None:
    """Later turns were answered by it as it was; and what /new put out of mind stays there."""
    await bench.say("one")
    await bench.end(1)
    await bench.say("two")
    assert await bench.edit(1, "uno") == "edit of an old message"
    await bench.end(2)
    await bench.say("/new")
    assert await bench.edit(2, "due") == "edit of an old message"
    assert [text for _, text in await bench.texts()] == ["one", "done", "two", "done"]


async def test_an_edit_that_changes_no_words_is_none(bench: Hearing) -> None:
    """A preview of a link came, a reaction, or a live location has moved."""
    await bench.say("see https://example.org/")
    await bench.end(1)
    preview = {"link_preview_options": {"url": "https://example.org/"}}
    assert await bench.edit(1, "see https://example.org/", **preview) == "edit of no words"
    where = {"latitude": 1, "longitude": 2, "live_period": 60}
    await bench.say(None, location=where)
    await bench.end(2)
    for latitude in range(5):
        moved = {"location": {**where, "latitude": latitude}}
        assert await bench.edit(2, None, **moved) == "edit of no words"
    assert len(await bench.states()) == 2


async def test_an_edit_of_what_was_never_said_is_ignored(bench: Hearing) -> None:
    await bench.say("hello")
    bench.messages.append({**bench.messages[0], "message_id": 999})
    assert await bench.edit(2, "hello?") == "edit of an unknown message"


async def test_an_edit_does_not_reach_into_another_chat(bench: Hearing) -> None:
    """Numbers of messages are those of a chat."""
    await bench.say("hello", chat=1, message_id=7)
    await bench.say("hello", chat=2, message_id=8)
    elsewhere = {"chat": {"id": 2, "type": "private"}, "from": {"id": 2, "is_bot": False}}
    assert await bench.edit(1, "gotcha", **elsewhere) == "edit of an unknown message"


async def test_a_picture_that_was_replaced_is_fetched(bench: Hearing) -> None:
    await bench.say(None, caption="look", **PHOTO)
    await bench.settle(1)
    await bench.end(1)
    other = {"photo": [{"file_id": "y", "file_unique_id": "v", "width": 9, "height": 9}]}
    assert await bench.edit(1, None, caption="look", **other) == "corrected"
    assert await bench.all("SELECT turn_id, file_id FROM attachments") == [(1, "x"), (2, "y")]


async def test_what_moved_with_its_turn_is_still_found(bench: Hearing) -> None:
    """A message gets another id when it was said during a model call, and an heir another turn."""
    bench.router.while_busy = "steer"
    await bench.say("paint it")
    claim = await bench.begin(1)
    await bench.say("in blue")
    unread = await bench.database.read(turns.unread, 1, claim.seen)
    await bench.database.write(journal.add_answer, 1, Answer("so far"), 1.0)
    unread = await bench.database.write(turns.say_again, 1, unread)
    heir = await bench.database.write(turns.bequeath, 1, unread, 2.0)
    assert heir is not None
    await bench.database.write(turns.end, 1, "failed", 1.0)
    assert await bench.edit(2, "in red") == "corrected"
    assert (await bench.texts())[-1] == (2, "in red")
    assert await bench.database.read(turnrow.first_message, 2) > 0


# --- Answers to questions, and talk of a group ---


def ask(db: Any) -> None:
    """The turn that runs asks its person something."""
    (call,) = journal.add_answer(db, 1, Answer("", (CallRequest("a", "ask_user", "{}"),)), 1.0)
    questions.ask(db, 1, call.id, Inquiry("Which?", ()), time.time())
    db.execute("UPDATE turns SET state = 'waiting', waiting_for = 'question' WHERE id = 1")


async def test_an_answer_with_a_file_is_taken_and_the_file_comes_behind(bench: Hearing) -> None:
    """The turn that asked cannot wait for it, and must not lose it."""
    await bench.say("sort my photos")
    await bench.begin(1)
    await bench.database.write(ask)
    await bench.say(None, caption="this one", **PHOTO)
    texts = await bench.texts()
    assert (1, f"this one\n{hearing.FOLLOWS}") in texts
    assert texts[-1] == (2, "this one")
    assert await bench.states() == ["ready", "gathering"]


async def test_an_answer_that_a_client_has_cut_is_one(bench: Hearing) -> None:
    """The turn that asked goes on when the rest is there; it does not come as a question."""
    await bench.say("sort my photos")
    await bench.begin(1)
    await bench.database.write(ask)
    await bench.say("x" * 4096)
    assert await bench.states() == ["gathering"]
    await bench.say("and so on")
    assert await bench.states() == ["ready"]
    assert [turn for turn, _ in await bench.texts()] == [1, 1, 1, 1]


async def test_an_answer_to_a_question_can_be_corrected(bench: Hearing) -> None:
    await bench.say("sort my photos")
    await bench.begin(1)
    await bench.database.write(ask)
    await bench.say("by dtae")
    assert await bench.edit(2, "by date") == "corrected"
    assert (await bench.texts())[-1] == (
        1,
        "[They corrected their message. It now reads:]\nby date",
    )


async def test_a_correction_keeps_what_stood_behind_the_words(bench: Hearing) -> None:
    """What was said in the group before, which its people have not written again."""
    await bench.say("@famulus_bot waht do you think?")

    def talk(db: Any) -> None:
        text = f"waht do you think?\n\n{hearing.BEFORE}\nBob: it rains"
        db.execute("UPDATE messages SET content = ?", (text,))

    await bench.database.write(talk)
    await bench.edit(1, "what do you think?")
    assert await bench.texts() == [(1, f"what do you think?\n\n{hearing.BEFORE}\nBob: it rains")]
