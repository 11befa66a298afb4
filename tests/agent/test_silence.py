"""Silence is chosen by one word, and by nothing that only looks like it."""

from __future__ import annotations

import pytest

from agent.silence import is_silent


@pytest.mark.parametrize(
    "answer", ["", " \n", "NO_REPLY", "  NO_REPLY\n", "`NO_REPLY`", "**NO\\_REPLY**", "NO_REPLY."]
)
def test_an_empty_answer_and_the_word_are_silent(answer: str) -> None:
    """However a model dresses it."""
    assert is_silent(answer)


@pytest.mark.parametrize(
    "answer",
    ["...", "!", "no_reply", "NO REPLY", "NO_REPLY is what I would say", "NO_REPLY\nHello"],
)
def test_everything_else_is_told(answer: str) -> None:
    """Also what has the word in it: somebody may have asked for it."""
    assert not is_silent(answer)
