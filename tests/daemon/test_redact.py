"""Redaction by value, in every form in which the stack prints one."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from daemon import redact

TOKEN = "110201543:AAHdq/TcvCH1+GWJ 'xf\"Seo\\fä"

secrets = st.text(min_size=redact.MIN_LENGTH, max_size=40).filter(lambda s: "secret" not in s)


@pytest.mark.parametrize(
    "printed",
    [
        TOKEN,
        quote(TOKEN),
        quote(TOKEN, safe=""),
        quote(TOKEN, safe="").replace("%3A", "%3a"),
        quote_plus(TOKEN),
        urlencode({"key": TOKEN}),
        repr(TOKEN),
        repr(TOKEN.encode()),
        repr({"Authorization": f"Bearer {TOKEN}"}),
        ascii(TOKEN),
        json.dumps(TOKEN),
        json.dumps({"a": TOKEN}, ensure_ascii=False),
        redact.escape(TOKEN),
    ],
)
def test_every_spelling_is_masked(printed: str) -> None:
    """As it is, in URLs, in reprs, in JSON and in a line of the log."""
    redact.register(TOKEN)

    masked = redact.redact(f"before {printed} after")
    assert "AAHdq" not in masked
    assert "before " in masked
    assert masked.endswith(" after")
    assert redact.MASK in masked


def test_short_values_are_left_alone() -> None:
    """Local model servers take any key, and "none" in a text is no secret."""
    redact.register("none")
    redact.register("")

    assert redact.redact("none of it") == "none of it"


def test_a_secret_within_a_secret_leaves_nothing_of_the_longer_one() -> None:
    """The longer one is looked for first."""
    redact.register("abcdef")
    redact.register("abcdef-and-more")

    assert redact.redact("abcdef-and-more") == redact.MASK


@given(secrets, st.text(), st.text())
def test_no_registered_value_remains(secret: str, before: str, after: str) -> None:
    """Whatever stands around it."""
    redact.forget_all()
    redact.register(secret)
    masked = redact.redact(before + secret + after)

    assume(redact.MASK not in secret)
    assert not redact.found_in(before) or redact.MASK in masked
    assert redact.MASK in masked


@given(st.text())
def test_escaped_text_is_printable_and_reversible(text: str) -> None:
    """One line, encodable, and nothing is lost."""
    escaped = redact.escape(text)

    assert escaped.isprintable()
    escaped.encode("utf-8")  # does not raise
    back = escaped.encode("latin-1", "backslashreplace").decode("unicode_escape")
    assert back == text
