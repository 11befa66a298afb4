"""Cookies by which a provider keeps a conversation at the machine that has its cache; no I/O.

They belong to a conversation, so the HTTP client keeps none: they are taken out of each answer,
kept by our host as rows, and sent with the next request of the same conversation, to the address
that gave them and to no other. Of what a cookie may say about itself, only that it ends counts.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterable
from typing import Final

from attrs import define, field

# A pair as it goes into a header; anything else is left out.
PAIR: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([\x21-\x3a\x3c-\x7e]*)\s*")
MOST: Final = 8  # cookies of one provider
LONGEST: Final = 1024  # characters of one


@define
class Jar:
    """The cookies of one conversation: a header's text by the address of a provider.

    `changed` names the addresses whose cookies are not those that were put in.
    """

    headers: dict[str, str] = field(factory=dict)
    changed: set[str] = field(factory=set)

    def take(self, address: str, lines: Iterable[str], now: float) -> None:
        """Take in the Set-Cookie lines of an answer; `now` is the time of day in seconds."""
        before = self.headers.get(address, "")
        after = merged(before, lines, now)
        if after != before:
            self.headers[address] = after
            self.changed.add(address)


def merged(header: str, lines: Iterable[str], now: float) -> str:
    """The text of a Cookie header after these Set-Cookie lines."""
    kept = dict(pair.split("=", 1) for pair in header.split("; ") if pair)
    for line in lines:
        pair, *attributes = line.split(";")
        found = PAIR.fullmatch(pair)
        if found is None or len(pair) > LONGEST:
            continue
        kept.pop(found[1], None)
        if not _is_over(attributes, now):
            kept[found[1]] = found[2]
    newest = list(kept.items())[-MOST:]
    return "; ".join(f"{name}={value}" for name, value in newest)


def _is_over(attributes: Iterable[str], now: float) -> bool:
    """Whether a cookie is sent only to end it. Max-Age goes before Expires."""
    said = dict(_attribute(each) for each in attributes)
    if "max-age" in said:
        return said["max-age"].startswith("-") or said["max-age"].strip("0") == ""
    return _is_past(said.get("expires", ""), now)


def _attribute(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip()


def _is_past(date: str, now: float) -> bool:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() <= now
    except (ValueError, OverflowError):
        return False
