"""Reading what an update asks for: deny by default, and no two readings of one thing."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from daemon.chat.access import Group
from daemon.chat.intake import (
    MAX_TEXT,
    Access,
    Command,
    Corrected,
    Halted,
    Ignored,
    Intake,
    Moved,
    Pressed,
    Said,
    Speaker,
    TooLong,
    read,
)
from daemon.store.values import Place
from daemon.telegram.types import parse_update

ACCESS = Access(frozenset({1}), frozenset({-100}))
PRIVATE = {"id": 1, "type": "private"}
GROUP = {"id": -100, "type": "supergroup", "title": "Family"}
GROUP_MESSAGE = {"message_id": 1, "date": 2, "chat": GROUP}
ADA = {"id": 1, "is_bot": False, "first_name": "Ada"}
EVE = {"id": 666, "is_bot": False, "first_name": "Eve"}


def message(text: str | None = "hi", **more: Any) -> dict[str, Any]:
    body = {"message_id": 1, "date": 2, "chat": PRIVATE, "from": ADA, "text": text, **more}
    return {"update_id": 3, "message": body}


def asks(body: dict[str, Any], username: str | None = "famulus_bot") -> Intake:
    return read(parse_update(body), "42", ACCESS, username)


def test_a_text_is_something_said() -> None:
    said = asks(message("hello"))
    assert isinstance(said, Said)
    assert (said.text, said.place.chat, said.speaker.name, said.more) == (
        "hello",
        "1",
        "Ada",
        False,
    )


@pytest.mark.parametrize(
    "who",
    [
        {"chat": {"id": 666, "type": "private"}, "from": EVE},
        {"chat": {"id": -101, "type": "group"}, "from": EVE},
        {"chat": {"id": -101, "type": "group"}, "from": ADA},  # an allowed person elsewhere
        {"chat": {"id": -7, "type": "channel"}, "from": None},
        {"chat": {"id": 1, "type": "private"}, "from": EVE},  # cannot be; denied all the same
    ],
)
def test_strangers_are_ignored(who: dict[str, Any]) -> None:
    for text in ("hello", "/start", "/stop"):
        ignored = asks(message(text, **who))
        assert isinstance(ignored, Ignored)
        assert ignored.outcome == "stranger"


def test_everybody_may_speak_in_an_allowed_group_and_is_named() -> None:
    said = asks(message("hello", chat=GROUP, **{"from": EVE}))
    assert isinstance(said, Said)
    assert said.text == "Eve: hello"


def test_bots_are_not_answered() -> None:
    """Two bots that answer each other never stop."""
    other = {"id": 9, "is_bot": True, "first_name": "B"}
    assert asks(message(chat=GROUP, **{"from": other})) == Ignored("not a person")


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/start", "start", ""),
        ("/Start@Famulus_Bot now", "start", "now"),
        ("/new  some words \n here", "new", "some words \n here"),
    ],
)
def test_commands(text: str, name: str, rest: str) -> None:
    command = asks(message(text))
    assert isinstance(command, Command)
    assert (command.name, command.rest) == (name, rest)


def test_another_bots_command_is_none_of_ours() -> None:
    assert asks(message("/start@other_bot", chat=GROUP)) == Ignored("another bot's command")
    assert isinstance(asks(message("/start@famulus_bot"), username=None), Command)


@pytest.mark.parametrize("text", ["/", "/usr/bin is a path", "a /stop inside", "/ö", "//x"])
def test_what_only_looks_like_a_command(text: str) -> None:
    assert isinstance(asks(message(text)), Said)


def test_attachments_are_named_and_the_caption_is_kept() -> None:
    said = asks(message(None, caption="what is this?", photo=[{"file_id": "x"}]))
    assert isinstance(said, Said)
    assert said.text == "what is this?"
    assert [(file.kind, file.file_id, file.told) for file in said.contents.files] == [
        ("photo", "x", "a photo")
    ]


def test_a_caption_is_no_command() -> None:
    assert isinstance(asks(message(None, caption="/stop", photo=[{"file_id": "x"}])), Said)


def test_service_messages_are_ignored() -> None:
    assert asks(message(None, new_chat_title="New")) == Ignored("service message")


def test_a_text_that_no_client_sends_is_refused_in_words() -> None:
    assert asks(message("x" * (MAX_TEXT + 1))) == TooLong(
        asks(message("hi")).place,  # type: ignore[union-attr]  # a Said, as shown above
        MAX_TEXT + 1,
    )


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"text": "x" * 4095}, False),
        ({"text": "x" * 4096}, True),
        ({"text": "\U0001f600" * 2048}, True),
        ({"text": None, "caption": "x", "photo": [{}], "media_group_id": "9"}, True),
    ],
)
def test_what_is_likely_to_go_on(more: dict[str, Any], *, expected: bool) -> None:
    said = asks(message(**more))
    assert isinstance(said, Said)
    assert said.more is expected


def test_a_button_is_read_with_its_chat() -> None:
    body = {"message_id": 1, "date": 2, "chat": PRIVATE}
    query = {"id": "q", "from": ADA, "data": "show:x", "message": body}
    pressed = asks({"update_id": 1, "callback_query": query})
    assert isinstance(pressed, Pressed)
    assert pressed.place is not None
    assert (pressed.place.chat, pressed.data, pressed.message_id) == ("1", "show:x", "1")
    assert pressed.speaker.external_id == "1"


def test_a_strangers_button_is_ignored_and_one_without_a_message_answered() -> None:
    body = {"message_id": 1, "date": 2, "chat": PRIVATE}
    query = {"id": "q", "from": EVE, "data": "show:x", "message": body}
    assert isinstance(asks({"update_id": 1, "callback_query": query}), Ignored)
    bare = {"id": "q", "data": "x"}
    assert asks({"update_id": 1, "callback_query": {**bare, "from": ADA}}) == Pressed(
        None, Speaker("1", "Ada"), "q", "x"
    )
    assert asks({"update_id": 1, "callback_query": {**bare, "from": EVE}}) == Ignored(
        "stranger", "user 666"
    )


def test_a_forwarded_command_is_somebody_elses_words() -> None:
    said = asks(message("/stop", forward_origin={"type": "user"}))
    assert isinstance(said, Said)
    assert said.text == "[Forwarded]\n/stop"


def test_a_command_that_another_bot_has_written_is_none() -> None:
    """People see its title in a list of results, and not what they send with it."""
    bot = {"id": 7, "is_bot": True, "first_name": "Weather", "username": "weather_bot"}
    said = asks(message("/approve", via_bot=bot))
    assert isinstance(said, Said)
    assert (
        said.text
        == "[Written by another bot, @weather_bot, which they have asked for it]\n/approve"
    )


def test_a_strangers_edit_is_a_strangers_also_where_it_asks_to_be_let_in() -> None:
    """What a stranger writes is not kept, and their outcome is what says so."""
    where = {"chat": {"id": 666, "type": "private"}, "from": EVE}
    asked = read(parse_update(edited("/start", **where)), "42", evolve(ACCESS, pairing=True), None)
    assert asked == Ignored("stranger", "user 666")


def test_who_does_not_administer_presses_nothing_where_administrators_alone_are_answered() -> None:
    """And is told so: a press is answered."""
    access = Access(frozenset(), frozenset({-100}), groups={-100: Group("admin-only")})
    query = {"id": "q", "from": ADA, "data": "x", "message": GROUP_MESSAGE}
    body = {"update_id": 1, "callback_query": query}
    assert read(parse_update(body), "42", access, None) == Pressed(
        None, Speaker("1", "Ada"), "q", "x"
    )


@pytest.mark.parametrize("sender", [{"id": 777000, "is_bot": False, "first_name": "Telegram"}, ADA])
def test_what_a_chat_itself_posts_is_not_answered(sender: dict[str, Any]) -> None:
    """A channel's posts in its discussion group would each begin a turn."""
    channel = {"id": -5, "type": "channel", "title": "News"}
    posted = message("news", chat=GROUP, sender_chat=channel, **{"from": sender})
    assert asks(posted) == Ignored("not a person")


