r"""What a person is shown of a call that needs permission: all of it, and nothing that hides. Pure.

The arguments are a model's, and may be a stranger's who talked to it. So whatever has no shape of
its own (controls, marks that turn the direction of text, spaces of no width) is shown as an escape,
long runs of blanks are counted instead of shown, and each line of a value that has several is
marked, so that none can pass for another argument or for words of ours.
"""

from __future__ import annotations

import re
import unicodedata

MARK = "│ "
MANY_SPACES = 20  # in a row; more could push what follows out of sight
MANY_LINES = 3  # empty, in a row
MANY_ACCENTS = 3  # on one letter; more could run over the lines around it

# Printable by their category, yet they show nothing: fillers, joiners, selectors of variants.
_SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SPECIAL = re.compile("[^\n -~]+")  # what is not plain; the rest may be long
_SPACES = re.compile(f" {{{MANY_SPACES},}}")
_LINES = re.compile(rf"(?:^[ ]*\n){{{MANY_LINES},}}", re.MULTILINE)


def argument(name: str, value: str) -> str:
    """An argument as a person reads it: on one line, or with a mark before each."""
    name, value = _one_line(name), visible(value)
    if "\n" not in value:
        return f"{name}: {value}"
    return "\n".join([f"{name}:", *(MARK + line for line in value.split("\n"))])


def visible(text: str) -> str:
    """`text` with everything in it to be seen; only line breaks are left as they are."""
    shown = _SPECIAL.sub(lambda run: _shown(run[0]), text)
    counted = _LINES.sub(_count_lines, shown)
    return _SPACES.sub(lambda run: f"[{len(run[0])} spaces]", counted)


def _shown(run: str) -> str:
    """Characters of which each has to be looked at."""
    shown: list[str] = []
    accents = 0
    for char in run:
        accents = accents + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        shown.append(char if _has_shape(char) and accents <= MANY_ACCENTS else _escaped(char))
    return "".join(shown)


def bare(text: str) -> str:
    """`text` without what does not show, for a name that a person is to know something by."""
    return "".join(filter(_has_shape, text))


def _count_lines(run: re.Match[str]) -> str:
    return f"[{run[0].count(chr(10))} empty lines]\n"


def _has_shape(char: str) -> bool:
    return char == "\n" or (char.isprintable() and _SHAPELESS.match(char) is None)


def _one_line(text: str) -> str:
    return visible(text).replace("\n", r"\n")


def _escaped(char: str) -> str:
    r"""As in a string of Python: \t, \x00, \u202e."""
    return char.encode("unicode_escape").decode("ascii")
