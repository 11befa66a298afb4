"""Unified diffs: what other programs write applies, and what does not fit says where."""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor import diff, hunks
from executor.diff import Change, DiffError, Hunk

LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "-- x\n", "++ y\n", "@@ z\n"]), max_size=30)
# Few different lines, so that the same ones stand at many places, with ends of both kinds.
FILES = st.lists(st.sampled_from([b"a", b"b", b" ", b"", b"-- x", b"c  "]), max_size=20).flatmap(
    lambda lines: st.builds(
        lambda end, unended: end.join(lines) + (b"" if unended or not lines else end),
        st.sampled_from([b"\n", b"\r\n"]),
        st.booleans(),
    )
)
ONCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def applied(data: bytes, text: bytes) -> bytes:
    (change,) = diff.parse(text)
    return hunks.apply(data, change)


def written(before: bytes, after: bytes, context: int = 3) -> bytes:
    """What difflib writes, with the remark that it forgets where a file ends without a new line."""
    names = (b"a/file", b"b/file", b"", b"", context)
    lines = difflib.diff_bytes(
        difflib.unified_diff, diff.split(before), diff.split(after), *names, b"\n"
    )
    remark = b"\n\\ No newline at end of file\n"
    return b"".join(line if line.endswith(b"\n") else line + remark for line in lines)


@given(before=LINES, after=LINES)
def test_what_difflib_writes_makes_the_old_file_the_new_one(
    before: list[str], after: list[str]
) -> None:
    """Whatever the lines are, those that look like parts of a diff included."""
    text = "".join(difflib.unified_diff(before, after, "a/file", "b/file"))
    if text:
        assert applied("".join(before).encode(), text.encode()) == "".join(after).encode()


@given(before=FILES, after=FILES, context=st.integers(1, 4))
def test_it_does_so_for_all_line_ends_and_where_lines_are_the_same(
    before: bytes, after: bytes, context: int
) -> None:
    """With CR LF on either side, without a new line at the end, and lines of white space."""
    text = written(before, after, context)
    if text:
        assert applied(before, text) == after


@given(lines=st.lists(st.sampled_from([b"a", b"b", b""]), max_size=12), data=st.data())
def test_insertions_that_show_no_line_of_the_file_go_where_the_number_says(
    lines: list[bytes], data: st.DataObject
) -> None:
    """A diff without context, for files with either end."""
    end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    after = list(lines)
    for at in data.draw(st.lists(st.integers(0, len(lines)), max_size=4)):
        after.insert(at, b"new")
    before_text, after_text = (b"".join(one + end for one in two) for two in (lines, after))
    text = written(before_text, after_text, 0)
    if text:
        assert applied(before_text, text) == after_text


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to write diffs")
@ONCE
@given(before=FILES, after=FILES, context=st.integers(0, 3))
def test_what_git_writes_makes_the_old_file_the_new_one(
    tmp_path: Path, before: bytes, after: bytes, context: int
) -> None:
    """To the byte, with any context; without any, ends of one kind."""
    if context == 0 and (b"\r" in before) != (b"\r" in after):
        return
    (tmp_path / "old").write_bytes(before)
    (tmp_path / "new").write_bytes(after)
    command = ["git", "diff", "--no-index", f"-U{context}", "old", "new"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    if done.stdout:
        assert applied(before, done.stdout) == after


@ONCE
@given(
    lines=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=4, max_size=25),
    above=st.lists(st.sampled_from([b"a", b"b", b"c", b"n"]), max_size=8),
    below=st.integers(0, 3),
    data=st.data(),
)
def test_a_file_that_has_changed_since_is_patched_as_by_gnu_patch(
    tmp_path: Path, lines: list[bytes], above: list[bytes], below: int, data: st.DataObject
) -> None:
    """Where patch finds the places of all hunks without leaving out lines, we find the same."""
    program = shutil.which("patch")
    if program is None:
        pytest.skip("there is no GNU patch to compare with")
    edge = [b"1", b"2", b"3", b"4"]  # patch wants a hunk with less context at an end of the file
    after = list(lines)
    for at in data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=3)):
        after[at] = data.draw(st.sampled_from([b"x", b"y", b"x\ny"]))
    old, new, now = (
        b"\n".join([*edge, *one, *edge]) + b"\n" for one in (lines, after, [*above, *lines])
    )
    now += b"z\n" * below
    text = written(old, new)
    (tmp_path / "file").write_bytes(now)
    command = [program, "-p1", "-F0", "-N", "-s", "-r-", "--no-backup-if-mismatch", "file"]
    done = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, check=False)
    if done.returncode == 0:
        assert applied(now, text) == (tmp_path / "file").read_bytes()


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


# ---- places ----


