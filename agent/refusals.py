"""What a provider's refusal says about the pictures and documents of a request. Pure.

Providers have no code for it, so their words are read: some say that the model takes no such thing,
which is true of the next request as well, and others that this one is broken or too large. Either
way the same request may pass without it, and a person is answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import evolve

from agent.parts import Takes
from agent.sight import PDF
from agent.transcript import View

# Refusals that are about what a message has beside text ...
_ABOUT: Final = re.compile(
    r"image|picture|vision|modal|\bpdf\b|\bfiles?\b|document|content type|unknown variant"
    r"|content\S* must be a string|mmproj",
    re.IGNORECASE,
)
# ... those of them after which no other would fare better ...
_NEVER: Final = re.compile(
    r"(not|n't) (currently )?support|only supported by|unknown variant|must be a string|mmproj"
    r"|no endpoints found|not (a )?(multi-?modal|vision)|at most 0 |not enabled|text[- ]only"
    r"|(unsupported|invalid) content type|missing data required|invalid value: '(file|image_url)'",
    re.IGNORECASE,
)
# ... but not those that are about the one that was sent, and those that are about documents.
_THIS_ONE: Final = re.compile(
    r"format|corrupt|could not (process|decode)|valid image|exceed|dimension|too (large|big|many)",
    re.IGNORECASE,
)
_OF_DOCUMENTS: Final = re.compile(r"\bpdf\b|\bfiles?\b|document", re.IGNORECASE)
_NAMED: Final = re.compile(r"(?:value:|variant) ['`\"](file|image_url)")
_OF_IMAGES: Final = re.compile(r"image|picture|vision", re.IGNORECASE)
# Statuses of refusals; 404 is one provider's word for "no such model takes images".
TOO_LARGE: Final = 413
_REFUSALS: Final = frozenset({400, 404, TOO_LARGE, 415, 422})
_FAULT: Final = 500  # what servers of one's own say instead


def concerns(status: int | None, words: str) -> bool:
    """Whether a refusal may be about what was shown: the same without it may well pass."""
    if status in _REFUSALS:
        return status == TOO_LARGE or _ABOUT.search(words) is not None
    return status in {_FAULT, _FAULT + 1} and bool(_ABOUT.search(words) and _NEVER.search(words))


def corrected(taken: Takes, sent: Iterable[View], words: str) -> Takes:
    """What a model takes, now that its provider has refused these views with these words."""
    if not _NEVER.search(words) or _THIS_ONE.search(words):
        return taken
    kinds = {view.media == PDF for view in sent}
    if kinds == {True} or (True in kinds and _is_of_documents(words)):
        return evolve(taken, documents=False)
    return evolve(taken, images=False)


def _is_of_documents(words: str) -> bool:
    if found := _NAMED.search(words):
        return found[1] == "file"
    return bool(_OF_DOCUMENTS.search(words)) and not _OF_IMAGES.search(words)
