"""Hostile updates by webhook: kept and answered with 200, or refused as what is no update."""

from __future__ import annotations

import json
import random

from daemon.demo.servers import DemoServers
from daemon.store.db import Database
from daemon.web.app import MAX_BODY
from tests.daemon.web.test_webhook import listening
from tests.harness.wild.stream import Wild, wild_updates
from tests.harness.wild.valid import Maker

COUNT = 300


def is_small(wild: Wild) -> bool:
    """Larger ones are refused before they are read, by a connection that is closed."""
    return len(json.dumps(wild.body)) <= MAX_BODY


async def test_every_hostile_update_is_kept(demo: DemoServers, database: Database) -> None:
    """One that is refused comes again; so only what has no number is, and nothing else fails."""
    wilds = filter(is_small, wild_updates(Maker(random.Random(1)), COUNT, slot=1))
    kept: set[str] = set()
    async with listening(demo, database) as watched:
        for wild in wilds:
            numbered = type(wild.body.get("update_id")) is int
            assert await watched.post(wild.body) == (200 if numbered else 400)
            if numbered:
                kept.add(json.dumps(wild.body, sort_keys=True))
    rows = await database.read(lambda db: db.execute("SELECT count(*) FROM inbox").fetchone())
    assert rows[0] == len(kept)
