"""The cookies of sessions: rows that are sent with each call, over restarts too."""

from __future__ import annotations

from pathlib import Path

import trio

from agent.fallback import Models
from agent.model import OpenAIModel
from agent.request import ModelOptions
from daemon.chat.sticky import Sticky
from daemon.demo.http import Request, Response, serve
from daemon.store import people
from daemon.store.db import open_database
from daemon.store.values import Place

HELLO = [{"role": "user", "content": "hello"}]
FINE = b'{"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}'


async def test_a_session_keeps_its_machine_over_a_restart(tmp_path: Path) -> None:
    """What the provider gave one session is sent with that session's next call, and no other's."""
    sent: list[str] = []

    async def handle(request: Request) -> Response:
        await request.body()
        sent.append(request.headers.get("cookie", ""))
        return Response(200, FINE, headers=(("set-cookie", "machine=7"),))

    async with trio.open_nursery() as nursery:
        root = await nursery.start(serve, handle)
        for _restart in range(2):
            async with open_database(tmp_path / "famulus.db") as database:
                models = Models([OpenAIModel(ModelOptions(root, "m"))])
                sticky = Sticky(database, models)
                for chat in "12":
                    place = Place("telegram", "42", chat)
                    session = await database.write(people.ensure_session, place, 0.0)
                    if chat == "1":
                        for _call in range(2):
                            await (await sticky.of(session)).complete(HELLO, [])
                    else:
                        assert (await sticky.of(session)).jar.headers == {}
                await models.aclose()
        nursery.cancel_scope.cancel()
    assert sent == ["", "machine=7", "machine=7", "machine=7"]
