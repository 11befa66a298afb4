"""Inline keyboards from rows of buttons. Pure: what a button does is in `daemon.store.buttons`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from agent.preview import bare

# A phone shows about so many characters in a row of buttons; more are cut out of the middle of a
# word and nobody can tell two of them apart.
ROW: Final = 36
GAP: Final = 4  # of those for the frame of each further button of a row
MOST_IN_A_ROW: Final = 4
MOST_BUTTONS: Final = 100


@frozen
class Key:
    """A button: what it says, and the row that its press names."""

    label: str
    ref: str

    @property
    def shown(self) -> str:
        """The label on one line, cut to what is shown of a button that has a row of its own."""
        label = " ".join(bare(" ".join(self.label.split())).split()) or "?"
        return label if len(label) <= ROW else label[: ROW - 1].rstrip() + "…"


def keyboard(rows: Sequence[Sequence[Key]]) -> dict[str, Any]:
    """The `reply_markup` of a message."""
    buttons = [[{"text": key.shown, "callback_data": key.ref} for key in row] for row in rows]
    return {"inline_keyboard": [row for row in buttons if row]}


def arranged(keys: Sequence[Key]) -> list[list[Key]]:
    """Keys in rows, in order: as many in a row as can all be read there."""
    rows: list[list[Key]] = []
    for key in keys[:MOST_BUTTONS]:
        if rows and _fits(rows[-1], key):
            rows[-1].append(key)
        else:
            rows.append([key])
    return rows


def _fits(row: Sequence[Key], key: Key) -> bool:
    """Whether one more finds room: all buttons of a row are as wide as the widest."""
    count = len(row) + 1
    widest = max(len(each.shown) for each in (*row, key))
    return count <= MOST_IN_A_ROW and count * (widest + GAP) - GAP <= ROW
