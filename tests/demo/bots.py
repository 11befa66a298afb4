"""A bot as a program, for tests."""

from __future__ import annotations

from typing import Any

import httpx
from attrs import frozen

from daemon.demo.botapi import BotApiServer


@frozen
class Bot:
    """A bot as a program: calls methods over real HTTP and sees what comes back."""

    server: BotApiServer
    http: httpx.AsyncClient

    async def call(self, method: str, **params: Any) -> httpx.Response:
        """Call a method with a JSON body."""
        return await self.http.post(f"/bot{self.server.token}/{method}", json=params)

    async def ok(self, method: str, **params: Any) -> Any:
        """Call a method that must succeed; gives its result."""
        answer = (await self.call(method, **params)).json()
        assert answer["ok"], answer
        return answer["result"]

    async def refused(self, method: str, **params: Any) -> tuple[int, str]:
        """Call a method that must be refused; gives code and description."""
        answer = (await self.call(method, **params)).json()
        assert not answer["ok"], answer
        return answer["error_code"], answer["description"]
