"""Specialists: read from the owner's files, strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import specialists
from agent.specialists import Specialist, SpecialistLimits, load_specialists

WHOLE = """\
---
name: librarian
description: Finds sources.
model: larger
tools:
  allow: [web_search, web_fetch]
  deny:
    - bash
limits:
  steps: 20
  seconds: 300
  tokens: 100000
---
You are a librarian.
"""


def test_a_specialist_is_read_with_all_it_may_say(tmp_path: Path) -> None:
    """Name, description, model, tools, limits, and the text below as its instructions."""
    (tmp_path / "librarian.md").write_text(WHOLE)
    (tmp_path / "README").write_text("not one")
    found, warnings = load_specialists(tmp_path)
    assert warnings == ()
    assert found == (
        Specialist(
            "librarian",
            "Finds sources.",
            "You are a librarian.",
            "larger",
            frozenset({"web_search", "web_fetch"}),
            frozenset({"bash"}),
            SpecialistLimits(20, 300, 100000),
        ),
    )


def test_tools_are_those_that_are_allowed_and_not_denied() -> None:
    """Without a list of allowed ones, all that are not denied."""
    plain = Specialist("a", "b", "c")
    narrow = Specialist("a", "b", "c", None, frozenset({"x", "y"}), frozenset({"y"}))
    assert [plain.may_use("x"), narrow.may_use("x")] == [True, True]
    assert [narrow.may_use("y"), narrow.may_use("z")] == [False, False]


def test_an_empty_list_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nname: a\ndescription: b\ntools:\n  allow: []\n---\nc\n")
    ((found,), _) = load_specialists(tmp_path)
    assert found.allow == frozenset()
    assert not found.may_use("bash")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("name: librarian", "name: other", "not that of its file"),
        ("name: librarian", "name: A B", "lowercase"),
        ("description: Finds sources.", "", "no description"),
        ("You are a librarian.", "", "no instructions"),
        ("  steps: 20", "  step: 20", "unknown key limits.step"),
        ("  steps: 20", "  steps: many", "limits.steps has to be"),
        ("  steps: 20", "  steps: 0", "limits.steps has to be"),
        ("  deny:", "  denied:", "unknown key tools.denied"),
        ("model: larger", "modle: larger", "unknown key modle"),
        ("model: larger", "model: [a]", "model has to be a text"),
        ("model: larger", 'model: "a\\tb"', "model has to be a name on one line"),
        ("---\nYou", "You", "is missing"),
    ],
)
def test_a_broken_one_is_left_out_with_a_warning(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    """A limit that is misspelt must not be no limit."""
    (tmp_path / "librarian.md").write_text(WHOLE.replace(old, new, 1))
    found, warnings = load_specialists(tmp_path)
    assert found == ()
    assert len(warnings) == 1
    assert why in warnings[0]


def test_a_directory_that_is_absent_or_open_to_all_holds_none(tmp_path: Path) -> None:
    (tmp_path / "librarian.md").write_text(WHOLE)
    tmp_path.chmod(0o777)
    assert load_specialists(tmp_path / "none") == ((), ())
    found, warnings = load_specialists(tmp_path)
    assert found == ()
    assert "everybody may write" in warnings[0]


def test_a_file_that_is_open_to_all_makes_no_specialist(tmp_path: Path) -> None:
    """Nor does one in a directory below such a one: anybody could have put it there."""
    (tmp_path / "agents").mkdir()
    page = tmp_path / "agents" / "librarian.md"
    page.write_text(WHOLE)
    page.chmod(0o666)
    found, warnings = load_specialists(page.parent)
    assert (found, "everybody may write to it" in warnings[0]) == ((), True)
    page.chmod(0o644)
    assert len(load_specialists(page.parent)[0]) == 1
    tmp_path.chmod(0o777)
    assert load_specialists(page.parent)[0] == ()


def test_they_are_named_in_the_prompt_only_if_there_are_any() -> None:
    assert specialists.summary([]) == ""
    text = specialists.summary([Specialist("a", "Does a.", "x"), Specialist("b", "Does b.", "y")])
    assert text.splitlines()[1:] == ["- a: Does a.", "- b: Does b."]
