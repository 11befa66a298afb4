"""Text that can be kept, sent and read: what comes from a model or a tool is first made such."""

from __future__ import annotations


def clean(text: str) -> str:
    """`text` without lone surrogates, which JSON can carry and neither UTF-8 nor SQLite can.

    Two halves of one character that met by joining are made that character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shorten(text: str, cap: int) -> str:
    """`text` in at most about `cap` characters: two thirds from its head, the rest its tail."""
    if len(text) <= cap:
        return text
    head, tail = cap * 2 // 3, cap - cap * 2 // 3
    return f"{text[:head]}\n[... {len(text) - cap} characters left out ...]\n{text[-tail:]}"
