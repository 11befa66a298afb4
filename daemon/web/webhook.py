"""The intake by webhook: Telegram posts updates to us, and we see to it that it can.

It takes the poll's place, with the same inbox behind it. While it runs it tells Telegram where we
are, looks now and then whether Telegram still knows, and asks itself, over its own address, whether
it answers. That question feeds the watchdog: a quiet chat is no reason for a restart, and a server
that has stopped answering is one.

The poll's offset is forgotten when the webhook is set. Updates come in any order here, so no number
says which have been received; a later poll begins with whatever Telegram still has, and what the
inbox knows is not kept twice.
"""

from __future__ import annotations

import math
import random
import re
import sqlite3
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

import httpx
import trio
from attrs import define, field

from daemon import log
from daemon.chat.intake import CHANNEL
from daemon.config import Server
from daemon.config import Webhook as Settings
from daemon.errors import Fatal
from daemon.store import inbox
from daemon.store.db import Database
from daemon.telegram.api import ApiError, BotApi, Refused, RefusedToken
from daemon.telegram.poll import Pause, after_failure
from daemon.telegram.types import ALLOWED_UPDATES, Json

SELF_EVERY: Final = 20.0  # seconds between two questions to ourselves
SELF_TIMEOUT: Final = 5.0
LOOK_EVERY: Final = 300.0  # seconds between two looks at what Telegram knows
REFUSED_DELAY: Final = 60.0
SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")

_log = log.get("webhook")


def after_refusal(error: ApiError, failures: int, chance: float) -> Pause:
    """What becomes of the intake after Telegram has not taken the webhook `failures` times."""
    if isinstance(error, Refused) and not isinstance(error, RefusedToken):
        return Pause(f"Telegram refuses the webhook: {error.description}", REFUSED_DELAY)
    return after_failure(error, failures, chance)


def state_of(info: Json, url: str, since: float) -> str:
    """The state in words, by what getWebhookInfo says; "" if Telegram knows another webhook.

    An error from before `since`, in Unix seconds, is history.
    """
    if info.get("url") != url:
        return ""
    at = info.get("last_error_date")
    if isinstance(at, int | float) and at >= since:
        return f"Telegram cannot reach the webhook: {str(info.get('last_error_message'))[:200]}"
    return "listening"


@define
class Webhook:
    """Receives for one bot. `wake`, `show` and `resume` are as of `Poll`.

    `last_answer` is the time, on trio's clock, of the last update or answer of our own.
    """

    database: Database
    api: BotApi
    account: str
    settings: Settings
    server: Server
    wake: Callable[[], None]
    show: Callable[[str], None]
    name: str = "webhook"
    last_answer: float | None = None
    base_url: str = ""
    _state: str = "starting"
    _secret: str = field(default="", repr=False)
    _resume: trio.Event = field(factory=trio.Event)

    def resume(self, token: str) -> None:
        """Tell Telegram anew, with `token` and the secret as it is now."""
        self.api.token = token
        self._resume.set()
        self._resume = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Listen for ever; ready from then on, whether or not Telegram can be told."""
        await trio.to_thread.run_sync(self._read_secret)
        web = await trio.to_thread.run_sync(import_module, "daemon.web.server")
        app = await trio.to_thread.run_sync(self._app)
        async with web.listening(app, self.server.listen) as self.base_url:
            _log.info("listening", url=self.base_url)
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_ourselves)
                await self._keep_set()
        raise AssertionError("unreachable: the webhook is kept set for ever")

    def _app(self) -> Any:  # noqa: ANN401 -- starlette is imported here and not before
        from daemon.web import app  # noqa: PLC0415

        path = unquote(urlsplit(self.settings.url).path) or "/"
        hook = app.Webhook(path, lambda: self._secret, self.receive)
        return app.make_app(hook, self._is_well)

    def _read_secret(self) -> None:
        secret = self.settings.secret.reveal()
        if not SECRET.fullmatch(secret):
            raise Fatal(
                "telegram.webhook.secret is not one that Telegram takes",
                "use 1 to 256 letters, digits, _ and -, such as: openssl rand -hex 32",
            )
        self._secret = secret

    async def receive(self, update: Json) -> None:
        """Commit one update. Raises what the database raises; then it is not here."""
        new = await self.database.write(
            inbox.receive, CHANNEL, self.account, [update], None, time.time()
        )
        self.last_answer = trio.current_time()
        if new:
            self.wake()

    async def _is_well(self) -> bool:
        """Whether the database can be read, without which nothing can be kept."""
        try:
            await self.database.read(inbox.next_offset, CHANNEL, self.account)
        except sqlite3.Error as error:
            _log.error("the database cannot be read", error=error)
            return False
        return True

    # Telegram's side.

    async def _keep_set(self) -> NoReturn:
        failures = 0
        while True:
            resume = self._resume
            try:
                await self._set()
                failures = 0
                await self._while_set(resume)
            except ApiError as error:
                failures += 1
                pause = after_refusal(error, failures, random.random())  # noqa: S311
                _log.warning("webhook not set", state=pause.state, retry_in=pause.delay)
                await self._pause(pause, resume)

    async def _set(self) -> None:
        """Tell Telegram where we are. What waits there is kept, and comes by the new way."""
        await trio.to_thread.run_sync(self._read_secret)
        params = {
            "url": self.settings.url,
            "secret_token": self._secret,
            "max_connections": self.settings.max_connections,
            "allowed_updates": ALLOWED_UPDATES,
        }
        await self.api.call("setWebhook", params)
        await self.database.write(inbox.forget_offset, CHANNEL, self.account)
        _log.info("webhook set", url=self.settings.url)
        self._state = "listening"

    async def _while_set(self, resume: trio.Event) -> None:
        """Return when it has to be set again: all is mended, or somebody has set another."""
        while not await self._told_within(LOOK_EVERY, resume):
            info = await self.api.call("getWebhookInfo", {})
            known = info if isinstance(info, dict) else {}
            self._state = state_of(known, self.settings.url, time.time() - LOOK_EVERY)
            if not self._state:
                _log.warning("Telegram was given another webhook", url=known.get("url"))
                return

    async def _told_within(self, seconds: float, resume: trio.Event) -> bool:
        with trio.move_on_after(seconds):
            await resume.wait()
            return True
        return False

    async def _pause(self, pause: Pause, resume: trio.Event) -> None:
        self._state = pause.state
        self.show(pause.state)
        await self._told_within(math.inf if pause.delay is None else pause.delay, resume)

    # Our own.

    async def _ask_ourselves(self) -> NoReturn:
        """Ask over our own address whether we answer, and say the state if we do."""
        async with httpx.AsyncClient(trust_env=False, timeout=SELF_TIMEOUT) as client:
            while True:
                problem = await self._problem(client)
                if problem:
                    # Not shown by `show`: it is what the watchdog must not be fed with.
                    _log.error("the webhook does not answer itself", problem=problem)
                else:
                    self.last_answer = trio.current_time()
                    self.show(self._state)
                await trio.sleep(SELF_EVERY)

    async def _problem(self, client: httpx.AsyncClient) -> str:
        try:
            with trio.fail_after(2 * SELF_TIMEOUT):
                answer = await client.get(f"{self.base_url}/health")
        except (httpx.HTTPError, trio.TooSlowError) as error:
            return type(error).__name__
        return "" if answer.is_success else f"status {answer.status_code}"
