"""What a session's next request is made of besides its tools: the system prompt and the entries.

A turn and `famulus prompt` both come here, so what is shown is what is sent. The memory in the
system prompt is a snapshot, which is made when a day, a conversation (`/new`) or what a compaction
left begins, and is then the same to the byte until the next of these: a change in the middle would
cost the provider's cached prefix, and the model wrote the files itself anyway.
"""

from __future__ import annotations

import datetime as dt
import time
import zoneinfo
from typing import Any

import trio
from attrs import evolve, field, frozen

from agent import context, memory, parts, silence
from agent.context import stamped, system_prompt
from agent.fitting import Gauge, bounded, request
from agent.ports import Opening
from daemon.chat.memory import MemoryKeeper
from daemon.chat.toolset import Scope
from daemon.shelf import Holding, Shelf
from daemon.store import journal
from daemon.store import memory as rows
from daemon.store.db import Database
from daemon.store.journal import TurnPages
from daemon.store.memory import Period, Snapshot
from daemon.store.values import Address

# How long files that could not be read are not asked for again by the same session, so that a host
# without an executor, or with a busy one, does not pay for a look with every message.
STALE_SECONDS = 15.0


@frozen
class Voice:
    """The owner's part: his instructions, and the zone that days are counted in."""

    instructions: str = ""
    zone: str = "UTC"

    def there(self, zone: str) -> Voice:
        """For somebody who has chosen a zone of their own; '' for those who have not."""
        return evolve(self, zone=zone) if zone else self

    def today(self, now: float | None = None) -> dt.date:
        at = time.time() if now is None else now
        return dt.datetime.fromtimestamp(at, zoneinfo.ZoneInfo(self.zone)).date()

    def system(
        self, holding: Holding, snapshot: str, today: dt.date, *, in_group: bool = False
    ) -> str:
        manners = [silence.IN_A_GROUP] if in_group else []
        sections = [*holding.sections(), *manners, snapshot]
        return system_prompt(self.instructions, today, self.zone, sections)

    def alone(self, holding: Holding, today: dt.date) -> str:
        """For a turn that knows nothing of the chat and begins no other."""
        sections = holding.sections()[:1] if holding.skills else []
        return system_prompt(self.instructions, today, self.zone, sections)


@frozen
class Mind:
    """Makes the system prompts of this process.

    Without a `keeper` no snapshot is made, and a preview shows the memory that was last known.
    """

    database: Database
    voice: Voice = field(factory=Voice)
    shelf: Shelf = field(factory=Shelf)
    keeper: MemoryKeeper | None = None
    stale_seconds: float = STALE_SECONDS
    # By session: what was shown while the files could not be read, and until when it serves.
    _stale: dict[str, tuple[Snapshot, float]] = field(factory=dict, init=False)

    async def system(self, scope: Scope, session_id: str) -> str:
        """The system prompt of a turn of the session; see `system_after`."""
        last = await self.database.read(rows.last_snapshot, session_id)
        return await self.system_after(last, scope, session_id)

    async def system_after(self, last: Snapshot, scope: Scope, session_id: str) -> str:
        """The system prompt of a turn whose session was shown `last` before.

        Makes the snapshot if the period has none yet. A turn with a lane of its own (a helper, a
        heartbeat) is shown what its session was shown last, and a specialist nothing of the chat.
        """
        voice = self.voice.there(scope.zone)
        today = voice.today()
        holding = self.shelf.holding
        if specialist := holding.specialists.get(scope.specialist):
            return evolve(voice, instructions=specialist.instructions).alone(holding, today)
        in_group = scope.address.place.in_group
        if not scope.conversation.startswith(f"{session_id}-"):
            return voice.system(holding, last.text, today, in_group=in_group)
        address, conversation = scope.address, scope.conversation
        period = Period(session_id, conversation, today.isoformat())
        text = last.of(period)
        if text is None and self.keeper is not None:
            text = await self._snapshot(period, address, today)
        return voice.system(holding, text or "", today, in_group=in_group)

    async def _snapshot(self, period: Period, address: Address, today: dt.date) -> str:
        """A snapshot for the period. One that could not be made of the files holds for a moment."""
        last, until = self._stale.get(period.session_id, (rows.NONE, 0.0))
        stale = last.of(period)
        if stale is not None and trio.current_time() < until:
            return stale
        text, old = await self._fresh(address, today)
        if old:
            until = trio.current_time() + self.stale_seconds
            self._stale[period.session_id] = Snapshot(period, text), until
            return text
        self._stale.pop(period.session_id, None)
        return await self.database.write(rows.keep_snapshot, period, text, time.time())

    async def look_again(self, address: Address) -> None:
        """Bring memory's rows up to date after work in the workspace, for search and for later."""
        if self.keeper is not None:
            await self.keeper.refresh(address, self.voice.today())

    async def upcoming(self, session_id: str) -> Upcoming | None:
        """The next request of a session as it stands now; nothing is kept. None: no session."""
        pages = await self.database.read(journal.read_upcoming, session_id)
        if pages is None:
            return None
        voice = self.voice.there(pages.zone)
        today = voice.today()
        period = Period(session_id, pages.conversation, today.isoformat())
        text = pages.memory.of(period)
        if text is None:
            text, _ = await self._fresh(pages.address, today)
        in_group = pages.address.place.in_group
        system = voice.system(self.shelf.holding, text, today, in_group=in_group)
        return upcoming(pages, voice, system)

    async def _fresh(self, address: Address, today: dt.date) -> tuple[str, bool]:
        """A snapshot made now, and whether it says that the files could not be read.

        Such a one is kept for nobody: it is the same to the byte until they can be.
        """
        if self.keeper is None:
            texts = await self.database.read(rows.texts, address, memory.shown(today))
            remark = ""
        else:
            texts, remark = await self.keeper.texts(address, today)
        return memory.snapshot(texts, today, remark), bool(remark)


@frozen
class Upcoming:
    """What a request is made of but for its tools, and whose it is."""

    scope: Scope
    system: str
    opening: Opening

    def shown(self, tools: list[dict[str, Any]], limit: int) -> dict[str, Any]:
        """For `famulus prompt`: the request with these tools, and how many tokens it may have."""
        gauge = Gauge(limit, self.opening.ratio)
        size = context.size(tools)
        messages = request(self.system, self.opening, size, gauge)
        tokens = gauge.tokens(context.tokens(context.size(messages) + size))
        return {"messages": parts.named(messages), "tools": tools, "estimated_tokens": tokens}


def upcoming(pages: TurnPages, voice: Voice, system: str) -> Upcoming:
    history, turn = (stamped(each, voice.zone) for each in (pages.history, pages.turn))
    opening = Opening(history, turn, pages.ran_seconds, pages.summary, bounded(pages.ratio))
    return Upcoming(Scope.of(0, pages), system, opening)
