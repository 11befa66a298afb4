"""Which tools a turn is offered: one line a group, from what the daemon has.

A group that is not configured is not offered, so that nobody pays for its schemas. Tools are made
anew for each turn, as closures over its place: what a model writes can never name another chat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from attrs import field, frozen

from agent.mcp.server import Server
from agent.parts import Takes
from agent.tools.agents import agent_tools
from agent.tools.ask import ask_tools
from agent.tools.audio import Speaker, Transcriber, audio_tools, speech_tools
from agent.tools.clock import clock_tools
from agent.tools.code import code_tools
from agent.tools.files import file_tools
from agent.tools.history import history_tools
from agent.tools.mcp import mcp_tools
from agent.tools.memory import memory_tools
from agent.tools.notes import notes_tools
from agent.tools.registry import Registry, Tool
from agent.tools.schedule import schedule_tools
from agent.tools.skills import skill_tools
from agent.tools.sums import sums_tools
from agent.tools.view import view_tools
from agent.tools.web import web_tools
from agent.web.fetch import Web
from agent.web.searching import Engine
from daemon.chat import roles
from daemon.chat.records import Records
from daemon.shelf import Shelf
from daemon.store.db import Database
from daemon.store.journal import TurnPages
from daemon.store.values import Address
from executor.client import FileClient
from executor.file_client import Way

# Causes of turns that nobody waits for.
UNATTENDED = frozenset({"schedule", "heartbeat"})


def blind(_model: str) -> Takes:
    """Where no model is asked, none takes more than text."""
    return Takes()


@frozen
class Scope:
    """Whose turn it is: where it answers, which conversation it belongs to, what began it.

    `root` is what began the turn that began this one, if a turn did. `role` is that of the person
    whose turn it is; of several, the least. `zone` and `model` are chosen by the person and for the
    chat, '' where they are not; an appointment may have a model of its own, and be permitted no
    more than these `tools`. A `quiet` chat is not shown its answers while they are written.
    """

    address: Address
    conversation: str
    turn_id: int
    cause: str = "update"
    specialist: str = ""
    root: str = ""
    zone: str = ""
    model: str = ""
    role: str = roles.USER
    quiet: bool = False
    tools: frozenset[str] | None = None

    @classmethod
    def of(cls, turn_id: int, pages: TurnPages) -> Scope:
        began = pages.cause, pages.specialist, pages.root
        errand = pages.errand
        model = (errand and errand.model) or pages.model
        tools = None if errand is None or errand.tools is None else frozenset(errand.tools)
        chosen = pages.zone, model, pages.role
        whose = pages.address, pages.conversation, turn_id
        return cls(*whose, *began, *chosen, quiet=pages.quiet, tools=tools)

    @property
    def child(self) -> bool:
        """Whether another turn began it; such a turn begins none itself."""
        return self.cause == "child"

    @property
    def attended(self) -> bool:
        """Whether somebody is there who can be asked."""
        return UNATTENDED.isdisjoint({self.cause, self.root})

    @property
    def workspace(self) -> str:
        return self.address.workspace


@frozen
class Toolset:
    """Makes the tools of a turn; has what they need of the process."""

    executor: Way
    database: Database
    mcp: tuple[Server, ...] = ()
    web: Web | None = None
    engine: Engine | None = None
    shelf: Shelf = field(factory=Shelf)
    transcriber: Transcriber | None = None
    speaker: Speaker | None = None
    sees: Callable[[str], Takes] = blind  # what the model of a name takes besides text

    def registry(self, scope: Scope) -> Registry:
        return Registry.of(self._permitted(scope), attended=scope.attended)

    def _permitted(self, scope: Scope) -> Iterator[Tool]:
        """The tools of a role, or those of them that its file permits a specialist.

        If the file is gone, none.
        """
        specialist = self.shelf.holding.specialists.get(scope.specialist)
        in_group = scope.address.place.in_group
        for each in self._tools(scope):
            if not roles.may_use(scope.role, each.name, in_group=in_group):
                continue
            if scope.tools is not None and each.name not in scope.tools:
                continue
            if not scope.specialist or (specialist and specialist.may_use(each.name)):
                yield each

    def _model(self, scope: Scope) -> str:
        """The model that a specialist's file names, or the chat's; '' for the configured one."""
        specialist = self.shelf.holding.specialists.get(scope.specialist)
        return (specialist and specialist.model) or scope.model

    def _tools(self, scope: Scope) -> Iterator[Tool]:
        """All that there are for a turn. Those of others come last, since they change."""
        records = Records(self.database, scope.address.home, scope.turn_id)
        ours, foreign = list(self._ours(scope, records)), mcp_tools(self.mcp)
        yield from ours
        if not scope.child:
            known = [each.name for each in (*ours, *foreign)]
            yield from schedule_tools(records, known, may_book=scope.attended)
            if scope.attended:
                yield from ask_tools()
        yield from foreign

    def _ours(self, scope: Scope, records: Records) -> Iterator[Tool]:
        """Our own tools that need nobody who waits for the turn."""
        yield from clock_tools()
        yield from sums_tools()
        yield from code_tools(self.executor, scope.workspace, scope.conversation)
        files = FileClient(self.executor, scope.workspace)
        yield from file_tools(files)
        yield from view_tools(files, partial(self.sees, self._model(scope)))
        if self.transcriber is not None:
            yield from audio_tools(files, self.transcriber)
        if self.speaker is not None:
            yield from speech_tools(self.speaker)
        yield from skill_tools(self.shelf.holding.skills, self.shelf.in_jobs)
        yield from notes_tools(records)
        yield from memory_tools(records)
        if self.web is not None:
            yield from web_tools(self.web, self.engine)
        if not scope.child:
            yield from history_tools(records)
            yield from agent_tools(self.shelf.holding.purposes())