def test_a_group_that_moves_says_where() -> None:
    moved = asks(message(None, chat=GROUP, migrate_to_chat_id=-1007))
    assert isinstance(moved, Moved)
    assert (moved.place.chat, moved.chat) == ("-100", "-1007")
    elsewhere = {"id": -101, "type": "group"}
    assert isinstance(asks(message(None, chat=elsewhere, migrate_to_chat_id=-1007)), Ignored)


@pytest.mark.parametrize("number", [0, 1, 42])
def test_a_group_never_becomes_a_private_chat(number: int) -> None:
    """Whatever an update says: what was said among many would be one person's."""
    asked = asks(message(None, chat=GROUP, migrate_to_chat_id=number))
    assert asked == Ignored("service message")


def test_no_text_of_an_update_is_such_that_it_cannot_be_kept() -> None:
    """JSON can carry half a character, which neither SQLite nor UTF-8 can."""
    name = {"id": 1, "is_bot": False, "first_name": "\ud83d"}
    said = asks(message("\ud83d", media_group_id="\ud83d", **{"from": name}))
    assert isinstance(said, Said)
    assert "\ud83d" not in said.text + said.gather_key + said.speaker.name


def test_a_time_before_all_calendars_is_none() -> None:
    said = asks(message("hi", date=-(2**50)))
    assert isinstance(said, Said)
    assert said.asked_at == 0.0


