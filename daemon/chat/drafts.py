"""What goes to a chat, as drafts for the outbox: texts in parts, and files that are kept first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from attrs import frozen

from agent.ports import Appointment, Cancellation, Inquiry, OutFile, Subtask, ToolOutcome, Unsent
from agent.text import clean
from agent.transcript import View
from daemon import log
from daemon.chat import views
from daemon.sizes import human
from daemon.spool import Spool, SpoolFull
from daemon.store import outbox
from daemon.store.outbox_files import Kept
from daemon.telegram import album, media, rich
from daemon.telegram.album import Outgoing
from daemon.telegram.render import CAPTION_UNITS, CodeFile, answer, plain, rendered
from daemon.telegram.rich import literally, rich_markdown

# Characters that are rendered between two steps of the event loop, in a millisecond or two. Longer
# answers can hold code that goes as a file.
MOST_AT_ONCE = 4000
WORDLESS = "The answer has no words in it."
UNKEPT = "the disk did not take it; the log says why"
UNSHOWN = "Error: it cannot be shown: {why}"
CROWDED = "too many files wait to be sent already; try again when they have arrived"

T = TypeVar("T")

_log = log.get("turn")


def text_drafts(text: str) -> list[outbox.Draft]:
    """The messages that show `text` in a chat; never none, since somebody waits for them."""
    return [_message({"text": part}) for part in plain(text) or [WORDLESS]]


def answer_drafts(markdown: str, lead: str = "") -> list[outbox.Draft]:
    """The messages that show a model's words; never none, since somebody waits for them."""
    parts = rendered(markdown, lead=lead) or [{"text": WORDLESS}]
    return [_message(part) for part in parts]


def _message(part: dict[str, Any]) -> outbox.Draft:
    return outbox.Draft("sendMessage", {**part, "link_preview_options": {"is_disabled": True}})


@frozen
class Words:
    """A model's last words in a turn, to be shown below our `lead`, a line or ''."""

    markdown: str
    lead: str = ""

    @property
    def text(self) -> str:
        return f"{self.lead}\n{self.markdown}" if self.lead else self.markdown

    @property
    def is_long(self) -> bool:
        """Whether it takes a thread: for the time that it takes, or for the files in it."""
        return len(self.markdown) > MOST_AT_ONCE


def keep_words(spool: Spool, words: Words, *, richly: bool = False) -> tuple[outbox.Draft, ...]:
    """The drafts of an answer; files of code in it are put on the disk.

    If the disk does not take them, all of the code is in messages. `richly`: tables and formulas
    are one message that shows them as such, with plain ones in reserve.
    """
    if richly and (markdown := rich_markdown(words.markdown)) is not None:
        lead = f"{literally(words.lead)}\n\n" if words.lead else ""
        params = {"rich_message": {"markdown": lead + markdown}}
        plainly = tuple(draft.params for draft in answer_drafts(words.markdown, words.lead))
        return (outbox.Draft(rich.METHOD, params, instead=plainly),)
    parts, files = answer(words.markdown, words.lead)
    drafts: list[outbox.Draft] = []
    try:
        for file in files:
            drafts.append(_keep_code(spool, file))  # noqa: PERF401  (those before a failure count)
    except _NotKept:
        views.discard(spool, keys_of(drafts))
        return tuple(answer_drafts(words.markdown, words.lead))
    messages = [_message(part) for part in parts or [{"text": WORDLESS}]]
    return (*messages, *drafts)


def _keep_code(spool: Spool, file: CodeFile) -> outbox.Draft:
    key = _kept(lambda: spool.keep(file.text.encode()), spool)
    return outbox.Draft(media.DOCUMENT, {}, key, file.name)


def keys_of(drafts: Iterable[outbox.Draft]) -> list[str]:
    """The files of drafts, by their keys in the spool."""
    return [kept.key for draft in drafts for kept in draft.files]


@frozen
class Finish:
    """How a tool call ended: its text, whether it failed, files for the chat, a turn to begin.

    `shown` is what the model looks at with it. An `inquiry` is put to the chat, and has the result;
    a `booking` is made, and is the result.
    """

    text: str
    failed: bool
    drafts: tuple[outbox.Draft, ...] = ()
    subtask: Subtask | None = None
    shown: tuple[View, ...] = ()
    inquiry: Inquiry | None = None
    booking: Appointment | Cancellation | None = None

    @property
    def keys(self) -> list[str]:
        return [*keys_of(self.drafts), *(view.key for view in self.shown)]


def keep_files(spool: Spool, outcome: ToolOutcome) -> Finish:
    """Put the files on the disk; the text says which are sent as what, and why others are not.

    What can never be sent as it is, the chat is told as well: people wait for it.
    """
    try:
        shown = _kept(lambda: views.keep(spool, outcome.shown), spool)
    except _NotKept as why:
        return Finish(UNSHOWN.format(why=why), failed=True)
    sent, unsent, told = [], list(outcome.unsent), list(outcome.unsent)
    for file in outcome.files:
        name = media.safe_name(file.name)
        try:
            sent.append(_keep(spool, name, file))
        except _Unsendable as why:
            told.append(Unsent(name, str(why)))
            unsent.append(told[-1])
        except _NotKept as why:
            unsent.append(Unsent(name, str(why)))
    notes = [f"[sent to the chat: {', '.join(map(_in_words, sent))}]"] if sent else []
    notes += [f"[not sent: {media.safe_name(each.name)}: {each.why}]" for each in unsent]
    text = "\n".join(part for part in (outcome.text, *notes) if part)
    drafts = (*album.drafts(sent), *(draft for each in told for draft in _sentence(each)))
    ours = outcome.subtask, shown, outcome.inquiry, outcome.booking
    return Finish(clean(text), outcome.failed, drafts, *ours)


def keep_text(spool: Spool, name: str, text: str) -> outbox.Draft | None:
    """Put a text of our own on the disk, to be sent as a file; None if that is not to be had."""
    data = text.encode("utf-8", "replace")
    try:
        key = _kept(lambda: spool.keep(data), spool)
    except _NotKept:
        return None
    return outbox.Draft(media.DOCUMENT, {}, key, media.safe_name(name))


def _in_words(file: Outgoing) -> str:
    what = media.WORDS.get(file.method) or human(file.size)
    note = f" as a file, since {file.note}" if file.note else ""
    return f"{file.kept.name} ({what}{note})"


def _sentence(unsent: Unsent) -> list[outbox.Draft]:
    return text_drafts(f"I could not send {media.safe_name(unsent.name)}: {unsent.why}.")


class _NotKept(Exception):
    """Why a file does not go to the chat, for the model."""


class _Unsendable(_NotKept):
    """Why a file can never go to a chat as it is."""


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


def _keep(spool: Spool, name: str, file: OutFile) -> Outgoing:
    data = file.data
    if problem := media.refusal(data):
        raise _Unsendable(problem)
    words = tuple(rendered(file.caption, first=CAPTION_UNITS))
    kept = Kept(_kept(lambda: spool.keep(data), spool), name)
    return Outgoing(media.method_for(data), kept, len(data), words, media.unshown(data))
