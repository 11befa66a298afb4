"""What goes to a chat, as drafts for the outbox: texts in parts, and files that are kept first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from agent.ports import OutFile, Subtask, ToolOutcome
from agent.text import clean
from agent.transcript import View
from daemon import log
from daemon.chat import views
from daemon.sizes import human
from daemon.spool import Spool, SpoolFull
from daemon.store import outbox
from daemon.telegram import media
from daemon.telegram.render import cut_caption, split_text

WORDLESS = "The answer has no words in it."
UNKEPT = "the disk did not take it; the log says why"
UNSHOWN = "Error: it cannot be shown: {why}"
CROWDED = "too many files wait to be sent already; try again when they have arrived"

T = TypeVar("T")

_log = log.get("turn")


def text_drafts(text: str) -> list[outbox.Draft]:
    """The messages that show `text` in a chat; never none, since somebody waits for them."""
    quiet = {"link_preview_options": {"is_disabled": True}}
    parts = split_text(text) or [WORDLESS]
    return [outbox.Draft("sendMessage", {"text": part, **quiet}) for part in parts]


@frozen
class Finish:
    """How a tool call ended: its text, whether it failed, files for the chat, a turn to begin.

    `shown` is what the model looks at with it.
    """

    text: str
    failed: bool
    drafts: tuple[outbox.Draft, ...] = ()
    subtask: Subtask | None = None
    shown: tuple[View, ...] = ()

    @property
    def keys(self) -> list[str]:
        files = [draft.file for draft in self.drafts if draft.file is not None]
        return [*files, *(view.key for view in self.shown)]


def keep_files(spool: Spool, outcome: ToolOutcome) -> Finish:
    """Put the files on the disk; the text says which are sent as what, and why others are not."""
    try:
        shown = _kept(lambda: views.keep(spool, outcome.shown), spool)
    except _NotKept as why:
        return Finish(UNSHOWN.format(why=why), failed=True)
    sent, unsent, drafts = [], [], []
    for file in outcome.files:
        name = media.safe_name(file.name)
        try:
            draft = _keep(spool, name, file)
        except _NotKept as why:
            unsent.append(f"[not sent: {name}: {why}]")
        else:
            drafts.append(draft)
            picture = draft.method == media.PHOTO
            sent.append(f"{name} ({'picture' if picture else human(len(file.data))})")
    notes = [f"[sent to the chat: {', '.join(sent)}]"] if sent else []
    text = "\n".join(part for part in (outcome.text, *notes, *unsent) if part)
    return Finish(clean(text), outcome.failed, tuple(drafts), outcome.subtask, shown)


class _NotKept(Exception):
    """Why a file does not go to the chat, for the model."""


def _kept(keep: Callable[[], T], spool: Spool) -> T:
    """What `keep` gives, if the spool takes it."""
    try:
        return keep()
    except SpoolFull:
        _log.warning("no room for another file", waiting=human(spool.most_bytes))
        raise _NotKept(CROWDED) from None
    except OSError as error:
        _log.error("a file could not be kept", error=error)
        raise _NotKept(UNKEPT) from None


def _keep(spool: Spool, name: str, file: OutFile) -> outbox.Draft:
    data, caption = file.data, cut_caption(file.caption)
    if problem := media.refusal(data):
        raise _NotKept(problem)
    key = _kept(lambda: spool.keep(data), spool)
    params = {"caption": caption} if caption else {}
    return outbox.Draft(media.method_for(data), params, key, name)
