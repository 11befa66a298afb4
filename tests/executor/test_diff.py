"""Unified diffs: what other programs write applies, and what does not fit says where."""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import diff
from executor.diff import DiffError

LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "-- x\n", "++ y\n", "@@ z\n"]), max_size=30)


def applied(data: bytes, text: bytes) -> bytes:
    (change,) = diff.parse(text)
    return diff.apply(data, change)


@given(before=LINES, after=LINES)
def test_what_difflib_writes_makes_the_old_file_the_new_one(
    before: list[str], after: list[str]
) -> None:
    """Whatever the lines are, those that look like parts of a diff included."""
    text = "".join(difflib.unified_diff(before, after, "a/file", "b/file"))
    if text:
        assert applied("".join(before).encode(), text.encode()) == "".join(after).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one\ntwo", b"one\ntwo\n"),
        (b"one\ntwo\n", b"one\ntwo"),
        (b"one\ntwo", b"one\ntwo\nthree"),
        (b"one", b"two"),
        (b"one\r\ntwo\r\n", b"one\r\n2\r\n"),
        (b"", b"x\n"),
        (b"x\n", b""),
        (b"\xff\n", b"\xfe\n"),
    ],
)
def test_what_the_diff_program_writes_applies_to_the_byte(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    """Files without a new line at the end, with CR LF, empty ones, and no text at all."""
    (tmp_path / "old").write_bytes(before)
    (tmp_path / "new").write_bytes(after)
    command = ["diff", "-u", "old", "new"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert applied(before, done.stdout) == after


def test_wrong_line_numbers_do_not_matter_where_the_lines_are_unique() -> None:
    """A model counts badly; the nearest place where the lines stand is taken."""
    text = b"--- f\n+++ f\n@@ -90,9 +1,2 @@\n c\n-x\n+y\n"
    assert applied(b"x\nb\nc\nx\n", text) == b"x\nb\nc\ny\n"


def test_of_two_places_the_nearer_one_is_changed() -> None:
    """The header's number decides."""
    text = b"--- f\n+++ f\n@@ -%d +1 @@\n-x\n+y\n"
    assert applied(b"x\nb\nb\nb\nx\n", text % 2) == b"y\nb\nb\nb\nx\n"
    assert applied(b"x\nb\nb\nb\nx\n", text % 4) == b"x\nb\nb\nb\ny\n"


def test_white_space_at_the_end_of_lines_is_forgiven_and_kept() -> None:
    """Lines around the change stay as the file has them, CR LF included."""
    text = b"--- f\n+++ f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    assert applied(b"a  \nb\t\nc \n", text) == b"a  \nB\nc \n"
    assert applied(b"a\r\nb\r\nc\r\n", text) == b"a\r\nB\r\nc\r\n"


def test_a_hunk_that_does_not_fit_is_named() -> None:
    """With its number, its file and the line that it begins with."""
    text = b"--- f\n+++ f\n@@ -1 +1 @@\n-a\n+A\n@@ -5 +5 @@\n-gone\n+x\n"
    with pytest.raises(DiffError, match=r"f: hunk 2 of 2 \(line 5\) does not fit.*'gone'"):
        applied(b"a\nb\n", text)


def test_git_diffs_of_several_files_are_read() -> None:
    """Made, deleted, renamed with and without a change; the headers between them are passed."""
    text = (
        b"diff --git a/new b/new\nnew file mode 100644\nindex 000..111\n"
        b"--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+n\n"
        b"diff --git a/gone b/gone\ndeleted file mode 100644\n"
        b"--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-g\n"
        b"diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"
        b"diff --git a/v b/w\nsimilarity index 50%\nrename from v\nrename to w\nindex 1..2 100644\n"
        b"--- a/v\n+++ b/w\n@@ -1 +1 @@\n-v\n+w\n"
    )
    changes = diff.parse(text)
    assert [(one.old, one.new, len(one.hunks)) for one in changes] == [
        (None, "new", 1),
        ("gone", None, 1),
        ("x", "y", 0),
        ("v", "w", 1),
    ]


@given(st.binary(max_size=300) | st.text("-+ @,\n019ab/", max_size=300).map(str.encode))
def test_any_bytes_are_a_diff_or_an_error(text: bytes) -> None:
    """And applying what was read gives bytes or an error, never anything else."""
    try:
        for change in diff.parse(b"--- a\n+++ b\n" + text):
            diff.apply(b"a\nb\n", change)
    except DiffError as error:
        assert str(error)
