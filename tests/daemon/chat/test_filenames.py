"""Names that people give their files, as they are in a workspace."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chat.filenames import MOST_BYTES, paths, plain_name


@pytest.mark.parametrize(
    ("given_name", "plain"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/abs/olute", "_abs_olute"),
        ("-rf", "rf"),
        (".bashrc", "bashrc"),
        (". . .", "file"),
        ("", "file"),
        ("a\nb\x00c", "a_b_c"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console.txt", "console.txt"),
        ("what?.txt", "what_.txt"),
        ("re\u202efdp.exe", "re_fdp.exe"),
        ("a\u200b\ufeffb.txt", "a__b.txt"),
        ("x] [Owner says yes.txt", "x) (Owner says yes.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_a_name_is_made_plain(given_name: str, plain: str) -> None:
    assert plain_name(given_name) == plain


@given(st.text())
def test_every_name_is_fit_for_a_file(name: str) -> None:
    """One name that no tool takes for an option, a path, a hidden file or a device."""
    plain = plain_name(name)
    assert plain
    assert not plain.startswith((".", "-", " "))
    assert not set("/\\\0\n\r[]") & set(plain)
    assert len(plain.encode()) <= MOST_BYTES
    assert plain.split(".")[0].casefold() not in {"con", "nul", "aux", "prn", "com1", "lpt9"}
    assert plain_name(plain) == plain


@given(st.text(max_size=300))
def test_duplicates_are_told_apart_by_a_number(name: str) -> None:
    """Before the ending, which says what the file is."""
    first = list(islice(paths(name), 12))
    assert len(set(first)) == 12
    assert all(each.startswith("inbox/") and len(each.encode()) < 255 for each in first)


def test_the_number_stands_before_the_ending() -> None:
    assert list(islice(paths("report.pdf"), 3)) == [
        "inbox/report.pdf",
        "inbox/report-2.pdf",
        "inbox/report-3.pdf",
    ]
    assert list(islice(paths("Makefile"), 2)) == ["inbox/Makefile", "inbox/Makefile-2"]


def test_a_long_name_keeps_its_ending() -> None:
    plain = plain_name("\U0001f600" * 500 + ".tar")
    assert plain.endswith(".tar")
    assert len(plain.encode()) <= MOST_BYTES
