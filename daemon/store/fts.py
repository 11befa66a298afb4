"""Questions to the full-text index, and the piece of a text that answers one. Pure.

Whatever a person or a model asks becomes a list of words, and each word one quoted string of an
FTS5 expression: nothing in it can be an operator, a column or the end of the string.

Some scripts put no spaces between words, and the index takes all that stands between two signs for
one word. What is asked in these is looked for in the texts as they are, letter by letter.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from agent.text import clean
from daemon.store.values import Home

MOST_WORDS = 32
MOST_LETTERED = 8  # words that are looked for letter by letter, since each costs a walk through all
WORD_LENGTH = 64  # characters of a word that are compared
# From this length on a word stands for all that begin with it, since nothing knows word endings.
PREFIX_LENGTH = 3
EXCERPT = 240  # characters
BEFORE = 80  # of which so many come before what was found
# The order of what was found; whose it is counts for nothing in it.
BEST = "bm25(passages, 0.0, 1.0)"
_LETTER = r"[^\W_]"  # or a digit: what the index takes for part of a word
# Thai and Lao, Burmese, Khmer, and the letters of Japanese and Chinese; Korean, too, whose words
# are mostly of two letters and have their endings written to them.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


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


def of_home(word: str) -> str:
    """Match all passages that have this home word."""
    return f"home : {_quoted(word)}"


def _term(word: str) -> str:
    """A quoted word. What is behind its last sign may go on, if it is long enough: not in `C++`."""
    *_, last = _cut(word) or [""]
    return _quoted(word) + (" *" if len(last) >= PREFIX_LENGTH else "")


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def lettered(wanted: Sequence[str]) -> tuple[str, ...]:
    """The words as they are to be looked for letter by letter; () if none has to be.

    They are cut at signs, so nothing in them means anything to LIKE.
    """
    if not any(map(_UNSPACED.search, wanted)):
        return ()
    return tuple(dict.fromkeys(_cut(" ".join(wanted))))[:MOST_LETTERED]


def _cut(text: str) -> list[str]:
    """What stands between signs and blanks; accents and vowels above letters are none."""
    return "".join(" " if unicodedata.category(each)[0] in "PSZ" else each for each in text).split()


def pattern(word: str) -> str:
    """For LIKE: a text that holds a lettered word. Letters of ASCII match in either case."""
    return f"%{word}%"


def excerpt(text: str, wanted: Sequence[str]) -> str:
    """The piece of `text` around the first of the wanted words, in one line."""
    text = unicodedata.normalize("NFC", text)
    start = max(0, _first(_folded(text), wanted) - BEFORE)
    end = start + EXCERPT
    piece = " ".join(text[start:end].replace("\0", " ").split())
    return f"{'...' if start else ''}{piece}{'...' if end < len(text) else ''}"


def _first(folded: str, wanted: Sequence[str]) -> int:
    """Where the first word begins that was asked for; 0 if none is seen."""
    forms = [form for word in wanted for form in _forms(_folded(word))]
    found = re.search("|".join(forms), folded) if forms else None
    return found.start() if found else 0


def _forms(word: str) -> list[str]:
    """Patterns for a word: as it is where words have no beginning, else what begins as it does."""
    if _UNSPACED.search(word):
        return [re.escape(word)]
    return [f"(?<!{_LETTER}){part}" for part in re.findall(f"{_LETTER}+", word)]


def _folded(text: str) -> str:
    """`text` without case and accents, of the same length, as the index compares it."""
    if text.isascii():
        return text.lower()
    return "".join(map(_fold, text))


@functools.lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0].lower()[:1]
