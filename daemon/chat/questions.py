"""What a chat is shown of a question: when it is asked, and when it is over. Pure.

What would run stands in a code block, where nothing in it can pass for words of ours. A message
holds what it holds: a longer one shows both ends, and its whole is in a file beside it.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from daemon.store import approvals, questions
from daemon.telegram.parts import fitting, units
from daemon.telegram.render import PART_UNITS

MAY_I: Final = "May I run this?"
COMMANDS: Final = "/approve {ref} lets me, /deny {ref} does not. I wait for a day."
# What stands between the two ends of what is shown of a long one.
LEFT_OUT: Final = "\n[... {count:,} characters are left out here; {where} ...]\n"
IN_FILE: Final = "all of it is in the file above"
AT_CONSOLE: Final = "all of it is shown by: famulus approvals"
LEFT_OUT_UNITS: Final = 120
BEGINNING: Final = 2 / 3  # the share of what is shown of a long one that is its beginning
FILE_NAME: Final = "what-would-run.txt"

OUTCOMES: Final = {
    "denied": "Denied",
    "lapsed": "Nobody answered within a day, so this was not run",
    "void": "Not run: what I was doing has ended",
}
OVER: Final = {
    "lapsed": "Nobody answered within a day.",
    "void": "Not answered: what I was doing has ended.",
}


@frozen
class Around:
    """What stands above and below a code block."""

    head: str
    tail: str = ""

    @property
    def room(self) -> int:
        """The UTF-16 units that are left for the block."""
        return PART_UNITS - units(self.head) - units(self.tail) - 4


def asked(ref: str, label: str) -> Around:
    """What stands around a call that needs permission."""
    return Around(_labelled(MAY_I, label), COMMANDS.format(ref=ref))


def is_whole(what: str, around: Around) -> bool:
    """Whether all of `what` finds room."""
    return units(what) <= around.room


def block(what: str, around: Around, where: str = AT_CONSOLE) -> dict[str, Any]:
    """`text` and `entities` of a message that shows `what` in a code block.

    Of one that has no room both ends are shown, and `where` the whole can be seen.
    """
    shown = what if is_whole(what, around) else _ends(what, around.room, where)
    start, length = units(around.head) + 2, units(shown)
    text = "\n\n".join(part for part in (around.head, shown, around.tail) if part)
    return {"text": text, "entities": [{"type": "pre", "offset": start, "length": length}]}


def _ends(what: str, room: int, where: str) -> str:
    beginning = int((room - LEFT_OUT_UNITS) * BEGINNING)
    first = fitting(what, 0, beginning)
    last = _last(what, room - LEFT_OUT_UNITS - beginning)
    left_out = LEFT_OUT.format(count=last - first, where=where)
    return f"{what[:first].rstrip()}{left_out}{what[last:].lstrip()}"


def _last(text: str, room: int) -> int:
    """Where so much of the end of `text` begins as fits into so many units."""
    at = max(0, len(text) - room)
    while (over := units(text[at:]) - room) > 0:
        at += (over + 1) // 2
    return at


def decided(closed: approvals.Closed) -> dict[str, Any]:
    """What a question about a call is edited to when it is over."""
    head = _labelled(f"{_outcome(closed)}:", closed.label)
    return block(closed.wish.what, Around(head))


def _outcome(closed: approvals.Closed) -> str:
    if closed.state == "granted":
        scope = f"{closed.wish.tool} {closed.wish.scope or ''}".strip()
        how = f"Allowed for this chat ({scope}; /settings takes it back)"
        return f"{how if closed.lasting else 'Allowed once'} {_by(closed.by)}"
    words = OUTCOMES[closed.state]
    return f"{words} {_by(closed.by)}" if closed.state == "denied" else words


def _by(name: str | None) -> str:
    return f"by {' '.join(name.split())[:60]}" if name else "at the console"


def _labelled(text: str, label: str) -> str:
    return f"[{label}]\n{text}" if label else text


def put(question: str, hint: str) -> str:
    """What a person is asked by the model; the hint says how to answer."""
    return f"{question.strip()}\n\n{hint}"


def answered(closed: questions.Closed) -> str:
    """What a question of the model's is edited to when it is over."""
    if closed.state != "answered":
        return f"{closed.text.strip()}\n\n{OVER[closed.state]}"
    who = f"{' '.join(closed.by.split())[:60]}: " if closed.by else ""
    return f"{closed.text.strip()}\n\n{who}{(closed.answer or '').strip()[:200]}"
