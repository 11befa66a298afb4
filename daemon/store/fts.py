"""Questions to the full-text index, and the piece of a text that answers one. Pure.

Whatever a person or a model asks becomes a list of words, and each word one quoted string of an
FTS5 expression: nothing in it can be an operator, a column or the end of the string.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from agent.text import clean
from daemon.store.values import Home

MOST_WORDS = 32
WORD_LENGTH = 64  # characters of a word that are compared
# From this length on a word stands for all that begin with it, since nothing knows word endings.
PREFIX_LENGTH = 3
EXCERPT = 240  # characters
BEFORE = 80  # of which so many come before what was found
# The order of what was found; whose it is counts for nothing in it.
BEST = "bm25(passages, 0.0, 1.0)"
_LETTER = r"[^\W_]"  # or a digit: what the index takes for part of a word


def home_word(kind: str, home: Home) -> str:
    """The word by which `passages.home` says whose a passage is, and from which table."""
    return kind + "x".join(part.encode().hex() for part in home)


def words(query: str) -> tuple[str, ...]:
    """The words of any text, each once: what stands between spaces and has a letter or digit."""
    text = unicodedata.normalize("NFC", clean(query).replace("\0", " "))
    found = (word[:WORD_LENGTH] for word in text.split() if any(map(str.isalnum, word)))
    return tuple(dict.fromkeys(found))[:MOST_WORDS]


def expression(homes: Iterable[str], wanted: Sequence[str], *, every: bool = True) -> str:
    """Match passages of these home words that have every one of the wanted words, or any."""
    terms = (" " if every else " OR ").join(_term(word) for word in wanted)
    return f"home : ({' OR '.join(map(_quoted, homes))}) AND text : ({terms})"


def _term(word: str) -> str:
    return _quoted(word) + (" *" if len(word) >= PREFIX_LENGTH else "")


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def excerpt(text: str, wanted: Sequence[str]) -> str:
    """The piece of `text` around the first of the wanted words, in one line."""
    text = unicodedata.normalize("NFC", text)
    start = max(0, _first(_folded(text), wanted) - BEFORE)
    end = start + EXCERPT
    piece = " ".join(text[start:end].replace("\0", " ").split())
    return f"{'...' if start else ''}{piece}{'...' if end < len(text) else ''}"


def _first(folded: str, wanted: Sequence[str]) -> int:
    """Where the first word begins that was asked for; 0 if none is seen."""
    parts = [part for word in wanted for part in re.findall(f"{_LETTER}+", _folded(word))]
    if not parts:
        return 0
    found = re.search(f"(?<!{_LETTER})(?:{'|'.join(parts)})", folded)
    return found.start() if found else 0


def _folded(text: str) -> str:
    """`text` without case and accents, of the same length, as the index compares it."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold, text))


@functools.lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0].lower()[:1]
