"""Several files as albums, which Telegram shows as one message each: pure.

Files that come one after another share an album if Telegram lets their kinds stand together; so the
order is kept. What it refuses as an album is sent one by one, since it does not say what became of
the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import field, frozen

from daemon.store.outbox import Draft
from daemon.store.outbox_files import Kept
from daemon.store.sending import Part
from daemon.telegram import media

MOST_IN_ALBUM: Final = 10
# Of all its files. What a single one may have is promised; what a request may have is not.
MOST_BYTES: Final = media.DOCUMENT_BYTES
# What may stand in one album: pictures with films, and documents and music each by themselves.
COMPANY: Final = {
    media.PHOTO: "seen",
    media.VIDEO: "seen",
    media.DOCUMENT: "read",
    media.AUDIO: "heard",
}
METHODS: Final = {name: method for method, name in media.FIELDS.items()}


@frozen
class Outgoing:
    """A file that lies in the spool, and the words for it, in messages of `text` and `entities`.

    The first of them stands below the file; the others come after it. `note` says why a picture is
    not shown as one.
    """

    method: str
    kept: Kept
    size: int
    words: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    note: str = ""


def drafts(files: Iterable[Outgoing]) -> list[Draft]:
    """What shows these files in a chat, in their order, each once."""
    found = []
    for group in grouped(files):
        found.append(_single(group[0]) if len(group) == 1 else _album(group))
        quiet = {"link_preview_options": {"is_disabled": True}}
        found += [Draft("sendMessage", {**more, **quiet}) for more in group[-1].words[1:]]
    return found


def grouped(files: Iterable[Outgoing]) -> list[list[Outgoing]]:
    """The files that go together. Words that come after a file end its album."""
    groups: list[list[Outgoing]] = []
    for file in files:
        if groups and _joins(groups[-1], file):
            groups[-1].append(file)
        else:
            groups.append([file])
    return groups


def _joins(group: Sequence[Outgoing], file: Outgoing) -> bool:
    last = group[-1]
    company = COMPANY.get(file.method)
    return (
        company is not None
        and company == COMPANY.get(last.method)
        and len(last.words) <= 1
        and len(group) < MOST_IN_ALBUM
        and sum(each.size for each in group) + file.size <= MOST_BYTES
    )


def _single(file: Outgoing) -> Draft:
    return Draft(file.method, _caption(file), file.kept.key, file.kept.name)


def _album(files: Sequence[Outgoing]) -> Draft:
    names = media.parameters(media.ALBUM, len(files))
    items = [
        {"type": media.FIELDS[file.method], "media": f"attach://{name}", **_caption(file)}
        for name, file in zip(names, files, strict=True)
    ]
    first, *more = (file.kept for file in files)
    return Draft(media.ALBUM, {"media": items}, first.key, first.name, tuple(more))


def _caption(file: Outgoing) -> dict[str, Any]:
    if not file.words:
        return {}
    first = file.words[0]
    marks = first.get("entities")
    return {"caption": first["text"], **({"caption_entities": marks} if marks else {})}


def one_by_one(part: Part) -> list[Draft]:
    """What shows the files of an album as messages of their own."""
    return [
        Draft(METHODS[item["type"]], _own(item), kept.key, kept.name)
        for item, kept in zip(part.params["media"], part.files, strict=True)
    ]


def _own(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in {"type", "media"}}
