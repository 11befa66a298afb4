"""The chat page's server: a page, its files, a stream of changes, and one way to do something.

It stands on 127.0.0.1, where every program of the machine and every page in the browser can knock.
So everything lies below a path that nobody can guess; a request must name the address that we
listen on (a foreign name that resolves to 127.0.0.1 does not); and what comes from another origin
is refused. The page may load nothing but its own files, and files from the chat come as downloads,
but for pictures and sound, so that none of them is ever run as a page.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import AsyncGenerator
from functools import cache, partial
from importlib.resources import files
from typing import Final, NoReturn
from urllib.parse import quote

import trio
from attrs import define, field

from daemon.demo.botapi import BotApiServer
from daemon.demo.changes import NeverHappened
from daemon.demo.http import Answer, Request, Response, Stream, serve
from daemon.demo.webacts import BadAct, perform, read_act
from daemon.demo.webview import Entries, difference, entries
from daemon.demo.world import StoredFile

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
ASSETS: Final = (
    *("page.html", "page.css", "message.css", "icon.svg"),
    *("app.js", "text.js", "message.js", "composer.js", "chats.js", "store.js"),
)
PAGE: Final = "page.html"

# Nothing from elsewhere, nothing inline; a picture that waits to be sent is a blob of the page's.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
GUARDS: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
)

# What a browser may show or play of a chat's files; anything else is only ever saved.
SHOWN: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
}
# The same where the first bytes name only the container.
RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}

# Previews and chat actions pass with time, without a call that would tell of it.
LOOK_EVERY: Final = 1.0
# Seconds without a word after which a comment shows whether the page is still there.
QUIET: Final = 15.0


@define(eq=False)
class ChatPage:
    """The page over one Bot API server. `about` are lines of the side panel, by their names.

    Who receives from `kill` kills the daemon and starts it again, and keeps `alive` true meanwhile
    to what is the case. Without it the page offers no such thing.
    """

    bot: BotApiServer
    about: dict[str, str] = field(factory=dict)
    kill: trio.MemorySendChannel[None] | None = None
    alive: bool = True
    key: str = field(factory=partial(secrets.token_urlsafe, 18), repr=False)
    origin: str = ""

    @property
    def url(self) -> str:
        """The address to open, key included."""
        return f"{self.origin}/{self.key}/"

    async def serve(
        self, *, port: int = 0, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Serve until cancelled; reports the address to open."""
        async with trio.open_nursery() as nursery:
            self.origin = await nursery.start(partial(serve, self.handle, port=port))
            task_status.started(self.url)
        raise AssertionError("a server ends only by cancellation")

    async def handle(self, request: Request) -> Answer:
        """Answer one request."""
        if refusal := self._refusal(request):
            return _plain(403, refusal)
        key, _, rest = request.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(key.encode(), self.key.encode()):
            return _plain(404, "The address is not whole: open the one that the demo printed.")
        if request.method == "POST":
            return await self._act(request) if rest == "act" else _plain(404, "not found")
        return self._get(rest)

    def _refusal(self, request: Request) -> str:
        """Why a request is not from our own page; "" if it is."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
        if f"http://{host}" not in self._origins():
            return "This name is not the demo's: open the address that the demo printed."
        if origin != f"http://{host}" and (origin or request.method == "POST"):
            return "This request comes from another page."
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return "This request comes from another page."
        return ""

    def _origins(self) -> tuple[str, str]:
        return self.origin, self.origin.replace("//127.0.0.1:", "//localhost:")

    def _get(self, rest: str) -> Answer:
        if rest == "events":
            return Stream(self._events(), headers=GUARDS)
        if rest.startswith("file/"):
            return self._file(rest.removeprefix("file/"))
        name = rest or PAGE
        if name not in ASSETS:
            return _plain(404, "not found")
        kind = TYPES[name.rpartition(".")[2]]
        return Response(200, _asset(name), kind, GUARDS)

    async def _act(self, request: Request) -> Response:
        try:
            act = read_act(request.headers.get("content-type", ""), await request.body())
            answer = self._kill() if act.kind == "kill" else perform(self.bot, act)
        except BadAct as error:
            return _plain(400, str(error))
        return Response(200, json.dumps(answer).encode(), headers=GUARDS)

    def _kill(self) -> dict[str, str]:
        """Have the daemon killed. Raises BadAct where that cannot be, or is under way."""
        if self.kill is None:
            raise BadAct("this daemon cannot be killed from here")
        try:
            self.kill.send_nowait(None)
        except trio.WouldBlock:
            raise BadAct("it is being started again just now") from None
        return {}

    def _file(self, file_id: str) -> Response:
        stored = self.bot.world.files.get(file_id)
        if stored is None:
            return _plain(404, "not found")
        kind = shown_type(stored.data)
        if kind:
            return Response(200, stored.data, kind, GUARDS)
        return Response(200, stored.data, "application/octet-stream", (*GUARDS, _as_file(stored)))

    # The stream of changes.

    async def _events(self) -> AsyncGenerator[bytes, None]:
        """Give what the page must know, first all of it, then what changes."""
        shown: Entries = {}
        yield _event(json.dumps({"whole": True, "set": {"about": self.about}, "gone": []}))
        quiet_since = time.monotonic()
        while True:
            new = await self._changed(shown)
            if text := difference(shown, new):
                yield _event(text)
            elif time.monotonic() - quiet_since < QUIET:
                continue
            else:
                yield b": still here\n\n"
            shown, quiet_since = new, time.monotonic()

    async def _changed(self, shown: Entries) -> Entries:
        """Give what is to be seen, as soon as that is something new, or after `LOOK_EVERY`."""

        def look() -> Entries | None:
            new = entries(self.bot.world, time.monotonic())
            if self.kill is not None:
                new["alive"] = json.dumps(self.alive)
            return None if new == shown else new

        try:
            found = await self.bot.world.changes.wait_for(look, LOOK_EVERY, str)
        except NeverHappened:
            return shown
        return found or shown


def shown_type(data: bytes) -> str:
    """The type of a file that a browser may show, by its first bytes; "" for all else."""
    if data.startswith(b"RIFF"):
        return RIFF.get(data[8:12], "")
    return next((kind for magic, kind in SHOWN.items() if data.startswith(magic)), "")


def _as_file(stored: StoredFile) -> tuple[str, str]:
    return (
        "content-disposition",
        f"attachment; filename*=UTF-8''{quote(stored.name or 'file', safe='', errors='replace')}",
    )


def _event(text: str) -> bytes:
    return f"data: {text}\n\n".encode("utf-8", "replace")


def _plain(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8", GUARDS)


@cache
def _asset(name: str) -> bytes:
    return files("daemon.demo").joinpath("page", name).read_bytes()
