"""Which addresses the web tools may connect to. Pure, and deny by default.

A model that reads the web can be talked into asking for anything, and what only this machine or
this network can reach is exactly what must not be asked for: routers, databases, metadata services
of a cloud. So it is not names that are judged but the addresses that they stand for, every one of
them: only what the world's registries give out for the public internet may be connected to. An IPv6
address that carries an IPv4 one (mapped, translated, tunnelled) is judged by what it carries, too.

Sources: the special-purpose address registries of IANA (RFC 6890 and what has been added since),
RFC 6052 and RFC 8215 for translation, RFC 4380 for Teredo, RFC 3056 and RFC 7526 for 6to4, RFC 5214
for ISATAP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from attrs import frozen

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

V4: Final = tuple(
    (ipaddress.IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "no host's address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "an address of a provider's own network"),
        ("127.0.0.0/8", "this machine itself"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "an address for documentation"),
        ("192.31.196.0/24", "a reserved address"),
        ("192.52.193.0/24", "a reserved address"),
        ("192.88.99.0/24", "a reserved address"),
        ("192.168.0.0/16", "a private address"),
        ("192.175.48.0/24", "a reserved address"),
        ("198.18.0.0/15", "an address for tests of networks"),
        ("198.51.100.0/24", "an address for documentation"),
        ("203.0.113.0/24", "an address for documentation"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)

# Of IPv6 only 2000::/3 is given out; these parts of it are for something else.
V6_PUBLIC: Final = ipaddress.IPv6Network("2000::/3")
V6: Final = tuple(
    (ipaddress.IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "an address for documentation"),
        ("2002::/16", "an address of 6to4, which has been given up"),
        ("2620:4f:8000::/48", "a reserved address"),
        ("3fff::/20", "an address for documentation"),
    )
)

# What is no part of it, for those who ask why.
V6_OTHER: Final = tuple(
    (ipaddress.IPv6Network(network), what)
    for network, what in (
        ("::1/128", "this machine itself"),
        ("::/128", "no host's address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),
        ("ff00::/8", "a multicast address"),
    )
)

_TRANSLATED: Final = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped
    ipaddress.IPv6Network("::/96"),  # compatible, long given up
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # translated, RFC 2765
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64
)
# Of these, what is carried is all that counts: the kernel's way of writing it, and the only way to
# most of the web for a host that has IPv6 alone.
_LEADS_ON: Final = (_TRANSLATED[0], _TRANSLATED[3])
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP: Final = (0x00005EFE, 0x02005EFE)


class Refused(Exception):
    """The request is not made, or not gone on with; the text says why."""


@frozen
class Guard:
    """Judges addresses. `allowed` are networks that the owner has opened, private or not."""

    allowed: tuple[Network, ...] = ()

    def check(self, host: str, addresses: Sequence[str]) -> None:
        """Raise Refused unless every address of `host` may be connected to."""
        if not addresses:
            raise Refused(f"{host:.200} has no address")
        for address in addresses:
            if why := self.refusal(address):
                raise Refused(_sentence(host, address, why))

    def refusal(self, text: str) -> str:
        """What kind of address it is that may not be connected to; '' for one that may."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "no address"
        if any(address in each for each in self.allowed if each.version == address.version):
            return ""
        if isinstance(address, ipaddress.IPv4Address):
            return _of(V4, address)
        return self._refusal_v6(address)

    def _refusal_v6(self, address: ipaddress.IPv6Address) -> str:
        if address in _LOCAL_NAT64:
            return "an address of a translator in this network"
        if getattr(address, "scope_id", None):
            return "a link-local address"
        carried = list(_carried(address))
        for inner in carried:
            if why := self.refusal(str(inner)):
                return why
        if carried and any(address in network for network in _LEADS_ON):
            return ""
        if address not in V6_PUBLIC:
            return _of(V6_OTHER, address) or "no address of the public internet"
        return _of(V6, address)


def _sentence(host: str, address: str, why: str) -> str:
    named = host.strip("[]") != address
    where = f"{host:.200} is at {address:.60}, which is {why}" if named else f"{address} is {why}"
    return (
        f"{where}; web tools reach the public internet only, and what the owner lists under"
        " allow_private in [web]"
    )


def _of(kinds: Sequence[tuple[Network, str]], address: Address) -> str:
    return next((what for network, what in kinds if address in network), "")


def _carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that packets to this one may end up at."""
    bits = int(address)
    low = ipaddress.IPv4Address(bits & 0xFFFFFFFF)
    if any(address in network for network in _TRANSLATED) and bits > 1:
        yield low
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield low


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks, or single addresses, as an owner writes them. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)
