"""Checking a call against the reference."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.forms import Form, Upload
from daemon.demo.params import BadParameter, _data, _fields_of, method_names, params_of, read_params


def read(method: str, **values: Any) -> dict[str, Any]:
    return read_params(method, Form(values))


def test_every_method_and_type_of_the_data_file_can_be_read() -> None:
    """The data file is whole: every type that is named is described."""
    known = set(_data()["types"]) | {"int", "str", "bool", "float"}
    for method in method_names().values():
        assert {t.replace("[]", "") for p in params_of(method).values() for t in p.types} <= known
    for name, line in _data()["types"].items():
        types = line[1:].split("|") if line.startswith("=") else ()
        fields = () if line.startswith("=") else _fields_of(name).values()
        named = {*types, *(t for field in fields for t in field.types)}
        assert {t.replace("[]", "") for t in named} <= known, name


def test_text_becomes_what_the_method_asks_for() -> None:
    """A form carries only text; the types come from the reference."""
    values = read(
        "sendMessage",
        chat_id="-100123",
        text="7",
        disable_notification="True",
        entities='[{"type": "bold", "offset": 0, "length": 1}]',
    )
    assert values["chat_id"] == -100123
    assert values["text"] == "7"
    assert values["disable_notification"] is True
    assert values["entities"][0]["type"] == "bold"


@pytest.mark.parametrize(
    ("values", "name", "problem"),
    [
        ({"text": "x"}, "chat_id", "requires"),
        ({"chat_id": 1, "text": "x", "txt": "y"}, "txt", "no such parameter"),
        ({"chat_id": 1, "text": 5}, "text", "expected str"),
        ({"chat_id": True, "text": "x"}, "chat_id", "got True"),
        ({"chat_id": 1, "text": None}, "text", "got None"),
        ({"chat_id": 1, "text": "x", "disable_notification": "maybe"}, "disable_notif", "bool"),
        ({"chat_id": 1, "text": "x", "entities": "{"}, "entities", "array"),
        ({"chat_id": 1, "text": "x", "entities": [{"type": "bold"}]}, "entities", "offset, length"),
        (
            {"chat_id": 1, "text": "x", "reply_markup": {"inline_keyboard": [[{"txt": "a"}]]}},
            "reply_markup",
            "no field 'txt'",
        ),
        ({"chat_id": 1, "text": "x", "reply_to_message_id": 3}, "reply_to", "no such parameter"),
    ],
)
def test_a_wrong_call_is_named(values: dict[str, Any], name: str, problem: str) -> None:
    """The refusal names the parameter and says what is wrong with it."""
    with pytest.raises(BadParameter, match=problem) as caught:
        read("sendMessage", **values)
    assert caught.value.name.startswith(name)


def test_a_file_is_a_parameter_or_referred_to() -> None:
    """An upload goes under its parameter's name, or under one that attach:// names."""
    upload = Upload("a", "text/plain", b"x")
    sent = read_params("sendDocument", Form({"chat_id": "1"}, {"document": upload}))
    assert sent["document"] == "attach://document"
    read_params("sendDocument", Form({"chat_id": "1", "document": "attach://f"}, {"f": upload}))
    with pytest.raises(BadParameter, match="no parameter takes"):
        read_params("sendDocument", Form({"chat_id": "1", "document": "id"}, {"f": upload}))


@given(
    st.sampled_from(sorted(method_names().values())),
    st.dictionaries(
        st.sampled_from(["chat_id", "text", "media", "reply_markup", "message_id", "x"]),
        st.text(max_size=20) | st.integers() | st.none() | st.lists(st.integers(), max_size=2),
        max_size=4,
    ),
)
def test_no_values_break_the_check(method: str, values: dict[str, Any]) -> None:
    """Anything is either read or named as wrong."""
    with suppress(BadParameter):
        read(method, **values)
