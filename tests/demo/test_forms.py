"""Reading a call's parameters, whatever form they come in."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.forms import FormError, Upload, read_form

# What a form can carry: no lone surrogates.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
names = st.text("abcdefghij_", min_size=1, max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def encoded(**content: Any) -> tuple[str, bytes]:
    """Let the real client encode a body."""
    request = httpx.Request("POST", "http://x/", **content)
    return request.headers.get("content-type", ""), request.read()


@given(st.dictionaries(names, json_values, max_size=5))
def test_a_json_body_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    """A JSON body keeps the types of its values."""
    assert read_form("application/json", "", json.dumps(values).encode()).values == values


@given(st.dictionaries(names, texts, max_size=5))
def test_a_url_encoded_body_is_read_as_it_was_written(values: dict[str, str]) -> None:
    """What httpx encodes as a form is read back."""
    kind, body = encoded(data=values)
    assert read_form(kind, "", body).values == values


@given(st.dictionaries(names, texts, max_size=4), st.binary(max_size=2000))
def test_a_multipart_body_is_read_as_it_was_written(values: dict[str, str], data: bytes) -> None:
    """What httpx encodes as multipart is read back, files to the byte."""
    kind, body = encoded(data=values, files={"upload": ("a b.bin", data, "image/png")})
    form = read_form(kind, "", body)
    assert form.values == values
    assert form.files == {"upload": Upload("a b.bin", "image/png", data)}


@given(
    st.sampled_from(
        [
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
            "multipart/form-data",
            "text/plain",
            "",
        ]
    ),
    st.binary(max_size=300) | st.binary(max_size=100).map(lambda b: b"--b\r\n" + b + b"\r\n--b--"),
)
def test_no_body_breaks_the_reader(kind: str, body: bytes) -> None:
    """Any bytes are either read or refused with a status."""
    with suppress(FormError):
        read_form(kind, "", body)


def test_the_query_counts_too() -> None:
    """Parameters may stand in the query, and the body wins."""
    form = read_form("application/json", "a=1&b=2&c=", b'{"b": 3}')
    assert form.values == {"a": "1", "b": 3, "c": ""}


def test_too_many_parameters_are_refused() -> None:
    """Parameters have a limit of their own; files do not count."""
    with pytest.raises(FormError) as caught:
        read_form("application/json", "", b'{"text": "%s"}' % (b"x" * (1 << 20)))
    assert caught.value.status == 413


def test_a_json_body_must_be_an_object() -> None:
    """Other JSON is refused."""
    with pytest.raises(FormError, match="object expected"):
        read_form("application/json", "", b"[1]")
