"""What the server does to a message's text before a chat shows it.

Limits count Unicode code points after markup is read; entities count UTF-16 code units. As on the
official server, text is stripped, entities are clipped to it, and all but the first hundred are
dropped without a word. Of the parse modes only HTML is read: the rest is refused, not guessed.
"""

from __future__ import annotations

import html
import re
from typing import Any, TypeAlias

from daemon.demo.calls import ApiError

Entity: TypeAlias = dict[str, Any]

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_RAW_BYTES = 1 << 15
MAX_ENTITIES = 100

TAGS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "blockquote": "blockquote",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
}
_TOKEN = re.compile(r"<(/?)([a-zA-Z-]+)((?:\s[^<>]*)?)>|([^<]+)|(<)")
_HREF = re.compile(r"""\shref=["']?([^"'\s>]*)""")


def units(text: str) -> int:
    """Count UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


def carelessness(text: str, entities: list[Entity]) -> str:
    """Say what the server would put right in silence; "" when there is nothing.

    The bot is not told of it either, but what it meant is lost: worth knowing in a test.
    """
    if len(entities) > MAX_ENTITIES:
        return f"{len(entities)} entities, of which {MAX_ENTITIES} are kept"
    end = units(text)
    for entity in entities:
        if (
            entity["offset"] < 0
            or entity["length"] <= 0
            or entity["offset"] + entity["length"] > end
        ):
            return f"an entity outside of the text's {end} units: {entity}"
    return ""


def read_text(
    text: str, entities: list[Entity] | None, parse_mode: str, limit: int = MAX_TEXT
) -> tuple[str, list[Entity]]:
    """Give the text and entities that a chat shows; either may be empty. Raises ApiError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_RAW_BYTES:
        raise ApiError(400, "Bad Request: text is too long")
    if parse_mode:
        text, found = _parsed(text, parse_mode)
    else:
        found = sorted((dict(e) for e in entities or ()), key=lambda e: (e["offset"], -e["length"]))
    text, found = _stripped(text, found)
    if len(text) > limit:
        what = "message is too long" if limit == MAX_TEXT else "message caption is too long"
        raise ApiError(400, f"Bad Request: {what}")
    return text, found[:MAX_ENTITIES]


def _parsed(text: str, parse_mode: str) -> tuple[str, list[Entity]]:
    if parse_mode.lower() == "html":
        return _parse_html(text)
    if parse_mode.lower() in {"markdown", "markdownv2"}:
        raise ApiError(400, f"Bad Request: the demo server does not read {parse_mode}")
    raise ApiError(400, "Bad Request: unsupported parse_mode")


def _stripped(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    text = text.rstrip(" \n\t\r")
    first = entities[0]["offset"] if entities else units(text)
    lead = min(len(text) - len(text.lstrip(" \n\t\r")), first)
    text = text[lead:]
    end = units(text)
    return text, [kept for e in entities if (kept := _clipped(e, -lead, end)) is not None]


def _clipped(entity: Entity, shift: int, end: int) -> Entity | None:
    offset = entity["offset"] + shift
    length = min(entity["length"], end - offset)
    return {**entity, "offset": offset, "length": length} if offset >= 0 and length > 0 else None


def _parse_html(source: str) -> tuple[str, list[Entity]]:
    """Read Telegram's HTML. Raises ApiError for tags that do not match."""
    plain: list[str] = []
    opened: list[tuple[str, Entity]] = []
    entities: list[Entity] = []
    at = 0
    for token in _TOKEN.finditer(source):
        closing, tag, attributes, text, _stray = token.groups()
        if text is not None:
            plain.append(html.unescape(text))
            at += units(plain[-1])
        elif tag is None or tag.lower() not in TAGS:
            raise _bad_markup(f'Unsupported start tag "{tag or ""}"', source, token.start())
        elif not closing:
            opened.append((tag.lower(), _opened(tag.lower(), attributes, at)))
        else:
            entities.extend(_closed(opened, tag.lower(), at, source, token.start()))
    if opened:
        raise _bad_markup(f'Can\'t find end tag corresponding to start tag "{opened[-1][0]}"')
    return "".join(plain), sorted(entities, key=lambda e: (e["offset"], -e["length"]))


def _opened(tag: str, attributes: str, at: int) -> Entity:
    entity: Entity = {"type": TAGS[tag], "offset": at, "length": 0}
    if tag == "a" and (href := _HREF.search(attributes)):
        entity["url"] = html.unescape(href[1])
    return entity


def _closed(
    opened: list[tuple[str, Entity]], tag: str, at: int, source: str, position: int
) -> list[Entity]:
    if not opened or opened[-1][0] != tag:
        raise _bad_markup(f'Unmatched end tag, found "</{tag}>"', source, position)
    entity = opened.pop()[1]
    entity["length"] = at - entity["offset"]
    return [entity] if entity["length"] else []


def _bad_markup(what: str, source: str = "", position: int = 0) -> ApiError:
    where = f" at byte offset {len(source[:position].encode())}" if source else ""
    return ApiError(400, f"Bad Request: can't parse entities: {what}{where}")