def test_wrong_line_numbers_do_not_matter_where_the_lines_are_unique() -> None:
    """A model counts badly; the nearest place where the lines stand is taken."""
    text = b"--- f\n+++ f\n@@ -90,9 +1,2 @@\n c\n-x\n+y\n"
    assert applied(b"x\nb\nc\nx\n", text) == b"x\nb\nc\ny\n"


def test_of_two_places_the_nearer_one_is_changed() -> None:
    """The header's number decides."""
    text = b"--- f\n+++ f\n@@ -%d +1 @@\n-x\n+y\n"
    assert applied(b"x\nb\nb\nb\nx\n", text % 2) == b"y\nb\nb\nb\nx\n"
    assert applied(b"x\nb\nb\nb\nx\n", text % 4) == b"x\nb\nb\nb\ny\n"


def test_a_hunk_is_looked_for_as_far_off_as_the_one_before_it_was_found() -> None:
    """Lines that have come above since the diff was made do not lead it to another duplicate."""
    middle = b"".join(b"%d\n" % number for number in range(20))
    before = b"head\n" + b"twice\n" + middle + b"twice\n"
    text = b"--- f\n+++ f\n@@ -1 +1 @@\n-head\n+HEAD\n@@ -23 +23 @@\n-twice\n+TWICE\n"
    expected = b"HEAD\n" + b"twice\n" + middle + b"TWICE\n"
    inserted = b"new\n" * 21
    assert applied(inserted + before, text) == inserted + expected


@pytest.mark.parametrize(
    ("hunks_", "number"),
    [
        (b"@@ -900,0 +901 @@\n+new\n", 1),
        (b"@@ -3 +3 @@\n-c\n+C\n@@ -1,0 +2 @@\n+new\n", 2),
    ],
)
def test_an_insertion_where_no_line_is_or_before_the_last_change_is_refused(
    hunks_: bytes, number: int
) -> None:
    """Nothing but its number says where it belongs, so that has to be right."""
    with pytest.raises(DiffError, match=rf"hunk {number} of .* only adds lines"):
        applied(b"a\nb\nc\nd\n", b"--- f\n+++ f\n" + hunks_)


def test_a_hunk_that_does_not_fit_is_named() -> None:
    """With its number, its file and the line that it begins with."""
    text = b"--- f\n+++ f\n@@ -1 +1 @@\n-a\n+A\n@@ -5 +5 @@\n-gone\n+x\n"
    with pytest.raises(DiffError, match=r"f: hunk 2 of 2 \(line 5\) does not fit.*'gone'"):
        applied(b"a\nb\n", text)


@pytest.mark.parametrize("wanted", [1, 2_000_000, 4_000_001])
def test_many_lines_that_are_the_same_are_searched_in_no_time(wanted: int) -> None:
    """A hunk that nearly fits everywhere: comparing line by line would take half an hour."""
    lines = ((b" ", b"x\n"),) * 400_000
    change = Change("f", "f", (Hunk(wanted, (*lines, (b"-", b"y\n"))),))
    with pytest.raises(DiffError, match="does not fit"):
        hunks.apply(b"x\n" * 4_000_000, change)


def test_a_diff_that_asks_for_too_many_searches_is_refused() -> None:
    """Each is over soon, and all together would not be; all files of a diff count."""
    lines = b"".join(b"%d\n" % number for number in range(9000))
    found_elsewhere = tuple(Hunk(1, ((b"-", b"%d\n" % number),)) for number in range(5, 9000, 3))
    change, effort = Change("f", "f", found_elsewhere), hunks.Effort()
    hunks.apply(lines, change, effort)
    with pytest.raises(DiffError, match="takes too long"):
        hunks.apply(lines, change, effort)


# ---- what stays ----


def test_white_space_at_the_end_of_lines_is_forgiven_and_kept() -> None:
    """Lines that stay are as the file has them, between two changes too."""
    text = b"--- f\n+++ f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    assert applied(b"a  \nb\t\nc \n", text) == b"a  \nB\nc \n"
    assert applied(b"a\r\nb\r\nc\r\n", text) == b"a\r\nB\r\nc\r\n"
    text = b"--- f\n+++ f\n@@ -1,3 +1,3 @@\n-a\n+A\n mid\n-c\n+C\n"
    assert applied(b"a\nmid  \nc\n", text) == b"A\nmid  \nC\n"


@pytest.mark.parametrize(
    ("before", "hunk", "after"),
    [
        (b"a\r\nb\r\nc", b" a\n b\n+n\n c\n\\ No newline at end of file\n", b"a\r\nb\r\nn\r\nc"),
        (b"a\r\nb", b" a\n b\n+n\n", b"a\r\nb\r\nn\r\n"),
        (b"a\nb\n", b" a\r\n-b\r\n+B\r\n", b"a\nB\n"),
        (b"a\r\nb\r\n", b"-a\n+A\n", b"A\r\nb\r\n"),
        (b"a\r\nb\r\n", b"-a\r\n+A\n", b"A\nb\r\n"),
    ],
)
def test_new_lines_end_as_the_file_does_unless_the_diff_knows_its_ends(
    before: bytes, hunk: bytes, after: bytes
) -> None:
    """What a chat or an editor has done to the diff's own ends does not get into the file."""
    assert applied(before, b"--- f\n+++ f\n@@ -1,9 +1,9 @@\n" + hunk) == after


