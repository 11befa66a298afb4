"""Connections of the web tools: the address that was checked is the one that is connected to.

A name is resolved once for each connection, all its addresses are judged, and the connection is
made to one of those, by its number. There is no second look-up in between that could give another
answer. TLS is still negotiated and verified for the name.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import httpcore
import httpx
import trio
from attrs import define, field, frozen

from agent.web.guard import Guard, Refused

MOST_TRIED = 4  # addresses of one host

# Gives all addresses of (host, port), numeric.
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system's resolver has them. Raises Refused."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"the name {host!r:.100} cannot be resolved: {error}") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@define
class Tls:
    """The authorities that servers are verified by, loaded when they are first needed.

    To load them takes 20 ms and a megabyte: one for all clients, and in a thread.
    """

    _context: ssl.SSLContext | None = None

    async def context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = await trio.to_thread.run_sync(ssl.create_default_context)
        return self._context


@frozen
class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for a pool, after the guard has seen where they lead."""

    guard: Guard | None  # None: the owner chose the address
    resolve: Resolve = resolve
    network: httpcore.AsyncNetworkBackend = field(factory=httpcore.TrioBackend)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature)
        local_address: str | None = None,  # noqa: ARG002  (as above)
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self.resolve(host.strip("[]"), port)
        if not addresses:
            raise Refused(f"{host:.200} has no address")
        if self.guard is not None:
            self.guard.check(host, addresses)
        *others, last = addresses[:MOST_TRIED]
        for address in others:
            try:
                return await self._connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(last, port, timeout)

    async def _connect(
        self, address: str, port: int, seconds: float | None
    ) -> httpcore.AsyncNetworkStream:
        return await self.network.connect_tcp(address, port, timeout=seconds)

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise Refused("a socket of this machine is no address of the web")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool whose connections are guarded.

    httpx has no parameter for a pool's backend; the pool itself is a public class of httpcore.
    """

    def __init__(self, backend: GuardedBackend, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False, http2=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,  # nobody waits in the pool; who uses it has places in front
            max_keepalive_connections=0,  # each request goes to an address that was judged for it
            http1=True,
            http2=False,
            network_backend=backend,
        )
