"""The floor under every figure: the smallest bot that answers at all.

Long polling and one send for each text, over raw httpx on Trio: no storage, no model, no order
but that of arrival, nothing kept over a crash. What it costs is the price of HTTP and of the
servers that both sides are measured against; the rest of a figure is ours.

    python -m tests.bench.floor API_BASE_URL TOKEN
"""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import trio

CONNECTIONS = 16


async def _call(client: httpx.AsyncClient, method: str, params: dict[str, Any]) -> Any:
    body = json.dumps(params).encode()
    headers = {"content-type": "application/json"}
    response = await client.post(method, content=body, headers=headers)
    return json.loads(response.content)["result"]


async def _echo(client: httpx.AsyncClient, message: dict[str, Any]) -> None:
    params = {"chat_id": message["chat"]["id"], "text": message["text"]}
    await _call(client, "sendMessage", params)


async def main(base_url: str, token: str) -> None:
    """Echo for ever."""
    places = trio.CapacityLimiter(CONNECTIONS - 1)
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with (
        httpx.AsyncClient(
            base_url=f"{base_url}/bot{token}/",
            timeout=60,
            limits=limits,
            trust_env=False,
            verify=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):

        async def answer(message: dict[str, Any]) -> None:
            async with places:
                await _echo(client, message)

        offset = 0
        while True:
            for update in await _call(client, "getUpdates", {"timeout": 50, "offset": offset}):
                offset = update["update_id"] + 1
                nursery.start_soon(answer, update["message"])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
