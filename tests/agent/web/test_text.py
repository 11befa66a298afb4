"""Bytes of a page as text."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.text import CHARSETS, declared, decode, plain_text, pretty


@given(st.binary(max_size=200), st.text(max_size=20) | st.sampled_from(sorted(CHARSETS)))
def test_any_bytes_become_text(body: bytes, charset: str) -> None:
    """Whatever the server calls them."""
    text, remark = decode(body, charset)
    assert isinstance(text, str)
    assert remark == "" or (remark.startswith("[") and remark.endswith("]\n"))


@pytest.mark.parametrize(
    "charset", ["utf-8", "windows-1251", "koi8-r", "gb18030", "UTF-16", "cp866"]
)
def test_the_charset_that_is_named_is_used(charset: str) -> None:
    """By any of its names."""
    assert decode("Привет".encode(charset), charset) == ("Привет", "")


def test_a_page_that_names_none_is_utf8_or_western() -> None:
    """As browsers have it."""
    assert decode("naïve".encode(), "")[0] == "naïve"
    assert decode("naïve".encode("cp1252"), "")[0] == "naïve"


@pytest.mark.parametrize(
    "charset", ["klingon", "zip", "unicode_escape", "punycode", "idna", "rot13", "\0"]
)
def test_what_is_no_charset_of_the_web_is_said_and_not_used(charset: str) -> None:
    """Among Python's codecs are some that take quadratic time."""
    text, remark = decode(b"plain", charset)
    assert text == "plain"
    assert "no known charset" in remark


def test_a_charset_that_does_not_fit_is_said() -> None:
    """What can be read is given."""
    text, remark = decode(b"ok \xff", "utf-8")
    assert text == "ok \ufffd"
    assert "not all of it is utf-8" in remark


def test_a_byte_order_mark_counts_for_more_than_a_header() -> None:
    """And is no part of the text."""
    assert decode(b"\xef\xbb\xbfhi", "iso-8859-1") == ("hi", "")


@pytest.mark.parametrize(
    "head", [b'<meta charset="koi8-r">', b"<META http-equiv=x content='text/html; charset=koi8-r'>"]
)
def test_a_page_can_name_its_charset_itself(head: bytes) -> None:
    """At its beginning."""
    assert declared(b"<html>" + head) == "koi8-r"
    assert declared(b" " * 5000 + head) == ""


def test_json_is_shown_with_its_structure_if_that_is_not_too_long() -> None:
    """Else, and if it is no JSON, as it came."""
    assert pretty('{"a":[1,"é"]}', 100) == '{\n "a": [\n  1,\n  "é"\n ]\n}'
    assert pretty('{"a":[1]}', 10) == '{"a":[1]}'
    assert pretty("{not", 100) == "{not"
    assert pretty("[" * 100_000, 10**9) == "[" * 100_000


def test_large_json_is_not_parsed_at_all() -> None:
    """Small brackets make large lists."""
    large = json.dumps([[]] * 200_000)
    assert pretty(large, 10**9) is large


def test_a_pages_text_is_what_stands_between_its_tags() -> None:
    """Without scripts, styles and comments, a line for each block."""
    source = (
        "<html><head><title>T</title><style>p { color: red }</style></head><body>"
        "<script>if (a < b) evil()</script><!-- <p>no</p> --><h1>Head</h1>"
        "<p>One <b>bold</b> &amp; two</p><p>Three</p></body></html>"
    )
    assert plain_text(source).split("\n") == ["T", "", "Head", "", "One bold & two", "", "Three"]


@given(st.text(alphabet="<>/!-ascriptyle \n&;\u0130", max_size=200))
def test_any_page_has_a_text(source: str) -> None:
    """However broken it is."""
    assert isinstance(plain_text(source), str)


@pytest.mark.parametrize(
    "piece", ["<", "<script", "<script>", "<!--", "</", "<a <a ", "&", "<p>x", "\n"]
)
def test_no_page_takes_more_time_than_its_length_is_worth(piece: str) -> None:
    """Two megabytes of anything; quadratic time would be hours."""
    begun = time.process_time()
    plain_text(piece * (2_000_000 // len(piece)))
    assert time.process_time() - begun < 10
