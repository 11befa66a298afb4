"""What `hello` costs: the bytes of a whole request with every default tool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.context import estimate_tokens
from daemon import config, equip
from daemon.store import people, turns
from daemon.store.db import Database, open_database
from daemon.store.values import Place

MOST = 15_500  # bytes of JSON besides history


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def request_of(database: Database, text: str) -> dict[str, Any]:
    """The request for a new chat's first message, with the shipped skills and all default tools."""
    example = config.example().replace('zone = "UTC"', 'zone = "Europe/Berlin"')
    settings = config.parse(example)
    preview = await trio.to_thread.run_sync(equip.preview, settings, database)
    session = await database.write(people.ensure_session, Place("telegram", "1", "2"), 0.0)
    await database.write(turns.create, session, text=text, asked_at=1.0, now=1.0)
    return await preview.verb({"session": session})


async def test_hello_fits_into_its_budget(database: Database) -> None:
    """Identity, skills, memory's heading, every default tool and the message itself."""
    shown = await request_of(database, "hello")
    body = {"model": "a-model", "stream": True, "messages": shown["messages"]}
    size = len(json.dumps({**body, "tools": shown["tools"]}).encode())
    each = {tool["function"]["name"]: len(json.dumps(tool)) for tool in shown["tools"]}
    assert size <= MOST, f"{size} bytes; the system prompt {len(str(body))}, tools {each}"
    assert "read_skill" in each


async def test_the_message_is_there_once_with_its_time(database: Database) -> None:
    """The time stands beside it, in the owner's zone; the estimate is of all that is shown."""
    shown = await request_of(database, "a singular question")
    assert shown["messages"][1:] == [
        {
            "role": "user",
            "content": "a singular question\n\n[Sent 1970-01-01 01:00 (Europe/Berlin)]",
        }
    ]
    assert str(shown).count("a singular question") == 1
    assert shown["estimated_tokens"] == estimate_tokens(shown["messages"], shown["tools"])
