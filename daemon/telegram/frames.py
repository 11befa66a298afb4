"""A preview as Telegram takes it: what is being written, and what is being done: pure."""

from __future__ import annotations

from typing import Any, Final

from daemon.telegram.parts import MOST_ENTITIES, units
from daemon.telegram.render import PART_UNITS, rendered, shifted
from daemon.telegram.show import Frame

LARGE: Final = 20_000  # characters, from which on a text is rendered in a thread
BEFORE: Final = "…\n"  # in front of what is not the beginning


def drawn(frame: Frame) -> dict[str, Any]:
    """The `text` and `entities` that show a frame, in one message.

    Of an answer that is longer the last part is shown: there something happens.
    """
    parts = rendered(frame.text, PART_UNITS - units(BEFORE))
    shown: dict[str, Any] = parts[-1] if parts else {"text": "", "entities": []}
    if len(parts) > 1:
        entities = shifted(shown["entities"], units(BEFORE))
        shown = {"text": BEFORE + shown["text"], "entities": entities}
    return _with_line(shown, frame.line) if frame.line else shown


def _with_line(shown: dict[str, Any], line: str) -> dict[str, Any]:
    """The line is in italics, and its letters fit into what every part leaves free."""
    text = f"{shown['text']}\n\n" if shown["text"] else ""
    italic = {"type": "italic", "offset": units(text), "length": units(line)}
    entities = [*shown["entities"], italic][:MOST_ENTITIES]
    return {"text": text + line, "entities": entities}
