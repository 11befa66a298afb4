"""What can be made of a file's bytes for the model, while they are in the spool.

A picture or a PDF becomes a view, told by its bytes alone, if the model takes it; a voice message
is written down, if a model for that is configured. A file that is neither, or is too large for it,
costs a look at its first bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import trio
from attrs import evolve, frozen

from agent import sight
from agent.parts import Takes
from agent.ports import ModelFailed
from agent.sight import MOST_DOCUMENT, NotSeen
from agent.transcript import View
from daemon import log
from daemon.chat.filenotes import Learnt, refused, unlearnt
from daemon.spool import Spool
from daemon.store.attachments import Attachment

HEAD = 16  # bytes that tell what a file is
# Of a voice message that is written down unasked: some forty minutes. It is in memory meanwhile.
MOST_HEARD_BYTES = 5_000_000
UNSHOWN = "it cannot be shown to you: {why}"
UNWRITTEN = "what is said in it could not be written down: {why}"
TOO_LONG = "it is too long to be written down unasked; transcribe_audio does it"
LOST = "its bytes are lost"

if TYPE_CHECKING:
    from agent.tools.audio import Transcriber

_log = log.get("fetch")


@frozen
class Senses:
    """What the model takes, as known now, and who writes down what is said; None: nobody."""

    sees: Callable[[], Takes]
    transcriber: Transcriber | None = None


async def learn(spool: Spool, found: Attachment, senses: Senses) -> Learnt:
    """Look at the file, whose `name` is the one that the model is told, or have it written down."""
    if found.kind == "voice" and senses.transcriber is not None:
        return await _listen(spool, found, senses.transcriber)
    learnt = await trio.to_thread.run_sync(_look, spool, found, senses.sees())
    if learnt.view or learnt.remark:
        return learnt
    return Learnt(remark=unlearnt(found.kind, transcribes=senses.transcriber is not None))


async def _listen(spool: Spool, found: Attachment, transcriber: Transcriber) -> Learnt:
    if (found.size or 0) > MOST_HEARD_BYTES:
        return Learnt(remark=TOO_LONG)
    data = await trio.to_thread.run_sync(_read, spool, found.key or "")
    if data is None:
        return Learnt(remark=LOST)
    try:
        return Learnt(heard=await transcriber.transcribe(found.name, data, None))
    except ModelFailed as failure:
        _log.warning("a voice message was not written down", error=failure.error)
        return Learnt(remark=UNWRITTEN.format(why=failure.sentence.rstrip(".")))


def _look(spool: Spool, found: Attachment, takes: Takes) -> Learnt:
    """In a thread."""
    try:
        with spool.open(found.key or "") as file:
            return _seen(file, found, takes)
    except OSError as error:
        _log.error("a file of the spool cannot be read", error=error)
        return Learnt(remark=LOST)


def _seen(file: BinaryIO, found: Attachment, takes: Takes) -> Learnt:
    head = file.read(HEAD)
    if not sight.media_type(head):
        return Learnt()
    if (found.size or 0) > MOST_DOCUMENT:
        return Learnt(remark=UNSHOWN.format(why=f"it has more than {MOST_DOCUMENT:,} bytes"))
    try:
        view = sight.view(found.name, head + file.read(MOST_DOCUMENT))
    except NotSeen as why:
        return Learnt(remark=UNSHOWN.format(why=why))
    return _of(view, found, takes)


def _of(view: View, found: Attachment, takes: Takes) -> Learnt:
    if not takes.has(view):
        return Learnt(remark=refused(view))
    return Learnt(evolve(view, key=found.key or ""))


def _read(spool: Spool, key: str) -> bytes | None:
    try:
        with spool.open(key) as file:
            return file.read(MOST_HEARD_BYTES)
    except OSError as error:
        _log.error("a file of the spool cannot be read", error=error)
        return None
