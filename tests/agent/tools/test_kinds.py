"""Which files are read as text, and what is said of others."""

from __future__ import annotations

import gzip
import io
import wave
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tools.kinds import not_text


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "text")
    return made.getvalue()


def recorded() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", ""))
        recording.writeframes(bytes(100))
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (zipped(), "a ZIP archive, or a document that is one"),
        (gzip.compress(b"text" * 100), "compressed by gzip"),
        (recorded(), "a WAV recording"),
        (b"%PDF-1.7\nplain words", "a PDF document"),
        ("Grüße".encode("utf-16"), "UTF-16 text"),
        (b"RIFF\0\0\0\0what", "binary data"),
        (bytes(range(128, 256)), "binary data"),
        (b"a\0b", "binary data"),
    ],
)
def test_what_is_no_text_is_told_by_its_beginning(data: bytes, kind: str) -> None:
    """As far as it is known."""
    assert not_text(data) == kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ID3 is a tag, BZh a magic number",
        b"BZh",
        "Schöne Grüße aus Köln".encode("latin-1"),
        "日本語".encode()[:-1],
    ],
)
def test_text_is_text_in_any_language(data: bytes) -> None:
    """Words that begin like a recording, an old encoding, and a character cut in two included."""
    assert not_text(data) == ""


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_can_be_read(text: str) -> None:
    """Unless it says of itself that it is a PDF."""
    if not text.startswith("%PDF-") and "\ufffd" not in text:
        assert not_text(text.encode()) == ""
