"""Reading plays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.play import (
    PLAYS,
    Expect,
    PlayError,
    Press,
    Restart,
    Say,
    Seen,
    Send,
    Step,
    Timeout,
    find,
    load,
    parse,
)


def steps(text: str, *, with_code: bool = True) -> list[Step]:
    return parse(text).steps(with_code=with_code)


def test_every_kind_of_line() -> None:
    """Each mark is the step it stands for, with its line's number."""
    text = r"""
        # nothing
        > hello
        |   indented
        |
        | end
        + photo what is this?
        + voice
        < hi
        <~ ^h.$
        <! bye
        ! seen
        ! restart
        ! timeout 2.5
        ! press Allow once
    """
    assert steps(text) == [
        Say(3, "hello\n  indented\n\nend"),
        Send(7, "photo", "what is this?"),
        Send(8, "voice"),
        Expect(9, "hi"),
        Expect(10, "^h.$", regex=True),
        Expect(11, "bye", absent=True),
        Seen(12),
        Restart(13),
        Timeout(14, 2.5),
        Press(15, "Allow once"),
    ]


def test_sections_depend_on_the_code_tools() -> None:
    """A section is played where it applies."""
    text = "> a\n@code\n> b\n@nocode\n> c\n@always\n> d"
    assert [s.text for s in steps(text) if isinstance(s, Say)] == ["a", "b", "d"]
    without = steps(text, with_code=False)
    assert [s.text for s in without if isinstance(s, Say)] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no steps"),
        ("hello", "cannot begin with 'hello'"),
        ("> ", "nothing follows"),
        ("| more", "must follow"),
        ("< early", "before a `>` line"),
        ("@code\n> a\n@always\n< b", "before a `>` line"),
        ("> a\n<~ (", "regular expression"),
        ("> a\n! explode", "unknown order"),
        ("> a\n! timeout soon", "unknown order"),
        ("+ elephant", "nobody can send 'elephant'"),
        ("> a\n! press", "unknown order"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(PlayError, match=problem):
        parse(text)


def test_expectations() -> None:
    """Any reply may meet an expectation; an unwanted one must meet none."""
    replies = ["one\ntwo", "three"]
    assert Expect(1, "thr").met_by(replies)
    assert not Expect(1, "four").met_by(replies)
    assert Expect(1, "^two$", regex=True).met_by(replies)
    assert Expect(1, "four", absent=True).met_by(replies)
    assert not Expect(1, "two", absent=True).met_by(replies)
    assert Expect(1, "x", absent=True).met_by([])


def test_a_play_among_neighbours_names_them_by_their_address() -> None:
    """The order is seen in advance; what the user says, and nothing else, gets the address."""
    play = parse("! neighbours\n> get {neighbour}/a\n< {neighbour}")
    assert play.wants_neighbours
    assert not parse("> {neighbour}").wants_neighbours
    _, said, expected = play.beside("http://127.0.0.1:9").steps(with_code=True)
    assert (said, expected) == (Say(2, "get http://127.0.0.1:9/a"), Expect(3, "{neighbour}"))


@given(st.text(st.sampled_from("><|!~+@# \nacode"), max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is a play or is refused as one."""
    try:
        play = parse(text)
    except PlayError:
        return
    assert play.scenes


def test_a_play_is_found_by_path_or_name(tmp_path: Path) -> None:
    """A file wins; a single word may name a shipped play; anything else is told what there is."""
    own = tmp_path / "own.play"
    own.write_text("> hi")
    assert find(own) == own
    assert find(Path("main")) == PLAYS / "main.play"
    with pytest.raises(PlayError, match=r"one of: .*main"):
        find(Path("nothing"))


@pytest.mark.parametrize("path", [*PLAYS.glob("*.play"), *Path("tests/plays").glob("*.play")])
def test_all_plays_can_be_read(path: Path) -> None:
    """What is shipped is in order."""
    assert load(path).name == path.name
