"""What turns need of the process, put together for the first of them.

In a thread, and not at start: what only turns use (tools, zones, decimals, the web's client) takes
time to import, and a daemon that was just started should answer its poll first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.loop import Limits
from agent.model import OpenAIModel
from agent.request import ModelOptions
from agent.sizes import DEFAULT_WINDOW, Sizes
from agent.web.connect import Tls
from agent.web.fetch import Caps, Web
from agent.web.guard import Guard, parse_networks
from agent.web.searching import PROVIDERS, Engine
from daemon import log
from daemon.chat.journal import Wakes
from daemon.chat.memory import MemoryKeeper
from daemon.chat.mind import Mind, Voice
from daemon.chat.preview import Preview
from daemon.chat.sticky import Sticky
from daemon.chat.toolset import Toolset
from daemon.chat.turn import TurnRunner
from daemon.secret import SecretError
from daemon.shelf import Shelf, look
from daemon.store.db import Database
from daemon.supervise import Health
from daemon.telegram.markdown import reader
from executor.client import ExecutorClient

if TYPE_CHECKING:
    from agent.mcp.server import Server
    from daemon import config
    from daemon.main import Daemon

_log = log.get("equip")


def turn_runner(daemon: Daemon) -> TurnRunner:
    """The runner of all turns of this process."""
    agent = daemon.config.agent
    reader()  # imported here, and not with the first answer in the event loop
    return TurnRunner(
        daemon.database,
        daemon.boot,
        daemon.model,
        daemon.config.model.name,
        _toolset(daemon),
        _mind(daemon),
        Limits(agent.max_steps, agent.max_turn_seconds),
        Limits(agent.max_subagent_steps, agent.max_turn_seconds),
        Wakes(daemon.outbox.wake, daemon.lanes.put, daemon.lanes.dropped, daemon.scheduler.wake),
        lambda: daemon.lanes.closing,
        daemon.spool,
        daemon.config.tariff,
        daemon.sizing,
        daemon.compactor.look,
        Sticky(daemon.database, daemon.model),
        daemon.config.model_names,
        daemon.shows,
        richly=daemon.config.telegram.rich == "auto",
        booking_limits=daemon.config.booking_limits,
    )


async def shown_prompt(
    settings: config.Config, database: Database, asked: dict[str, Any]
) -> dict[str, Any]:
    """The answer to `famulus prompt` while no daemon runs."""
    return await preview(settings, database, await _recalled(settings)).verb(asked)


async def _recalled(settings: config.Config) -> tuple[Server, ...]:
    """The servers of the configuration with what they have listed last; none is started."""
    if not settings.mcp:
        return ()
    from daemon.mcpservers import McpServers  # noqa: PLC0415  (only where there are any)

    servers = McpServers.of(settings.mcp, Health(), settings.state_dir).servers.values()
    for each in servers:
        await each.recall()
    return tuple(servers)


def preview(
    settings: config.Config, database: Database, servers: tuple[Server, ...] = ()
) -> Preview:
    """What `famulus prompt` asks while no daemon runs: nothing is called, and no secret is read."""
    shelf = Shelf(settings.agent.dir, settings.skills_in_jobs, look(settings.agent.dir))
    voice = Voice(settings.agent.instructions, settings.agent.zone)
    web, tls = settings.web, Tls()
    toolset = Toolset(
        ExecutorClient(settings.executor.socket),
        database,
        servers,
        web=_web(web, tls) if web.enabled else None,
        engine=_engine(web, tls, "") if web.search else None,
        shelf=shelf,
        transcriber=_nobody() if settings.model.transcription else None,
        speaker=_nobody() if settings.model.speech else None,
    )

    async def sizes() -> Sizes:
        return settings.sizes(settings.model.context_window or DEFAULT_WINDOW)

    return Preview(database, Mind(database, voice, shelf), toolset, sizes)


def _nobody() -> OpenAIModel:
    """A model that is only looked at."""
    return OpenAIModel(ModelOptions("http://127.0.0.1", ""))


def _mind(daemon: Daemon) -> Mind:
    agent = daemon.config.agent
    voice = Voice(agent.instructions, agent.zone)
    keeper = MemoryKeeper(daemon.database, daemon.files)
    return Mind(daemon.database, voice, daemon.shelf, keeper)


def _toolset(daemon: Daemon) -> Toolset:
    servers = tuple(daemon.mcp.servers.values()) if daemon.mcp else ()
    web, tls = daemon.config.web, Tls()
    return Toolset(
        daemon.executor,
        daemon.database,
        servers,
        _web(web, tls) if web.enabled else None,
        search_engine(web, tls) if web.search else None,
        daemon.shelf,
        daemon.model if daemon.config.model.transcription else None,
        daemon.model if daemon.config.model.speech else None,
        daemon.model.sees,
    )


def _web(web: config.Web, tls: Tls) -> Web:
    """The client for pages. It keeps no connection open between two requests."""
    return Web(Guard(parse_networks(web.allow_private)), Caps(web.max_bytes, web.timeout), tls)


def search_engine(web: config.Web, tls: Tls) -> Engine | None:
    """The engine with its key; without one that can be read there is none.

    It could be read when the process was started. This is done for its first turn, and what is
    wrong by then is no reason to end the process.
    """
    try:
        key = web.search_key.reveal() if web.search_key is not None else ""
    except SecretError as error:
        _log.error("web_search is not offered", cause=error.cause, remedy=error.remedy)
        return None
    return _engine(web, tls, key)


def _engine(web: config.Web, tls: Tls, key: str) -> Engine:
    # Without a guard, since the owner says where it is; and without redirects, for the key's sake.
    client = Web(None, Caps(web.max_bytes, web.timeout, redirects=0), tls)
    return Engine(PROVIDERS[web.search], web.search_url, key, client)
