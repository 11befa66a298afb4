"""Things to send for a play and the terminal: one of each kind, by a word.

send(ada, "photo", "what is this?")      # a small picture with a caption
send(ada, "edit", "what I meant")        # the last message of hers, in other words
send_path(ada, Path("report.pdf"), "sum this up")
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.demo.people import Person, user_origin
from daemon.demo.world import Message
from daemon.errors import FamulusError

SIDE: Final = 16  # pixels
VOICE: Final = b"OggS" + bytes(60)  # nobody listens


class SampleError(FamulusError):
    """Something cannot be sent."""


def picture(colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A small PNG of one colour."""
    row = b"\0" + bytes(colour) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _photo(person: Person, words: str) -> None:
    person.sends_photo(picture(), caption=words)


def _album(person: Person, words: str) -> None:
    pictures = [("photo", picture(colour)) for colour in ((200, 30, 30), (30, 30, 200))]
    person.sends_album(pictures, caption=words)


def _document(person: Person, words: str) -> None:
    person.sends_document(b"one two three\n", "notes.txt", caption=words)


def _voice(person: Person, _words: str) -> None:
    person.sends_voice(VOICE)


def _sticker(person: Person, words: str) -> None:
    person.sends_sticker(words or "\U0001f44d")


def _location(person: Person, _words: str) -> None:
    person.sends_location(52.520008, 13.404954)


def _contact(person: Person, words: str) -> None:
    person.sends_contact(words or "Bob", "+4930123456")


def _forward(person: Person, words: str) -> None:
    person.forwards(user_origin("Bob"), words or "It rains.")


def _reply(person: Person, words: str) -> None:
    person.replies(_last(person, from_bot=True), words)


def _edit(person: Person, words: str) -> None:
    person.edits(_last(person, from_bot=False), words)


KINDS: Final[dict[str, Callable[[Person, str], None]]] = {
    "photo": _photo,
    "album": _album,
    "document": _document,
    "voice": _voice,
    "sticker": _sticker,
    "location": _location,
    "contact": _contact,
    "forward": _forward,
    "reply": _reply,
    "edit": _edit,
}


def _last(person: Person, *, from_bot: bool) -> Message:
    """The last message of the chat, of the bot's or of the person's. Raises SampleError."""
    for message in reversed(person.bot.chat(person.chat_id or person.user_id)):
        if message.from_bot is from_bot:
            return message
    raise SampleError("there is no message yet that this could be about")


def send(person: Person, kind: str, words: str) -> None:
    """Send something of a kind in KINDS, with these words. Raises SampleError."""
    KINDS[kind](person, words)


def send_path(person: Person, path: Path, caption: str = "") -> None:
    """Send a file of the host as a photo if it is a picture, else as a document.

    Raises SampleError if it cannot be read.
    """
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise SampleError(f"{path} cannot be read: {error.strerror}") from error
    if data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        person.sends_photo(data, caption=caption)
    else:
        person.sends_document(data, path.name, caption=caption)
