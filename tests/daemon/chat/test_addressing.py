"""Who is meant in a group: offsets count UTF-16 units, and nothing else is a mention."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chat.addressing import is_addressed, is_called
from daemon.telegram.types import Message, parse_update

BOT, NAME = "42", "Famulus_Bot"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{3,20}", fullmatch=True)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def message(text: str | None, **more: Any) -> Message:
    group = {"id": -100, "type": "supergroup"}
    body = {"message_id": 7, "date": 2, "chat": group, "text": text, **more}
    found = parse_update({"update_id": 1, "message": body}).message
    assert found is not None
    return found


def meant(text: str | None, **more: Any) -> bool:
    return is_addressed(message(text, **more), BOT, NAME, ["Famulus"])


def mention(before: str, name: str) -> dict[str, Any]:
    return {"type": "mention", "offset": units(before), "length": units(name) + 1}


@given(before=TEXTS, after=TEXTS, others=st.lists(NAMES, max_size=3))
def test_a_mention_is_found_wherever_it_stands(before: str, after: str, others: list[str]) -> None:
    """Behind emoji and other mentions, in whatever case."""
    text, entities = before, []
    for name in [*others, NAME.upper()]:
        entities.append(mention(text, name))
        text += f"@{name}"
    assert meant(text + after, entities=entities)
    assert meant(None, caption=text + after, caption_entities=entities, photo=[{}])


@given(before=TEXTS, name=NAMES, after=TEXTS)
def test_others_are_not_us(before: str, name: str, after: str) -> None:
    """Only the whole name is ours; one that begins or ends like it is another's."""
    text = f".{before}@{name}{after}"
    same = name.casefold() == NAME.casefold()
    assert meant(text, entities=[mention(f".{before}", name)]) is same


@given(
    text=TEXTS,
    entities=st.lists(
        st.dictionaries(
            st.sampled_from(["type", "offset", "length", "user"]),
            st.one_of(
                st.integers(-(2**60), 2**60),
                st.sampled_from(["mention", "text_mention"]),
                st.none(),
            ),
        )
    ),
)
def test_entities_may_be_anything(text: str, entities: list[dict[str, Any]]) -> None:
    """What is not as it should be mentions nobody, and costs no message."""
    assert meant(f".{text}", entities=entities) is False


def test_a_link_to_the_bot_is_a_mention() -> None:
    """As clients make it of a name without @."""
    link = {"type": "text_mention", "offset": 0, "length": 2, "user": {"id": 42, "is_bot": True}}
    assert meant("you there", entities=[link])
    assert not meant("you there", entities=[{**link, "user": {"id": 43, "is_bot": True}}])


def test_a_mention_in_the_text_without_its_entity_is_none() -> None:
    """In a code block, for example."""
    assert not meant(f"see @{NAME}")


def replied(sender: int, **more: Any) -> dict[str, Any]:
    user = {"id": sender, "is_bot": True, "first_name": "B"}
    return {"reply_to_message": {"message_id": 3, "from": user, **more}}


def test_a_reply_to_the_bot_is_for_it() -> None:
    """And one to another bot is not."""
    assert meant("why?", **replied(42))
    assert not meant("why?", **replied(43))


def test_what_opens_a_topic_is_no_reply() -> None:
    """Every message of a topic carries it, and the bot may have opened the topic."""
    thread = {"message_thread_id": 3, "is_topic_message": True}
    assert not meant("hi", **thread, **replied(42, forum_topic_created={"name": "x"}))
    assert not meant("hi", **thread, **replied(42))


@pytest.mark.parametrize(
    "text", ["Famulus, hi", " famulus: hi", "@Famulus , hi", "Famulus\uff0chi"]
)
def test_its_name_at_the_beginning_calls_it(text: str) -> None:
    """With a comma or a colon, as one calls somebody."""
    assert is_called(text, ["Famulus"])


@pytest.mark.parametrize("text", ["Famulus is slow", "Famuluss, hi", "Oh Famulus, hi", "", ","])
def test_to_speak_of_it_is_not_to_call_it(text: str) -> None:
    """People may talk about the bot."""
    assert not is_called(text, ["Famulus", ""])


def test_before_its_name_is_known_every_bots_name_is_taken_for_its_own() -> None:
    """For a moment after the start: an answer too many is better than a message lost."""
    entity = [mention("", NAME)]
    assert is_addressed(message(f"@{NAME} hi", entities=entity), BOT, None, [])
    assert not is_addressed(message("@ada hi", entities=[mention("", "ada")]), BOT, None, [])
