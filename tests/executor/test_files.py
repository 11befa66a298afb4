"""The operations on files, on a real directory: whole, bounded, and nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import files, grep, incoming, removal
from executor.beneath import Beneath
from executor.errors import FileRefused
from executor.file_values import MOST_READ, Edit
from executor.globs import Glob
from executor.settings import Limits
from tests.executor import trees
from tests.executor.trees import ROOMY, peak

ROOMY_ALLOWANCE = incoming.Allowance(1 << 40, 1_000_000)

# ---- writing ----


@pytest.mark.parametrize("name", trees.NAMES)
def test_what_is_written_is_listed_and_read_under_any_name(workspace: Beneath, name: str) -> None:
    """With its directories, that are made on the way."""
    path = f"{name}/{name}"
    assert incoming.write(workspace, path, b"data", ROOMY) == 4
    assert [one.path for one in files.listing(workspace, name).entries] == [name]
    assert files.read(workspace, path).data == b"data"
    assert [one.path for one in files.glob(workspace, "*/*").entries] in ([path], [])


def test_a_file_that_is_replaced_keeps_its_permissions(workspace: Beneath, tmp_path: Path) -> None:
    """A script stays executable; a new file is readable, and nothing is set-uid."""
    (tmp_path / "script").write_bytes(b"old")
    (tmp_path / "script").chmod(0o4751)
    incoming.write(workspace, "script", b"new", ROOMY)
    incoming.write(workspace, "fresh", b"", ROOMY)
    assert files.look(workspace, "script").mode == 0o751
    assert files.look(workspace, "fresh").mode == 0o644


def test_a_reader_sees_the_old_file_or_the_new_one(workspace: Beneath, tmp_path: Path) -> None:
    """Never a part: the name changes hands in one step."""
    incoming.write(workspace, "file", b"0" * 100_000, ROOMY)
    done, seen = threading.Event(), set()

    def look() -> None:
        while not done.is_set():
            data = (tmp_path / "file").read_bytes()
            seen.add((len(data), len(set(data))))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(200):
        incoming.write(workspace, "file", b"%d" % (number % 10) * 100_000, ROOMY)
    done.set()
    reader.join()
    assert seen == {(100_000, 1)}


def test_a_link_or_a_directory_is_not_written_over(workspace: Beneath, tmp_path: Path) -> None:
    """The refusal says what is there; what a link points to is not touched."""
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "directory").mkdir()
    for path, kind in (("link", "symbolic link"), ("directory", "directory")):
        with pytest.raises(FileRefused, match=kind):
            incoming.write(workspace, path, b"", ROOMY)
    with pytest.raises(FileRefused, match="link"):
        incoming.write(workspace, "link/below", b"", ROOMY)
    assert not (tmp_path / "target").exists()


def test_a_file_with_two_names_is_parted_by_writing(workspace: Beneath, tmp_path: Path) -> None:
    """The other name keeps what it had."""
    (tmp_path / "one").write_bytes(b"old")
    os.link(tmp_path / "one", tmp_path / "two")
    incoming.write(workspace, "one", b"new", ROOMY)
    assert (tmp_path / "two").read_bytes() == b"old"


def test_the_quota_is_not_passed_and_a_refused_write_changes_nothing(
    workspace: Beneath, tmp_path: Path
) -> None:
    """Neither in bytes nor in files; what a replaced file frees may be used."""
    limits = Limits(workspace_bytes=100_000, workspace_files=3)
    incoming.write(workspace, "a", bytes(60_000), limits)
    incoming.write(workspace, "a", bytes(70_000), limits)
    with pytest.raises(FileRefused, match="does not fit"):
        incoming.write(workspace, "b", bytes(60_000), limits)
    with pytest.raises(FileRefused, match="no more files"):
        incoming.write(workspace, "c/d/e", b"", limits)
    with pytest.raises(FileRefused, match="does not fit"):
        incoming.write(workspace, "d/e/f", bytes(60_000), Limits(workspace_bytes=100_000))
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_at_the_limit_of_files_one_is_changed_and_none_is_added(
    workspace: Beneath, tmp_path: Path
) -> None:
    """What takes the place of another is not one more, unless that has a second name."""
    limits = Limits(workspace_files=1)
    incoming.write(workspace, "a", b"old", limits)
    assert incoming.write(workspace, "a", b"new", limits) == 3
    assert files.edit(workspace, "a", Edit("new", "newer"), limits).size == 5
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileRefused, match="no more files"):
        incoming.write(workspace, "a", b"third", limits)


def test_directories_are_made_when_the_file_comes_and_go_if_it_cannot(
    workspace: Beneath, tmp_path: Path
) -> None:
    """Here something takes the file's name at the last moment."""
    (tmp_path / "d").mkdir()
    with incoming.incoming(workspace, "d/e/f/file", ROOMY_ALLOWANCE) as file:
        file.write(b"data")
        assert list((tmp_path / "d").iterdir()) == []
        (tmp_path / "d" / "e").mkdir()
        (tmp_path / "d" / "e" / "f").touch()
        with pytest.raises(FileRefused, match="directory"):
            file.commit()
    assert [one.name for one in (tmp_path / "d" / "e").iterdir()] == ["f"]
    with incoming.incoming(workspace, "x/y/file", ROOMY_ALLOWANCE) as file:
        file.commit()
        assert file.made == 2
    incoming.unmake(workspace, ("x", "y"), 2)
    assert (tmp_path / "x" / "y" / "file").exists()


