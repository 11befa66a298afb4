"""`[server]` and `[telegram.webhook]`: their values, rules, conflicts and warnings."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from daemon.secret import Secret

if TYPE_CHECKING:
    from daemon.config import Config

# Telegram connects to no others.
PORTS: Final = (443, 80, 88, 8443)
TELEGRAM: Final = "https://api.telegram.org"
MAX_CONNECTIONS: Final = 100


@frozen(kw_only=True)
class Webhook:
    """`[telegram.webhook]`: where Telegram posts updates to, and what it must know to be let in."""

    url: str
    secret: Secret
    max_connections: int = 40


@frozen(kw_only=True)
class Server:
    """`[server]`: where the daemon listens, if it has to: for a webhook."""

    listen: str = "127.0.0.1:8080"


def split_listen(value: str) -> tuple[str, int] | None:
    """Address and port of `127.0.0.1:8080` or `[::1]:8080`; None for anything else."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
        return None
    return (str(address), int(port)) if (address.version == 6) == bracketed else None  # noqa: PLR2004


def _listen(value: str) -> str | None:
    fine = split_listen(value) is not None
    return None if fine else 'an address and a port such as "127.0.0.1:8080"'


def _url(value: str) -> str | None:
    expected = "a URL such as https://bot.example.org/telegram"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return expected
    plain = not parts.query and not parts.fragment and "@" not in parts.netloc
    known = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    fine = value.isascii() and value.isprintable() and not set(value) & set(" {}")
    return None if known and plain and fine else expected


def _connections(value: int) -> str | None:
    fine = 1 <= value <= MAX_CONNECTIONS
    return None if fine else f"a number from 1 to {MAX_CONNECTIONS}"


def _mode(value: str) -> str | None:
    return None if value in {"poll", "webhook"} else 'one of "poll", "webhook"'


RULES: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "server.listen": _listen,
    "telegram.mode": _mode,
    "telegram.webhook.url": _url,
    "telegram.webhook.max_connections": _connections,
}


def conflicts(config: Config) -> dict[str, str]:
    """What is refused though each key is right by itself, by key path."""
    telegram = config.telegram
    if telegram.mode != "webhook":
        return {}
    if telegram.webhook is None:
        return {"telegram.webhook": 'expected a table with url and secret, as mode is "webhook"'}
    parts = urlsplit(telegram.webhook.url)
    if parts.path.rstrip("/") == "/health":
        return {"telegram.webhook.url": "expected another path than /health, which is taken"}
    if telegram.api_base_url != TELEGRAM:  # a Bot API server of one's own knows no such limits
        return {}
    if parts.scheme != "https" or (parts.port or 443) not in PORTS:
        ports = ", ".join(map(str, PORTS))
        return {"telegram.webhook.url": f"expected https and a port of {ports}: Telegram's rule"}
    return {}


def warnings(config: Config) -> Iterator[str]:
    """Sentences about what is allowed but probably not meant."""
    telegram = config.telegram
    if telegram.mode == "poll" and telegram.webhook is not None:
        yield 'telegram.webhook is not used, since telegram.mode is "poll"'
    listen = split_listen(config.server.listen)
    if telegram.mode == "webhook" and listen and not ipaddress.ip_address(listen[0]).is_loopback:
        yield (
            f"server.listen is {config.server.listen}: other machines reach it, in clear; "
            "listen on 127.0.0.1, behind a proxy that speaks TLS"
        )
