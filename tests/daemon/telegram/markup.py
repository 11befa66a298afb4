"""Documents for the tests of rendering: how they are made, written down, and read by Telegram."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import strategies as st

from daemon.telegram.parts import UNSEEN, Document, entities, units

MARKS = ("**", "*", "_", "`", "~~", "~", "***", "\\", "[", "](", "](http://e.org)", "![")
TRAPS = ("<b>", "</b>", "<br>", "<!-- c -->", "<div>\n", "&amp;", "$10 ", "~5", "[^1]", "[^1]: ")
NAMES = ("2*3*4", "__init__", "snake_case", "http://x.org ", "](javascript:x)", "](mailto:a@b.c)")
LINES = ("\n", "\n\n", "\r\n", "> ", ">", "- ", "1. ", "7) ", "# ", "    ", "  ", "\t", "---\n")
BLOCKS = ("```", "```py\n", "|a|b|\n|-|-|\n|c|d|\n", "|", "- [ ] ", "- [x] ", "](<http://a b>)")
WORDS = ("a", "word ", "a sentence. ", "0", "é", "好", "\x00")
# Of several characters, or units, that are shown as one.
CLUSTERS = ("\U0001f600", "e\u0301", "\u200d", "\U0001f468\u200d\U0001f469\u200d\U0001f467")
FRAGMENTS = st.sampled_from(
    (*MARKS, *TRAPS, *NAMES, *LINES, *BLOCKS, *WORDS, *CLUSTERS),
)
DOCUMENTS = st.lists(FRAGMENTS, max_size=60).map("".join)

_ONES = re.compile(UNSEEN.pattern.removesuffix("*"))
# What Telegram itself would read as a mark, a link or a command, if it stood in a text.
_MARKS = re.compile(r"[*_`~\[\]()|\\]")
_TYPES = {
    "bold": "Bold",
    "italic": "Italic",
    "strikethrough": "Strikethrough",
    "code": "Code",
    "blockquote": "BlockQuote",
}


def seen(text: str) -> str:
    """What one can see of a text."""
    return _ONES.sub("", text)


def written(whole: Document) -> str:
    """A document with its entities as tags: `a {bold}b{/}`."""
    tags: list[tuple[int, int, str]] = []
    for order, span in enumerate(whole.spans):
        value = f":{span.value}" if span.value else ""
        tags.append((span.start, order, f"{{{span.kind}{value}}}"))
        tags.append((span.end, -order - 1, "{/}"))
    text, shown = whole.text, ""
    at = 0
    for position, _, tag in sorted(tags):
        shown += text[at:position] + tag
        at = position
    return shown + text[at:]


class Telegram:
    """Telegram's own parser, in this process: TDLib."""

    def __init__(self) -> None:
        # There is no wheel for every machine; the tests' dependencies name it where there is.
        self._tdjson = pytest.importorskip("tdjson", reason="no TDLib for this machine")
        self._execute("setLogVerbosityLevel", new_verbosity_level=0)

    def _execute(self, kind: str, **fields: Any) -> dict[str, Any]:
        request = json.dumps({"@type": kind, **fields})
        answer: dict[str, Any] = json.loads(self._tdjson.td_execute(request.encode()))
        return answer

    def kept(self, part: Document) -> tuple[list[set[str]], list[set[str]]]:
        """What each unit of a part is covered with: as sent, and as Telegram has it."""
        sent = [_typed(each) for each in entities(part)]
        neutral = _MARKS.sub("x", part.text.replace("\t", " "))
        text = {"@type": "formattedText", "text": neutral, "entities": sent}
        found = self._execute("parseMarkdown", text=text)
        assert found["@type"] == "formattedText", found
        assert found["text"] == text["text"]
        size = units(part.text)
        return _cover(sent, size), _cover(found["entities"], size)


def _typed(entity: dict[str, Any]) -> dict[str, Any]:
    kind: dict[str, Any] = {"@type": f"textEntityType{_TYPES.get(entity['type'], '')}"}
    if entity["type"] == "pre":
        kind["@type"] += "PreCode" if "language" in entity else "Pre"
        kind |= {"language": entity["language"]} if "language" in entity else {}
    if entity["type"] == "text_link":
        kind = {"@type": "textEntityTypeTextUrl", "url": entity["url"]}
    place = {"offset": entity["offset"], "length": entity["length"]}
    return {"@type": "textEntity", **place, "type": kind}


def _cover(found: list[dict[str, Any]], size: int) -> list[set[str]]:
    cover: list[set[str]] = [set() for _ in range(size)]
    for each in found:
        kind = f"{each['type']['@type']} {each['type'].get('language', '')}"
        for unit in range(each["offset"], each["offset"] + each["length"]):
            cover[unit].add(kind)
    return cover
