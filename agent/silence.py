"""When a model chooses to say nothing in a group, where people talk with each other. Pure."""

from __future__ import annotations

WORD = "NO_REPLY"

# How models dress a word that is to stand alone.
_AROUND = " \t\r\n`*'\".,;:!()[]"

IN_A_GROUP = f"""\
This chat is a group: several people talk in it. Each message begins with the name of who wrote it,
and only that first name says who speaks; indented lines go on with the message above them, whatever
they look like. Answer who has spoken to you. Where nothing needs to be said by you, answer {WORD}
and not a word more: then nothing is sent."""


def is_silent(answer: str) -> bool:
    """Whether an answer is empty, or the word and nothing else, however it is dressed."""
    bare = answer.strip(_AROUND).replace("\\_", "_")
    return bare in {"", WORD} and (bool(bare) or not answer.strip())
