"""When a heartbeat is worth a model call, and what of its answer is worth a message. Pure.

A heartbeat looks at the chat's HEARTBEAT.md now and then, without anybody asking. Nothing in the
file to act on means no model call; nothing to tell the person means no message. Both are decided
here, by rules that do not depend on what a model feels like.
"""

from __future__ import annotations

import datetime as dt
import re

from agent import silence

FILE = "HEARTBEAT.md"
SILENT = "HEARTBEAT_OK"

PROMPT = """\
[A heartbeat: nobody has written; the time is {now}. This is the chat's {file}:]

{text}

[Do what of it is due now, with your tools. Nobody can be asked for permission. What you answer is
sent to the chat, so write only what the person should read now. If that is nothing, answer {silent}
and not a word more.]"""

CUT = "[The file goes on; no more of it is looked at.]"

# Lines, without the blanks around them, that ask for nothing: empty, headings, rules, quotes,
# bullets and boxes without words, and boxes that are ticked.
_BULLET = r"(?:[-*+]|\d+[.)])\s*"
_IDLE = re.compile(rf"#.*|>.*|[-*_=\s]*|{_BULLET}(?:\[[ xX]?\])?|{_BULLET}\[[xX]\].*")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def is_actionable(text: str) -> bool:
    """Whether a heartbeat file asks for anything."""
    lines = _COMMENT.sub("", text).splitlines()
    return any(not _IDLE.fullmatch(line.strip()) for line in lines)


def prompt(text: str, now: dt.datetime, *, cut: bool = False) -> str:
    """What the model is told; `now` is in the owner's zone. `cut`: the file goes on."""
    moment = f"{now:%A, %Y-%m-%d %H:%M} ({now.tzinfo})"
    shown = f"{text.strip()}\n{CUT}" if cut else text.strip()
    return PROMPT.format(now=moment, file=FILE, text=shown, silent=SILENT)


def worth_telling(answer: str) -> str:
    """What of an answer goes to the chat; '' if it says that there is nothing."""
    return silence.without(answer, SILENT)


def is_quiet(now: dt.time, hours: tuple[dt.time, dt.time] | None) -> bool:
    """Whether `now` lies in the quiet hours, which may go through midnight."""
    if hours is None:
        return False
    start, end = hours
    return start <= now < end if start <= end else now >= start or now < end


def parse_hours(text: str) -> tuple[dt.time, dt.time] | None:
    """Hours written as 22:00-07:00; None for ''. Raises ValueError for anything else."""
    if not text.strip():
        return None
    start, _, end = text.partition("-")
    try:
        hours = dt.time.fromisoformat(start.strip()), dt.time.fromisoformat(end.strip())
    except ValueError:
        raise ValueError(f"no hours: {text}") from None
    if hours[0] == hours[1] or any(each.tzinfo for each in hours):
        raise ValueError(f"no hours: {text}")
    return hours
