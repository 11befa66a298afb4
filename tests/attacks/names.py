"""Which test shows which line: read from the tests' marks, without running or importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

_HERE = Path(__file__).parent
# The mark, and the word of `expected.py` that a test with it shows.
WORDS = {"attack": "held", "refusal": "refused"}


@frozen
class Shown:
    """A test and what it shows: the numbers of lines, and the word that is expected there.

    `needs` is what it is skipped without, if that is anything.
    """

    file: str
    name: str
    word: str
    numbers: tuple[str, ...]
    needs: str
    parameters: frozenset[str]
    docstring: str


def all_shown() -> list[Shown]:
    """In the order of the files' names, and of the tests in them."""
    return [one for path in sorted(_HERE.glob("test_*.py")) for one in _in_file(path)]


def _in_file(path: Path) -> Iterator[Shown]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for word, numbers, needs in _marks(node):
                names = frozenset(one.arg for one in node.args.args)
                text = ast.get_docstring(node) or ""
                yield Shown(path.name, node.name, word, numbers, needs, names, text)


def _marks(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    for one in node.decorator_list:
        word = _word(one)
        if word and isinstance(one, ast.Call):
            named = {word.arg: ast.literal_eval(word.value) for word in one.keywords}
            numbers = tuple(str(ast.literal_eval(argument)) for argument in one.args)
            yield word, numbers, named.get("needs", "")


def _word(decorator: ast.expr) -> str:
    """Give the word of a call such as `pytest.mark.attack(...)`, or nothing."""
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
        return WORDS.get(decorator.func.attr, "")
    return ""
