"""What a chat is shown of one turn while it goes on, and when: pure, time as an argument.

A `Show` is told what happens in the turn (`text`, `began`, `ended`) and what became of what was
shown (`done`), and `next` says what to show now, or until when to leave it alone. It keeps the
newest alone: what comes between two previews is never shown. There are three ways:

- drafts, in private chats: the words so far, which fade after half a minute and so are sent again;
- edits: a first message (the placeholder) that is changed, and at last is changed into the answer;
- actions, "typing" and the like: in the other ways, too, as long as nothing else is to be seen.

A turn that is quick shows nothing at all.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import Final, TypeAlias

from attrs import Factory, define, frozen

from agent import activity
from agent.transcript import CallRequest
from daemon.telegram.previews import Fate

PATIENCE: Final = 0.7  # seconds of a turn in which nothing is shown
DRAFT_LIVES: Final = 30.0  # seconds, after which Telegram shows it no more
KEEP_ALIVE: Final = 20.0  # seconds after which a draft is sent again as it is
ACTION_EVERY: Final = 4.5  # seconds; one lasts five
RETRY: Final = 1.0  # seconds until there may be room again

# The answer by which a model says nothing; its beginning is not shown either.
SILENCE: Final = "NO_REPLY"
TYPING: Final = "typing"
ACTIONS: Final = {"send_file": "upload_document", "speak": "record_voice"}


class Way(Enum):
    DRAFTS = auto()
    EDITS = auto()
    ACTIONS = auto()


@frozen
class Frame:
    """A picture of the turn: its words so far, and a line about what it is doing."""

    text: str
    line: str = ""


@frozen
class ShowDraft:
    frame: Frame


@frozen
class Begin:
    """Send the placeholder."""

    frame: Frame


@frozen
class Edit:
    frame: Frame


@frozen
class Act:
    action: str


Step: TypeAlias = ShowDraft | Begin | Edit | Act


@define
class Show:
    """One turn, begun at `begun`. `kept` says that the words are in the transcript already."""

    way: Way
    begun: float
    said: str = ""
    kept: bool = False
    over: bool = False
    _calls: dict[int, tuple[str, str]] = Factory(dict)  # under way: the tool, and a line about it
    _shown: Frame | None = None
    _shown_at: float = -inf
    _has_message: bool = False
    _acted_at: float = -inf
    _not_before: float = 0.0

    # --- The turn ---

    def text(self, text: str) -> None:
        self.said, self.kept = text, False
        if not text:  # it is a message now, which has ended the draft or taken the placeholder
            self._shown, self._has_message = None, False

    def began(self, call_id: int, request: CallRequest) -> None:
        self._calls[call_id] = request.name, activity.line(request)
        self.kept = True

    def ended(self, call_id: int) -> None:
        self._calls.pop(call_id, None)

    @property
    def doing(self) -> str:
        """The line about the call that began last; '' while none is under way."""
        return self._newest[1]

    @property
    def frame(self) -> Frame | None:
        """What there is to be seen."""
        text = self.said.strip()
        if SILENCE.startswith(text):
            text = ""
        return Frame(text, self.doing) if text or self._calls else None

    # --- The chat ---

    def next(self, now: float, open_at: float) -> Step | float:
        """What to show, or when to ask again; `open_at` is when the chat takes a preview again."""
        if self.over:
            return inf
        if now < self.begun + PATIENCE:
            return self.begun + PATIENCE
        step, at = self._wanted(max(open_at, self._not_before))
        if step is not None and at <= now:
            return step
        if self._is_seen(now):
            return at
        acts_at = self._acted_at + ACTION_EVERY
        return Act(self._action) if acts_at <= now else min(at, acts_at)

    def done(self, step: Step, fate: Fate, now: float) -> None:
        """Take note of what became of a step."""
        if isinstance(step, Act):
            self._acted_at = now
            self.over = self.over or fate is Fate.OVER
        elif fate is Fate.SHOWN:
            self._shown, self._shown_at = step.frame, now
            self._has_message = self.way is Way.EDITS
        elif fate is Fate.GONE:
            self._shown, self._has_message = None, False
        elif fate is Fate.OVER:
            self.over = True
        else:
            self._not_before = now + RETRY

    def take(self, way: Way) -> None:
        """Go on in another way."""
        self.way, self._shown, self._not_before = way, None, 0.0

    def _wanted(self, open_at: float) -> tuple[Step | None, float]:
        """What should be seen, and from when on it can be."""
        frame = self.frame
        if frame is None or self.way is Way.ACTIONS:
            return None, inf
        if self.way is Way.DRAFTS:
            same_until = self._shown_at + KEEP_ALIVE if frame == self._shown else 0.0
            return ShowDraft(frame), max(open_at, same_until)
        if frame == self._shown:
            return None, inf
        return (Edit if self._has_message else Begin)(frame), open_at

    def _is_seen(self, now: float) -> bool:
        """Whether the chat shows anything of the turn."""
        if self.way is Way.EDITS:
            return self._has_message
        return self._shown is not None and now < self._shown_at + DRAFT_LIVES

    @property
    def _action(self) -> str:
        return ACTIONS.get(self._newest[0], TYPING)

    @property
    def _newest(self) -> tuple[str, str]:
        return next(reversed(self._calls.values()), ("", ""))
