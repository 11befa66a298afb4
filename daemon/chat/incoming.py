"""The files of a message, as they are named before anything of them has been fetched: pure."""

from __future__ import annotations

from collections.abc import Callable

from daemon.chat.fields import Fields, line
from daemon.chat.filenames import plain_name
from daemon.sizes import human
from daemon.store.attachments import File

NAME_LENGTH = 80
LONGEST_ID = 500  # characters; Telegram's have some 80

# The kinds in the order in which they are looked for: an animation is also sent as a document.
NAMES = {
    "live_photo": "photo.jpg",
    "photo": "photo.jpg",
    "animation": "animation.mp4",
    "video": "video.mp4",
    "video_note": "video-message.mp4",
    "audio": "audio.mp3",
    "voice": "voice.ogg",
    "document": "document",
}


def files_of(raw: Fields, replied: str = "") -> tuple[File, ...]:
    """The file of a message, which has at most one; `replied` is its number, if not its own."""
    for kind in NAMES:
        found = _found(kind, raw)
        if 0 < len(file_id := found.text("file_id")) <= LONGEST_ID:
            return (_file(kind, file_id, found, replied),)
    return ()


def _found(kind: str, raw: Fields) -> Fields:
    """The file of this kind. Of a live photo the picture, which can be looked at."""
    match kind:
        case "photo":
            return _largest(raw)
        case "live_photo":
            return _largest(raw.inner(kind))
        case _:
            return raw.inner(kind)


def _largest(raw: Fields) -> Fields:
    """The largest size of a photo. Telegram puts it last, which is not promised."""
    sizes = [each for each in raw.objects("photo") if each.text("file_id")]
    return max(sizes, key=_pixels, default=Fields.of(None))


def _pixels(size: Fields) -> int:
    return (size.number("width") or 0) * (size.number("height") or 0)


def _file(kind: str, file_id: str, found: Fields, replied: str) -> File:
    size, told = found.number("file_size"), TOLD[kind](found)
    return File(
        kind,
        file_id,
        plain_name(found.text("file_name") or NAMES[kind]),
        f"{told} (with what they reply to)" if replied else told,
        size if size is not None and size >= 0 else None,
        found.text("file_unique_id"),
        replied,
    )


def _photo(_found: Fields) -> str:
    return "a photo"


def _live_photo(_found: Fields) -> str:
    return "a live photo"


def _document(found: Fields) -> str:
    return f"the file {_named(found)}{_sized(found)}" if _named(found) else f"a file{_sized(found)}"


def _audio(found: Fields) -> str:
    title, by = (line(found.text(each), NAME_LENGTH) for each in ("title", "performer"))
    piece = f' "{title}"' if title else ""
    artist = f" by {by}" if by else ""
    return f"an audio file{piece}{artist}{_long(found)}"


def _voice(found: Fields) -> str:
    return f"a voice message{_long(found)}"


def _video(found: Fields) -> str:
    name = _named(found)
    return f"a video{f', {name}' if name else ''}{_long(found)}"


def _video_note(found: Fields) -> str:
    return f"a video message{_long(found)}"


def _animation(found: Fields) -> str:
    return f"an animation{_long(found)}"


def _named(found: Fields) -> str:
    return line(found.text("file_name"), NAME_LENGTH)


def _sized(found: Fields) -> str:
    size = found.number("file_size")
    return f", {human(size)}" if size else ""


def _long(found: Fields) -> str:
    """How long it plays."""
    seconds = found.number("duration") or 0
    return f", {seconds // 60}:{seconds % 60:02} long" if seconds > 0 else ""


TOLD: dict[str, Callable[[Fields], str]] = {
    "live_photo": _live_photo,
    "photo": _photo,
    "animation": _animation,
    "video": _video,
    "video_note": _video_note,
    "audio": _audio,
    "voice": _voice,
    "document": _document,
}


def sticker_words(raw: Fields) -> str:
    """A sticker as a word: the emoji that it stands for."""
    emoji, pack = line(raw.text("emoji"), 16), line(raw.text("set_name"), NAME_LENGTH)
    return f"[sticker{f' {emoji}' if emoji else ''}{f' of the set {pack}' if pack else ''}]"
