"""What tests of files need: a sender over the demo's server, and what the chat shows of them."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from daemon.demo.botapi import BotApiServer
from daemon.spool import Spool
from daemon.store import outbox as rows
from daemon.store.db import Database
from daemon.store.outbox import Draft
from daemon.store.values import Place
from daemon.telegram import media
from daemon.telegram.api import BotApi
from daemon.telegram.outbox import Outbox
from daemon.telegram.render import MAYBE_TWICE

HERE = Place("telegram", "1000000001", "1")
LABEL = MAYBE_TWICE.strip()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", 640, 480) + bytes(100)


@asynccontextmanager
async def sending(
    database: Database, boot: str, api: BotApi, spool: Spool
) -> AsyncIterator[Outbox]:
    sender = Outbox(database, boot, api.call, spool)
    async with trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        yield sender
        nursery.cancel_scope.cancel()


def draft(spool: Spool, name: str, data: bytes) -> Draft:
    return Draft(media.method_for(data), {}, spool.keep(data), name)


def text(words: str) -> Draft:
    return Draft("sendMessage", {"text": words})


async def queue(database: Database, *drafts: Draft, at: float | None = None) -> None:
    """As a turn's, so that the chat hears of what is refused."""

    def enqueue(db: Any) -> None:
        db.execute("INSERT INTO agents (id, name, created_at) VALUES ('a', 'a', 0)")
        db.execute(
            "INSERT INTO sessions (id, channel, account, chat, agent_id, created_at)"
            " VALUES ('s', 'telegram', '1000000001', '1', 'a', 0)"
        )
        db.execute(
            "INSERT INTO turns (id, ref, session_id, lane, cause, state, asked_at, created_at)"
            " VALUES (1, 'r', 's', 's', 'update', 'ended', 0, 0)"
        )
        rows.enqueue(db, HERE, drafts, time.time() if at is None else at, turn_id=1)

    await database.write(enqueue)


def seen(bot: BotApiServer) -> list[tuple[str, str]]:
    """What the chat shows: the kind of each message, and its name or its words."""
    return [_seen(message.content) for message in bot.chat(1) if message.from_bot]


def _seen(content: dict[str, Any]) -> tuple[str, str]:
    if "photo" in content:
        return "photo", content.get("caption", "")
    if "document" in content:
        return content["document"]["file_name"], content.get("caption", "")
    return "text", content["text"]


def shows(*messages: tuple[str, str]) -> Callable[[BotApiServer], bool]:
    return lambda bot: seen(bot) == list(messages)


async def ended(database: Database, sender: Outbox, spool: Spool) -> list[str]:
    """Let the sender come to its end; gives the states of the rows, and nothing is left over."""
    await sender.close(5.0)
    assert list(spool.path.iterdir()) == []
    return await states(database)


async def states(database: Database) -> list[str]:
    return await column(database, "state")


async def errors(database: Database) -> list[str]:
    return await column(database, "coalesce(error, '')")


async def column(database: Database, which: str) -> list[str]:
    def read(db: Any) -> list[str]:
        return [row[0] for row in db.execute(f"SELECT {which} FROM outbox ORDER BY id").fetchall()]

    return await database.read(read)