def test_kinds_that_are_not_read_are_ignored() -> None:
    assert asks({"update_id": 1, "poll": {}}) == Ignored("unread kind")


def edited(text: str | None = "hi", **more: Any) -> dict[str, Any]:
    return {"update_id": 4, "edited_message": message(text, **more)["message"]}


def test_an_edit_is_a_correction_of_what_was_said() -> None:
    """With the number of the message, by which it is found."""
    corrected = asks(edited("hello", message_id=77, edit_date=5))
    assert isinstance(corrected, Corrected)
    assert (corrected.said.text, corrected.said.message_id) == ("hello", "77")


@pytest.mark.parametrize(
    ("text", "more", "outcome"),
    [
        ("/stop", {}, "edited command"),
        ("let me in", {"chat": {"id": 666, "type": "private"}, "from": EVE}, "stranger"),
        (None, {"new_chat_title": "New"}, "service message"),
    ],
)
def test_an_edit_does_nothing_but_correct_words(
    text: str | None, more: dict[str, Any], outcome: str
) -> None:
    """A command that comes by an edit is none: its message was something else when it was read."""
    ignored = asks(edited(text, **more))
    assert isinstance(ignored, Ignored)
    assert ignored.outcome == outcome


@pytest.mark.parametrize(
    ("channel", "account", "chat", "reached"),
    [
        ("telegram", "42", "1", True),
        ("telegram", "42", "-100", True),
        ("telegram", "42", "2", False),
        ("telegram", "43", "1", False),
        ("console", "42", "1", False),
    ],
)
def test_who_is_answered_may_be_written_to(
    channel: str, account: str, chat: str, reached: bool
) -> None:
    """And nobody else, nor by another bot than the one that they spoke to."""
    assert ACCESS.reaches(Place(channel, account, chat), "42") is reached


def test_the_stop_button_of_a_draft_names_its_chat_and_draft() -> None:
    """It comes without a name, so it counts in a private chat alone, and there as its person's."""
    body = {"chat": PRIVATE, "draft_id": 9, "message_thread_id": 4}
    assert asks({"update_id": 1, "stopped_message_generation": body}) == Halted(
        Place("telegram", "42", "1", "4"), 9
    )
    for chat in (GROUP, {"id": 666, "type": "private"}):
        stranger = {"chat": chat, "draft_id": 9}
        assert isinstance(asks({"update_id": 1, "stopped_message_generation": stranger}), Ignored)
