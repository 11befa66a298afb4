"""The table is whole: every line is shown by a test, and docs/attacks.md says the same."""

from __future__ import annotations

import pytest

from tests.attacks import document, names, needs
from tests.attacks.expected import BY_NUMBER, LINES
from tests.attacks.stacks import ALL, DEFAULT, NAMESPACES, stack_here


def test_each_of_the_41_attacks_is_there_and_in_order() -> None:
    """Once, or in parts with letters from a on; no number stands twice."""
    numbers = [int(line.number.rstrip("abcdefgh")) for line in LINES]
    assert sorted(set(numbers)) == list(range(1, 42))
    assert numbers == sorted(numbers)
    assert len(BY_NUMBER) == len(LINES)
    for number in set(numbers):
        letters = [line.number.lstrip("0123456789") for line in LINES if _is(line.number, number)]
        assert letters in ([""], list("abcdefgh"[: len(letters)]))


def _is(text: str, number: int) -> bool:
    return text.rstrip("abcdefgh") == str(number)


@pytest.mark.parametrize("word", ["held", "refused"])
def test_each_line_has_a_named_test_wherever_it_says_so(word: str) -> None:
    """A test for the lines that are held somewhere, and one for those that are refused."""
    shown = {number for one in names.all_shown() if one.word == word for number in one.numbers}
    said = {line.number for line in LINES if any(line.of(stack).word == word for stack in ALL)}
    assert shown == said


def test_each_such_test_runs_on_the_stacks_of_its_lines_and_says_what_it_shows() -> None:
    """It takes `target` or `stack`, which the table parametrises, and has a docstring."""
    for one in names.all_shown():
        assert one.parameters & {"target", "stack"}, one
        assert one.docstring.endswith("."), one


def test_what_is_not_held_has_a_reason() -> None:
    """A sentence, and none where it is held."""
    for expected in (line.of(stack) for line in LINES for stack in ALL):
        assert bool(expected.why) == (expected.word != "held")
        assert expected.word == "held" or expected.why.endswith(".")


def test_the_default_stack_leaves_nothing_open() -> None:
    """What it refuses is to start where it would not hold."""
    words = {line.of(DEFAULT).word: line.number for line in LINES}
    assert "not covered" not in words
    refused = [line.number for line in LINES if line.of(DEFAULT).word == "refused"]
    assert all(number.startswith("40") for number in refused)


def test_the_short_form_runs_on_what_the_host_has() -> None:
    """Without a delegated cgroup every attack in it would be skipped on the default stack."""
    assert stack_here(ALL, lambda _stack: True) is DEFAULT
    assert stack_here(ALL, lambda stack: not stack.cgroup) is NAMESPACES[1]
    assert stack_here(ALL, lambda _stack: False) is DEFAULT


def test_the_document_is_up_to_date() -> None:
    """Also where it was written on another machine."""
    assert _without_versions(document.PATH.read_text()) == _without_versions(document.text())


def _without_versions(text: str) -> list[str]:
    """The lines as far as they are the same on every machine."""
    lines = text.partition(document.SEEN)[0].rstrip().splitlines()
    kept = [line for line in lines if not line.startswith(document.VERSIONS)]
    return [line.partition(document.SKIPPED)[0] for line in kept]


def test_what_is_skipped_here_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the list of tests, with the reason; a line that is not marked has been seen."""
    monkeypatch.setattr(needs, "lacking", lambda need: f"no {need}" if need else "")
    marked = [line for line in document.text().splitlines() if document.SKIPPED in line]
    numbers = {line.removeprefix("- ").split()[0] for line in marked}
    assert {"39c", "40a", "40g", "41e", "41f", "41g"} <= numbers
    assert "- 41e held: `test_honest.py::test_numpy` (skipped: no numpy)" in marked


def test_only_the_upstream_version_of_the_kernel_is_told() -> None:
    """A distributor's suffix says which machine it was, and nothing about the attack."""
    assert document.upstream("6.18.44-private-v5") == "6.18"
    assert document.upstream("6.1.0-44-amd64") == "6.1"
    assert document.versions(["firejail"]).endswith(" It could not have firejail.")
