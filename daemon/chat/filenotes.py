"""What the model is told of a file that came with a message, as a line of that message: pure."""

from __future__ import annotations

from attrs import frozen

from agent.sight import PDF
from agent.text import shorten
from agent.transcript import View
from daemon.chat.fields import line
from daemon.chat.speakers import INDENT

MOST_HEARD = 8000  # characters of what was said in a recording
WHY_LENGTH = 300

BLIND = "you cannot look at pictures (the model takes none): say so, or work on the file by code"
UNREAD = "the model takes no documents: read it by code"
UNHEARD = "you cannot hear it, and no model writes recordings down (model.transcription): say so"
BY_TOOL = "transcribe_audio writes down what is said in it"
UNWATCHED = "you cannot watch it: say so, or take it apart by code"

WATCHED = frozenset({"video", "video_note", "animation"})
HEARD = frozenset({"voice", "audio"})
PICTURES = frozenset({"photo", "live_photo"})


@frozen
class Learnt:
    """What was made of a file's bytes: what is shown of it, what was heard in it, or why not."""

    view: View | None = None
    heard: str | None = None
    remark: str = ""


def refused(view: View) -> str:
    """What stands for a view that the model does not take."""
    return UNREAD if view.media == PDF else BLIND


def unlearnt(kind: str, *, transcribes: bool) -> str:
    """What a model must know of a file that it cannot take in by itself."""
    if kind in HEARD:
        return BY_TOOL if transcribes else UNHEARD
    if kind in WATCHED:
        return UNWATCHED
    return ""


def placed(told: str, path: str, learnt: Learnt) -> str:
    """The line about a file that is in the workspace: `[a photo, saved as inbox/photo.jpg]`."""
    return _line(f"{told}, saved as {path}", learnt)


def unplaced(told: str, why: str, learnt: Learnt) -> str:
    """The line about a file that came, and lies nowhere."""
    seen = "it is shown here, but " if learnt.view is not None else ""
    reason = line(why, WHY_LENGTH)
    return _line(f"{told}; {seen}it could not be saved among the chat's files: {reason}", learnt)


def _line(what: str, learnt: Learnt) -> str:
    remark = f"; {learnt.remark}" if learnt.remark else ""
    if learnt.heard is None:
        return f"[They sent {what}{remark}]"
    said = shorten(learnt.heard.strip(), MOST_HEARD)
    if not said:
        return f"[They sent {what}{remark}; nothing is said in it]"
    # Set in, so that in a group nothing that is said begins a line like a speaker's name.
    spoken = "\n".join(INDENT + each for each in said.splitlines())
    return f"[They sent {what}{remark}. What is said in it:]\n{spoken}"
