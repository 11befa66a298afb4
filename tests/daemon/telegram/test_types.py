"""Reading updates: what we need, or a refusal that names the field; never another exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telegram.types import MAX_INTEGER, MalformedUpdate, parse_update

CHAT = {"id": 5, "type": "private"}
ADA = {"id": 5, "is_bot": False, "first_name": "Ada", "last_name": "Lovelace"}


def message(**more: Any) -> dict[str, Any]:
    body = {"message_id": 1, "date": 2, "chat": CHAT, "from": ADA, "text": "hi", **more}
    return {"update_id": 3, "message": body}


def test_a_message_is_read() -> None:
    found = parse_update(message()).message
    assert found is not None
    assert found.sender is not None
    assert (found.body, found.sender.name, found.chat.private) == ("hi", "Ada Lovelace", True)


def test_unknown_fields_and_kinds_are_no_mistake() -> None:
    """The Bot API grows about monthly."""
    assert parse_update(message(brand_new={"x": 1})).message is not None
    assert parse_update({"update_id": 1, "a_new_kind": {}}).message is None


def test_the_caption_is_the_body_of_what_has_no_text() -> None:
    found = parse_update(message(text=None, caption="look", photo=[{"file_id": "x"}])).message
    assert found is not None
    assert found.body == "look"
    assert found.raw["photo"] == [{"file_id": "x"}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"caption": 5, "media_group_id": [], "message_thread_id": "7", "is_topic_message": 1},
        {"migrate_to_chat_id": 10**400, "photo": 7, "quote": "x", "reply_to_message": []},
        {"from": {**ADA, "last_name": 5, "username": {}}},
        {"chat": {**CHAT, "title": 7, "is_forum": "no"}},
    ],
)
def test_what_is_wrong_beside_it_never_costs_the_text(wrong: dict[str, Any]) -> None:
    found = parse_update(message(**wrong)).message
    assert found is not None
    assert (found.body, found.chat.id, found.topic) == ("hi", 5, "")


@pytest.mark.parametrize("field", ["sender_chat", "forward_origin"])
@pytest.mark.parametrize("value", [5, "x", [], False])
def test_words_that_are_not_their_senders_own_stay_so_however_they_are_written(
    field: str, value: Any
) -> None:
    """Such a field decides by being there: a command in a forward is nobody's."""
    found = parse_update(message(**{field: value})).message
    assert found is not None
    assert getattr(found, field) == {}


@pytest.mark.parametrize(
    ("more", "topic"),
    [
        ({}, ""),
        ({"message_thread_id": 7, "is_topic_message": True}, "7"),
        ({"message_thread_id": 1, "is_topic_message": True}, ""),
        ({"message_thread_id": 7}, ""),
    ],
)
def test_a_topic_is_what_telegram_says_is_one(more: dict[str, Any], topic: str) -> None:
    """The General topic is addressed without an id; a reply's thread is no topic."""
    found = parse_update(message(**more)).message
    assert found is not None
    assert found.topic == topic


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "update_id"),
        ({"update_id": "1"}, "update_id"),
        ({"update_id": True}, "update_id"),
        ({"update_id": 1, "message": []}, "message"),
        (message(chat={"type": "private"}), "chat.id"),
        (message(text=5), "text"),
        (message(date=10**400), "date"),
        (message(chat={"id": MAX_INTEGER + 1, "type": "private"}), "chat.id"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedUpdate, match=named):
        parse_update(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message_id", "date", "chat", "from", "id", "type", "text", "photo", "data", "x"]
            ),
            inner,
        )
    ),
    max_leaves=15,
)


@given(
    st.dictionaries(
        st.sampled_from(["update_id", "message", "edited_message", "callback_query", "x"]), JSON
    )
)
def test_no_body_whatever_raises_anything_else(body: dict[str, Any]) -> None:
    try:
        parse_update(body)
    except MalformedUpdate as error:
        assert str(error)