# ---- reading ----


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


def test_what_git_says_without_a_hunk_is_not_passed_over() -> None:
    """Empty files that come and go, copies, permissions, and names in quotes."""
    text = (
        b"diff --git a/e b/e\nnew file mode 100755\nindex 000..e69\n"
        b"diff --git a/an empty one b/an empty one\ndeleted file mode 100644\nindex e69..000\n"
        b"diff --git a/s b/s\nold mode 100644\nnew mode 100755\n"
        b"diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n"
        b'diff --git "a/\\303\\244\\n.txt" "b/\\303\\244\\n.txt"\nold mode 100755\n'
        b"new mode 100644\n"
    )
    assert diff.parse(text) == (
        Change(None, "e", mode=0o755),
        Change("an empty one", None),
        Change("s", "s", mode=0o755),
        Change("x", "y", copies=True),
        Change("ä\n.txt", "ä\n.txt", mode=0o644),
    )
    quoted = b'--- "a/\\303\\244\\"\\\\"\n+++ "b/\\303\\244\\"\\\\"\t2024\n@@ -1 +1 @@\n-a\n+b\n'
    assert diff.parse(quoted)[0].name == 'ä"\\'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            b"diff --git a/p b/p\nindex 1..2 100644\nBinary files a/p and b/p differ\n",
            "p: .*binary",
        ),
        (b"diff --git a/p b/p\nindex 1..2 100644\nGIT binary patch\nliteral 3\n", "p: .*binary"),
        (b"Binary files a/p and b/p differ\n", "a/p and b/p.*binary"),
        (b"diff --git a/l b/l\nnew file mode 120000\n", "l: mode 120000"),
        (b"diff --git a/l b/l\nindex 1..2 100644\n", "l: what is to change"),
        (b"--- a/f\n+++ b/f\n@@ some function @@\n-a\n+b\n", "no header of a hunk"),
        (b"--- a/f\n+++ b/f\n@@@ -1,2 -1,2 +1,2 @@@\n-a\n+b\n", "no header of a hunk"),
        (b"--- a/f\n+++ b/f\n", "f: no hunk"),
        (b"rename from a\n", "`rename to` are not both"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(text: bytes, why: str) -> None:
    """Also beside a change that can: nothing is left out in silence."""
    good = b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    with pytest.raises(DiffError, match=why):
        diff.parse(good + text)


@pytest.mark.parametrize("git", [b"", b"diff --git a/y b/y\nindex 1..2 100644\n"])
def test_a_count_that_is_too_high_does_not_swallow_the_next_file(git: bytes) -> None:
    """Its names look like a line that goes and one that comes."""
    first = b"--- a/x\n+++ b/x\n@@ -1,4 +1,4 @@\n a\n-b\n+B\n c\n"
    changes = diff.parse(first + git + b"--- a/y\n+++ b/y\n@@ -1 +1 @@\n-q\n+Q\n")
    assert [(one.name, len(one.hunks[0].lines)) for one in changes] == [("x", 4), ("y", 2)]


@pytest.mark.parametrize("counts", [b"-1,3 +1,3", b"-1,9 +1,9"])
def test_the_last_lines_of_a_mail_are_no_part_of_the_diff(counts: bytes) -> None:
    """`git format-patch` ends with two dashes and git's version."""
    text = b"--- a/x\n+++ b/x\n@@ " + counts + b" @@\n a\n-b\n+B\n c\n-- \n2.39.2\n\n"
    assert applied(b"a\nb\nc\n", text) == b"a\nB\nc\n"
    with_bullet = b"--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n a\n-- \n"
    assert applied(b"a\n- \n", with_bullet) == b"a\n"


def test_a_diff_without_its_last_new_line_is_whole() -> None:
    """Who pastes one often leaves it out; the file does not lose its own."""
    assert applied(b"a\n", b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b") == b"b\n"


@given(st.binary(max_size=300) | st.text("-+ @,\n019ab/", max_size=300).map(str.encode))
def test_any_bytes_are_a_diff_or_an_error(text: bytes) -> None:
    """And applying what was read gives bytes or an error, never anything else."""
    for before in (b"", b"diff --git a/a b/a\n", b"--- a\n+++ b\n", b"--- a\n+++ a\n@@ -1 +1 @@\n"):
        try:
            for change in diff.parse(before + text):
                hunks.apply(b"a\nb\n", change)
        except DiffError as error:
            assert str(error)
