"""The daemon: the whole process on one page.

Every long-lived task is started here, in the order in which each needs the ones before it: first
what answers questions about us, then what sends, then what works, then what routes, and last what
lets anything in. They all live in one nursery. Stopping goes the other way round: the intake ends
first, turns stop at their next journal point, sends in flight arrive, and then the nursery is
cancelled. Whatever does not make it within `shutdown_grace` is found in its rows at the next start.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, evolve, field

from agent.fallback import Models
from agent.ports import TurnState
from daemon import (
    control,
    host,
    initiative,
    log,
    models,
    sidecar,
    statelock,
    supervise,
    upkeep,
)
from daemon.admitting import admit
from daemon.chat import approvals
from daemon.chat.access import NAME, access_of
from daemon.chat.commands import MENUS
from daemon.chat.compaction import Compactor, Means
from daemon.chat.fetching import Fetcher
from daemon.chat.forgetting import Forgetter
from daemon.chat.lanes import Lanes
from daemon.chat.learning import Senses
from daemon.chat.router import Router
from daemon.chat.sizing import ByWindow, Sizing
from daemon.codegate import CodeGate
from daemon.codewatch import CodeWatch
from daemon.config import Config, load
from daemon.errors import FamulusError
from daemon.once import Once
from daemon.people_verbs import register
from daemon.report import Report
from daemon.schedule.run import Scheduler
from daemon.shelf import Shelf
from daemon.sidecar import Sidecar
from daemon.spool import Spool
from daemon.statelock import Held
from daemon.store import boots, memory
from daemon.store.db import Database, open_database
from daemon.store.turnrow import TurnRow
from daemon.supervise import Health
from daemon.telegram.admins import Admins
from daemon.telegram.api import BotApi, bot_id, open_api, preload
from daemon.telegram.greet import greet
from daemon.telegram.live import Live
from daemon.telegram.outbox import Outbox
from daemon.telegram.poll import Intake, Poll
from daemon.version import VERSION
from executor.client import ExecutorClient, FileClient

if TYPE_CHECKING:
    from daemon.chat.turn import TurnRunner
    from daemon.mcpservers import McpServers

DATABASE = "famulus.db"
SPOOL = "spool"
# The share of the grace that turns may not use up: a send that is cut off needs a label later.
KEPT_FOR_SENDS = 0.25

_log = log.get("main")


def run(config: Config, config_path: Path, *, with_executor: bool) -> int:
    """Run the daemon until it is asked to stop; returns the process's exit code.

    Raises FamulusError for what ended it otherwise: `Fatal` for what no restart can cure.
    """
    preload()
    return trio.run(_main, config, config_path, with_executor)


async def _main(config: Config, config_path: Path, with_executor: bool) -> int:
    try:
        with statelock.hold(config.state_dir) as held, host.signals() as signals:
            async with _assemble(config, config_path, with_executor) as daemon:
                await daemon.live(held, signals)
    except* FamulusError as group:
        # A nursery wraps what ended it; the command line wants the reason itself.
        raise next(iter(supervise.leaves(group))) from group
    return 0


@asynccontextmanager
async def _assemble(
    config: Config, config_path: Path, with_executor: bool
) -> AsyncIterator[Daemon]:
    """Open what the daemon lives on, put its parts together, and close everything at the end."""
    token = config.telegram.token.reveal()
    account = bot_id(token)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(config.state_dir / DATABASE))
        base_url, tls = config.telegram.api_base_url, _tls(config)
        polling = await stack.enter_async_context(open_api(base_url, token, tls=tls))
        sending = await stack.enter_async_context(open_api(base_url, token, tls=tls))
        fetching = await stack.enter_async_context(open_api(base_url, token, tls=tls))
        model = models.build(config, tls)
        stack.push_async_callback(model.aclose)
        boot = await database.write(boots.begin, VERSION, time.time())
        apis = polling, sending, fetching
        yield Daemon(config, config_path, account, database, boot, *apis, model, with_executor)
        await database.finish(boots.end, boot, time.time())


@define
class Daemon:
    """The parts of the process, wired to each other; `live` is their life."""

    config: Config
    config_path: Path
    account: str
    database: Database
    boot: str
    polling: BotApi
    sending: BotApi
    fetching: BotApi
    model: Models
    with_executor: bool = False
    health: Health = field(factory=Health)
    watchdog: host.Watchdog = field(factory=host.Watchdog.from_environment)
    code: CodeWatch = field(factory=CodeWatch)
    executor: CodeGate = field(init=False)
    sidecar: Sidecar | None = field(init=False)
    turns: Once[TurnRunner] = field(init=False)
    mcp: McpServers | None = field(default=None, init=False)
    spool: Spool = field(init=False)
    shelf: Shelf = field(init=False)
    outbox: Outbox = field(init=False)
    shows: Live = field(init=False)
    lanes: Lanes = field(init=False)
    router: Router = field(init=False)
    admins: Admins = field(init=False)
    fetcher: Fetcher = field(init=False)
    poll: Intake = field(init=False)
    report: Report = field(init=False)
    compactor: Compactor = field(init=False)
    forgetter: Forgetter = field(init=False)
    sizing: Sizing = field(init=False)
    scheduler: Scheduler = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.turns = Once(self._equip)
        self.sidecar = Sidecar.of(config.executor) if self.with_executor else None
        self.executor = CodeGate(ExecutorClient(config.executor.socket), self.code, self.sidecar)
        if config.mcp:
            from daemon.mcpservers import McpServers  # noqa: PLC0415 -- only where there are any

            self.mcp = McpServers.of(config.mcp, self.health, config.state_dir)
        self.spool = Spool(config.state_dir / SPOOL)
        self.shelf = Shelf(config.agent.dir, config.skills_in_jobs, tariff=config.tariff)
        sent_by = self.sending.call
        self.outbox = Outbox(self.database, self.boot, sent_by, self.spool, over=self._over)
        self.shows = Live(self.database, self.outbox, config.telegram.streaming)
        places = config.agent.concurrent_turns
        self.lanes = Lanes(self.database, places, self._run_turn, self.outbox.wake, self._over)
        self.scheduler = initiative.scheduler(self)
        self.sizing = ByWindow(config.sizes, self.model)
        self.compactor = Compactor(
            self.database, self.boot, self._means, self.sizing.sure, self.outbox.wake
        )
        senses = Senses(self.model.sees, self.model if config.model.transcription else None)
        self.fetcher = Fetcher(
            self.database, self.fetching, self.spool, self.files, self.lanes.put, senses
        )
        self.forgetter = Forgetter(self.database, self.files, self.outbox.wake)
        self.router = self._router()
        self.admins = Admins(
            self.database, sent_by, self.account, lambda: self.router.current.asks_admins
        )
        self.poll = self._intake()
        seen = self.health, self.lanes, self.poll, self.code
        self.report = Report(self.database, *seen, config.model.name, self.shelf)
        if self.mcp is not None:
            self.report.mcp = self.mcp.lines

    def _intake(self) -> Intake:
        telegram, told = self.config.telegram, (self.router.wake, self._intake_state)
        if telegram.mode == "poll" or telegram.webhook is None:
            return Poll(self.database, self.polling, self.account, telegram.poll_timeout, *told)
        from daemon.web.webhook import Webhook  # noqa: PLC0415 -- for those who want it

        server = self.config.server
        return Webhook(self.database, self.polling, self.account, telegram.webhook, server, *told)

    def _router(self) -> Router:
        config = self.config
        return Router(
            self.database,
            self.account,
            access_of(config.telegram),
            self.lanes,
            self.outbox.wake,
            self._report_lines,
            config.agent.while_busy,
            compact=self.compactor.look,
            tariff=config.tariff,
            owner=str(config.telegram.owner_id or ""),
            said=self.shows.said,
            regranted=self._regranted,
            fetch=self.fetcher.wake,
            models=config.model_names,
            forget=self.forgetter.wake,
            discard=self.outbox.discard,
            schedule=self.scheduler.wake,
        )

    def _regranted(self) -> None:
        self.admins.wake()

    def _over(self, turn_id: int | None) -> None:
        self.scheduler.over(turn_id)

    async def _run_turn(self, turn: TurnRow) -> TurnState:
        return await (await self.turns.get()).run(turn)

    async def _means(self) -> Means:
        config = self.config
        turns = await self.turns.get()
        return Means(
            self.model,
            config.model.name,
            turns,
            config.tariff,
            config.agent.zone,
            memory.renew_snapshot,
            turns.sticky,
        )

    async def _show_prompt(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to the control socket's `prompt`."""
        return await (await self.turns.get()).preview().verb(request)

    async def _jobs(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to the control socket's `jobs`."""
        from daemon import jobs_verbs  # noqa: PLC0415  (for who uses it)

        return await jobs_verbs.answer(self.router, request, jobs_verbs.MOST_AT_ONCE)

    def _equip(self) -> TurnRunner:
        from daemon import equip  # noqa: PLC0415  (see there)

        return equip.turn_runner(self)

    # --- Life ---

    async def live(self, held: Held, signals: host.Signals) -> None:
        """Run until a signal asks us to stop. Raises what the supervisor lets through."""
        if problem := self.watchdog.problem(self.config.telegram.poll_timeout):
            _log.warning("the watchdog is too quick", problem=problem)
        async with trio.open_nursery() as services:
            async with trio.open_nursery() as intake:
                # From the first moment on: a start that does not get on must end, too.
                intake.start_soon(self._obey, signals, intake.cancel_scope)
                await self._start_services(services, held)
                await self._start_intake(intake)
                if self.mcp is not None:
                    self.mcp.start(services)
                host.notify_ready("polling")
                _log.info("ready", version=VERSION, account=self.account, boot=self.boot)
            await self._wind_up()
            services.cancel_scope.cancel()

    async def _start_services(self, nursery: trio.Nursery, held: Held) -> None:
        """Everything that works on what is in the database, in order of need."""
        verbs = control.Control()
        verbs.register("status", self.report.verb)
        verbs.register("prompt", self._show_prompt)
        verbs.register("skills", self.shelf.verb)
        console = approvals.Console(self.database, self.lanes.put, self.outbox.wake)
        verbs.register("approvals", console.list)
        verbs.register("answer", console.answer)
        register(verbs, self.router)
        verbs.register("jobs", self._jobs)
        await self._start(nursery, "control", control.serve, verbs, held, ready=True)
        await self._start(nursery, "admission", admit, self.database, self.router, ready=True)
        if self.sidecar is not None:
            run = partial(supervise.supervise, policy=sidecar.POLICY, health=self.health)
            nursery.start_soon(run, "executor", self.sidecar.run)
        await self._start(nursery, "outbox", self.outbox.run, ready=True)
        await self._start(nursery, "previews", self.shows.run)
        await upkeep.sweep_spool(self.database, self.spool)
        await self.shelf.load()
        await self._start(nursery, "lanes", self.lanes.run, ready=True)
        await self._start(nursery, "files", self.fetcher.run)
        await self._start(nursery, "compaction", self.compactor.run)
        await self._start(nursery, "forgetting", self.forgetter.run)
        await self._start(nursery, "model windows", self.model.learn)
        await self._start(nursery, "schedule", self.scheduler.run, ready=True)
        await self._start(nursery, "upkeep", upkeep.run, self.database)
        if self.config.heartbeat.every_seconds:
            await self._start(nursery, "heartbeat", initiative.heartbeat(self).run)
        await self._start(nursery, "executor watch", self.code.run, self.executor.status)

    def files(self, workspace: str) -> FileClient:
        return FileClient(self.executor, workspace)

    async def _start_intake(self, nursery: trio.Nursery) -> None:
        """What lets updates in: the router, and then the poll or the webhook."""
        await self._start(nursery, "administrators", self.admins.run, ready=True)
        await self._start(nursery, "router", self.router.run)
        await self._start(nursery, self.poll.name, self.poll.run, ready=True)
        nursery.start_soon(greet, self.sending, MENUS, self._named, self._called)

    async def _start(
        self,
        nursery: trio.Nursery,
        name: str,
        fn: Callable[..., Awaitable[object]],
        *args: object,
        ready: bool = False,
    ) -> None:
        await nursery.start(
            partial(supervise.supervise, health=self.health, reports_ready=ready), name, fn, *args
        )

    async def _obey(self, signals: host.Signals, intake: trio.CancelScope) -> None:
        """Reload at SIGHUP; end the intake at the first SIGTERM or SIGINT."""
        async for event in signals:
            if event is host.Event.STOP:
                intake.cancel()
                return
            host.notify_reloading()
            await self._reload()
            host.notify_ready("polling")

    async def _wind_up(self) -> None:
        """Let turns and sends come to a good place, within `shutdown_grace` seconds in all."""
        host.notify_stopping("finishing what is under way")
        _log.info("stopping", running=self.lanes.board.running)
        until = trio.current_time() + self.config.shutdown_grace
        await self.lanes.close(self.config.shutdown_grace * (1 - KEPT_FOR_SENDS))
        await self.outbox.close(max(0.0, until - trio.current_time()))

    async def _reload(self) -> None:
        """Read the token anew (the one thing that may change under us), and try the sandbox."""
        if self.sidecar is not None:
            self.sidecar.reload()
        self.code.want()
        await self.shelf.load()
        try:
            token = load(self.config_path).telegram.token.reveal()
        except FamulusError as error:
            _log.error("reload failed; going on as before", cause=error.cause, remedy=error.remedy)
            return
        if bot_id(token) != self.account:
            _log.error("the new token is another bot's; restart to become it")
            return
        self.sending.token = self.fetching.token = token
        self.poll.resume(token)
        await self.outbox.resume()
        _log.info("reloaded")

    # --- Between the parts ---

    def _intake_state(self, state: str) -> None:
        """The intake is alive and in this state: the only thing that feeds the watchdog."""
        self.health.note(self.poll.name, state)
        self.watchdog.feed(state)

    def _report_lines(self) -> list[str]:
        return self.report.lines()

    def _named(self, username: str) -> None:
        self.router.username = username

    def _called(self, name: str) -> None:
        """What people see as the bot's name, which it answers to in groups."""
        called = frozenset({name, NAME}) - {""}
        self.router.access = evolve(self.router.access, called=called)


def _tls(config: Config) -> ssl.SSLContext | None:
    """One context for all our clients, if any of them needs one: it costs 20 ms and 1 MB."""
    urls = (config.telegram.api_base_url, *models.addresses(config))
    return ssl.create_default_context() if any(url.startswith("https:") for url in urls) else None