def test_a_workspace_that_cannot_be_measured_takes_no_file(
    workspace: Beneath, tmp_path: Path
) -> None:
    """It may be full, and it may not: that is what is said."""
    (tmp_path / "one").touch()
    for number in range(9):
        os.link(tmp_path / "one", tmp_path / f"{number}")
    with pytest.raises(FileRefused, match="cannot be measured"):
        incoming.write(workspace, "file", b"", Limits(workspace_files=3))


def test_an_upload_that_breaks_off_leaves_nothing(workspace: Beneath, tmp_path: Path) -> None:
    """Bytes come in pieces; without the last word there is no file."""
    with incoming.incoming(workspace, "file", ROOMY_ALLOWANCE) as file:
        file.write(b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_nameless_files_will_do(
    workspace: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is replaced by one that is refused like O_TMPFILE on such a file system."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    incoming.write(workspace, "file", b"data", ROOMY)
    with pytest.raises(FileRefused, match="does not fit"):
        incoming.write(workspace, "other", b"data", Limits(workspace_bytes=1))
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"file": b"data"}


# ---- reading ----


@given(
    data=st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\xff"]), max_size=40).map(b"".join),
    offset=st.integers(0, 20),
    limit=st.integers(1, 20),
)
def test_lines_are_what_splitting_gives(data: bytes, offset: int, limit: int) -> None:
    """From any line on, any number of them, a last one without its end included."""
    descriptor = os.memfd_create("lines")
    os.write(descriptor, data)
    lines = data.split(b"\n")
    ended = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    start = files._line_start(descriptor, offset)
    assert files._lines_at(descriptor, start, limit) == b"".join(ended[offset : offset + limit])
    os.close(descriptor)


def test_a_part_of_a_file_says_whether_there_is_more(workspace: Beneath, tmp_path: Path) -> None:
    """In bytes as in lines; beyond the end there is nothing."""
    (tmp_path / "file").write_bytes(b"one\ntwo\nthree\n")
    first = files.read(workspace, "file", 0, 2, "lines")
    assert (first.data, first.more, first.size) == (b"one\ntwo\n", True, 14)
    rest = files.read(workspace, "file", 2, 2, "lines")
    assert (rest.data, rest.more) == (b"three\n", False)
    assert files.read(workspace, "file", 4, 3).data == b"two"
    assert not files.read(workspace, "file", 99, 3).more
    (tmp_path / "large").write_bytes(bytes(MOST_READ + 1))
    assert files.read(workspace, "large", 0, 10**9).more


def test_a_directory_is_listed_in_order_and_cut(workspace: Beneath, tmp_path: Path) -> None:
    """Kinds and sizes are of the names themselves."""
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").mkdir()
    (tmp_path / "c").symlink_to("nowhere")
    listing = files.listing(workspace)
    kinds = [(one.path, one.kind) for one in listing.entries]
    assert kinds == [("a", "directory"), ("b", "file"), ("c", "symbolic link")]
    assert listing.entries[1].size == 2
    cut = files.listing(workspace, most=2)
    assert (len(cut.entries), cut.cut) == (2, True)
    with pytest.raises(FileRefused, match="does not exist"):
        files.listing(workspace, "nothing")


# ---- editing ----


def test_an_edit_needs_one_place_or_leave_to_change_all(workspace: Beneath, tmp_path: Path) -> None:
    """The refusal counts the places, and the file stays as it was."""
    (tmp_path / "file").write_text("x = 1\ny = 1\n")
    with pytest.raises(FileRefused, match="2 times"):
        files.edit(workspace, "file", Edit("1", "2"), ROOMY)
    assert (tmp_path / "file").read_text() == "x = 1\ny = 1\n"
    assert files.edit(workspace, "file", Edit("1", "2", everywhere=True), ROOMY).replaced == 2
    assert files.edit(workspace, "file", Edit("x = 2", "x = 3"), ROOMY).replaced == 1
    assert (tmp_path / "file").read_text() == "x = 3\ny = 2\n"


@pytest.mark.parametrize(
    ("old", "remedy"),
    [("a\nb", "CR LF"), ("c  d", "white space"), ("nothing", "read the file again")],
)
def test_an_edit_that_does_not_fit_says_why(
    workspace: Beneath, tmp_path: Path, old: str, remedy: str
) -> None:
    """The usual reasons are told apart."""
    (tmp_path / "file").write_bytes(b"a\r\nb\r\nc d\r\n")
    with pytest.raises(FileRefused, match="not in") as refused:
        files.edit(workspace, "file", Edit(old, "new"), ROOMY)
    assert remedy in refused.value.remedy


def test_an_edit_is_measured_before_it_is_made(workspace: Beneath, tmp_path: Path) -> None:
    """A small request can ask for a file of gigabytes; or, missing, for a list of all words."""
    (tmp_path / "file").write_bytes(b"a " * (1 << 19))
    everywhere = Edit("a", "b" * 8000, everywhere=True)

    def edit() -> None:
        for change in (everywhere, Edit("a  nowhere", "")):
            with pytest.raises(FileRefused):
                files.edit(workspace, "file", change, ROOMY)

    assert peak(edit) < 8 << 20


def test_text_that_no_file_can_hold_is_refused(workspace: Beneath, tmp_path: Path) -> None:
    """Half of a surrogate pair is no byte in disguise."""
    (tmp_path / "file").write_bytes(b"a\xff")
    for change in (Edit("\ud800", "b"), Edit("a", "\ud800")):
        with pytest.raises(FileRefused, match="a character that cannot be"):
            files.edit(workspace, "file", change, ROOMY)
    assert files.edit(workspace, "file", Edit("a\udcff", "\udcfe"), ROOMY).size == 1


# ---- searching by name ----


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", ["a.py"]),
        ("**/*.py", ["a.py", "d/b.py", "d/e/c.py"]),
        ("d/**", ["d", "d/b.py", "d/e", "d/e/c.py"]),
        ("d/*/c.py", ["d/e/c.py"]),
        (".*/x.py", [".h/x.py"]),
        ("[ab].py", ["a.py"]),
        ("link/*", []),
        ("**/**/**/c.*", ["d/e/c.py"]),
    ],
)
def test_patterns_match_as_in_a_shell(
    workspace: Beneath, tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    """Hidden names only when asked for, and no link is followed."""
    for path in ("a.py", "d/b.py", "d/e/c.py", ".h/x.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "link").symlink_to("d")
    assert [one.path for one in files.glob(workspace, pattern).entries] == expected


def test_a_search_where_nothing_can_be_searched_is_refused(
    workspace: Beneath, tmp_path: Path
) -> None:
    """A directory that is not there, and a file in place of one, as `list` refuses them."""
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0)
    for path, why in (("nothing", "does not exist"), ("file", "what is not a directory")):
        with pytest.raises(FileRefused, match=why):
            files.glob(workspace, "*", path)
        with pytest.raises(FileRefused, match=why):
            files.listing(workspace, path)
    assert files.glob(workspace, "*", "closed").entries == ()
    assert files.listing(workspace, "closed").entries == ()


def test_a_pattern_costs_no_more_than_its_parts(workspace: Beneath, tmp_path: Path) -> None:
    """Runs of `**` are one, and there is a limit to the others."""
    for number in range(100):
        (tmp_path / f"{number}").touch()
    assert len(Glob("/".join(["**"] * 100)).components) == 1
    assert len(files.glob(workspace, "/".join(["**", "*"] * 50)).entries) == 0
    with pytest.raises(FileRefused, match="more than 100 parts"):
        files.glob(workspace, "*/" * 101)


@given(
    pattern=st.lists(st.sampled_from(["**", "*", "a", "b*"]), min_size=1, max_size=5),
    path=st.lists(st.sampled_from(["a", "b", "bc"]), min_size=1, max_size=6),
)
def test_the_matcher_agrees_with_its_definition(pattern: list[str], path: list[str]) -> None:
    """A recursion that is too slow for use says what must come out."""
    matcher = Glob("/".join(pattern))
    state = matcher.begin()
    for name in path:
        state = matcher.step(state, name)
    assert matcher.matches(state) == _defined(pattern, path)


def _defined(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _defined(pattern[1:], path) or (bool(path) and _defined(pattern, path[1:]))
    fits = bool(path) and {"*": True, "a": path[0] == "a", "b*": path[0][0] == "b"}[pattern[0]]
    return fits and _defined(pattern[1:], path[1:])


# ---- removing ----


def test_a_tree_is_removed_whatever_it_holds(workspace: Beneath, tmp_path: Path) -> None:
    """Closed directories, links to what lies outside, pipes; the outside stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "closed" / "below").mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "pipe")
    (tree / "closed").chmod(0)
    assert removal.remove(workspace, "tree") == 5
    assert not tree.exists()
    assert (outside / "kept").exists()
    with pytest.raises(FileRefused, match="does not exist"):
        removal.remove(workspace, "tree")
    with pytest.raises(FileRefused, match="workspace itself"):
        removal.remove(workspace, ".")


def test_what_a_removal_has_left_goes_with_the_next_one(
    workspace: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names it; names that only look like it stay, and so does what is at work."""
    for name in ("tree/a/b", "other", ".removing-notes"):
        (tmp_path / name).mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(removal, "_SECONDS", -1.0)
        with pytest.raises(FileRefused, match="takes longer") as refused:
            removal.remove(workspace, "tree")
    (left,) = removal.left(workspace)
    assert left in refused.value.remedy
    with removal._Removal.at(workspace) as busy:
        (tmp_path / "busy").mkdir()
        busy.move_aside(busy.top, "busy")
        assert removal.remove(workspace, "other") == 1
        assert sorted(one.name for one in tmp_path.iterdir()) == [*busy.pending, ".removing-notes"]
    removal.sweep(workspace)
    assert [one.name for one in tmp_path.iterdir()] == [".removing-notes"]
    (tmp_path / ".removing-notes").rmdir()


@pytest.mark.parametrize("rounds", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_removing_while_names_are_swapped_touches_nothing_outside(
    workspace: Beneath, tmp_path: Path, rounds: int
) -> None:
    """A directory that becomes a link to a precious one on the way down is not gone into."""
    top, precious = tmp_path / "top", tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            try:
                (top / "d").rename(top / "aside")
                (top / "d").symlink_to(precious)
                (top / "d").unlink()
                (top / "aside").rename(top / "d")
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(rounds):
            for name in ("d/e/f", "g/h/i"):
                with contextlib.suppress(OSError):  # the other thread may have it aside
                    (top / name).mkdir(parents=True, exist_ok=True)
            removal.remove(workspace, "top")
    finally:
        done.set()
        swapper.join()
    assert (precious / "file").exists()


# ---- searching in files ----


def found(top: Path, *arguments: str, **options: bool) -> grep.Matches:
    code = grep.grep_job(*arguments, **options)
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=top, capture_output=True, check=True)
    return grep.parse(done.stdout)


def test_grep_finds_lines_by_file_and_number(tmp_path: Path) -> None:
    """In text files only, those that the pattern of names chooses, and under any name."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a\nb.py").write_bytes(b"x\nneedle \xff\n")
    (tmp_path / "b.txt").write_text("NEEDLE\n")
    (tmp_path / "binary").write_bytes(b"\0needle")
    everywhere = found(tmp_path, "needle", ignore_case=True)
    assert [(one.path, one.line) for one in everywhere.matches] == [("b.txt", 1), ("d/a\nb.py", 2)]
    assert [one.path for one in found(tmp_path, "nee", "*.py").matches] == ["d/a\nb.py"]
    assert [one.path for one in found(tmp_path, "nee", "d/*").matches] == ["d/a\nb.py"]


@pytest.mark.parametrize("pattern", ["**/*.py", "s/*.py", "*.py", "s/**", ".h/*", "**", "*/t/*"])
def test_grep_and_glob_choose_the_same_files(
    workspace: Beneath, tmp_path: Path, pattern: str
) -> None:
    """But for a pattern without a slash, which is of names at any depth."""
    for path in ("a.py", "s/b.py", "s/t/c.py", ".h/x.py", "s/.x.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("needle\n")
    wanted = pattern if "/" in pattern else f"**/{pattern}"
    listed = files.glob(workspace, wanted).entries
    chosen = sorted(one.path for one in found(tmp_path, "needle", pattern).matches)
    assert chosen == [one.path for one in listed if one.kind == "file"]
    below = sorted(one.path for one in found(tmp_path, "needle", "*.py", "s").matches)
    assert below == ["s/b.py", "s/t/c.py"]


def test_grep_refuses_a_place_and_a_pattern_that_are_none(tmp_path: Path) -> None:
    """As the other operations do, and not by finding nothing."""
    (tmp_path / "link").symlink_to(".")
    for path, why in (("typo", "does not exist"), ("../x", "not in the"), ("link", "link")):
        with pytest.raises(FileRefused, match=why):
            found(tmp_path, "x", "", path)
    for glob in ("../*", "/", "*/" * 101):
        with pytest.raises(FileRefused, match=r"pattern cannot|cannot be a pattern"):
            found(tmp_path, "x", glob)
    with pytest.raises(FileRefused, match="no regular expression"):
        found(tmp_path, "\ud800")


def test_what_grep_looks_for_is_not_to_be_seen_in_its_code() -> None:
    """Code that mentions such a package gets it loaded before it runs."""
    assert "numpy" not in grep.grep_job("import numpy", "numpy/*")


def test_grep_says_when_there_is_more_and_when_the_pattern_is_wrong(tmp_path: Path) -> None:
    """And an answer that is cut or forged is not believed."""
    (tmp_path / "many").write_text("x\n" * 500)
    assert found(tmp_path, "x").cut
    with pytest.raises(FileRefused, match="no regular expression"):
        found(tmp_path, "(")
    for printed in (b"", b"nonsense", b"[]", b'{"path": 1}', b'{"path": "a", "line": 1}'):
        with pytest.raises(FileRefused):
            grep.parse(printed)
