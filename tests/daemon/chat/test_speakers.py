"""Who speaks in a transcript is said by us alone, whatever people call themselves or write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chat.speakers import MAX_NAME, plain, shown_name, spoken

ANY = st.text()


@given(ANY)
def test_a_name_is_one_short_line_without_signs_of_ours(name: str) -> None:
    """Whatever it holds, it neither ends itself nor begins a remark of the program."""
    found = plain(name)
    assert len(found) <= MAX_NAME
    assert found == " ".join(found.split())
    assert not set(found) & set(":[]\n\r\u2028\u202e\u200b")


@given(ANY, ANY)
def test_only_the_first_line_begins_with_a_name(name: str, text: str) -> None:
    """So nobody can write a line that another seems to have said."""
    first, *others = spoken(shown_name(name, 7, {}), text).splitlines()
    assert first.startswith(f"{shown_name(name, 7, {})}: ")
    assert all(line.startswith("  ") for line in others)


@pytest.mark.parametrize("name", ["Owner", "OWNER:", "owner\n", "\u202eowner", "System", "Famulus"])
def test_a_name_that_is_a_party_is_shown_with_its_id(name: str) -> None:
    """It is somebody's own choice, and no role of ours."""
    assert shown_name(name, 666, {}).endswith("(id 666)")


@pytest.mark.parametrize("name", ["Ada", "ada", " Ada\n", "\uff21da", "Ada\u200b:", "\u202eAda"])
def test_somebody_elses_name_is_shown_with_its_id(name: str) -> None:
    """Where the person is known whose name it is."""
    known = {"ada": 1}
    assert shown_name(name, 666, known).endswith("(id 666)")
    assert shown_name("Ada", 1, known) == "Ada"


@pytest.mark.parametrize("name", ["", "\u200b", ":", "[]", "\u2800"])
def test_nobody_is_without_a_name(name: str) -> None:
    """What cannot be seen is no name."""
    assert shown_name(name, 5, {}) == "User 5"
