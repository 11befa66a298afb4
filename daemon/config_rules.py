"""What a value of the right type may still get wrong: one rule for each key, in one table.

A rule is a function of one value that returns None, or in words what it expected. Rules see the
document's own values, one key at a time, so one bad key never hides another. What concerns several
keys at once and is merely unwise is a warning.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from agent.budget import Tariff
from agent.providers import PRESETS
from daemon import config_models, config_people, config_server

if TYPE_CHECKING:
    from daemon.config import Config

Rule: TypeAlias = Callable[[Any], str | None]

# sockaddr_un.sun_path on Linux holds 108 bytes with the final NUL.
MAX_SOCKET_PATH: Final = 107

SEARCH_ENGINES: Final = ("brave", "searxng", "libertai")
# Tokens. Identity and tools take 3,500 of them in each request, and something must be said, too.
MIN_WINDOW: Final = 16384
MIN_SHARE: Final = 0.2
MAX_SHARE: Final = 0.9

# Seconds; more often, and what a heartbeat costs is the bill's largest part.
MIN_HEARTBEAT: Final = 60

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
# As the executor names them; written out, because its modules are not the daemon's to import.
LAYERS: Final = (
    *("namespaces", "firejail", "landlock", "prefix", "seccomp"),
    *("rlimit", "cgroup", "subreaper", "none"),
)
CAPABILITIES: Final = (
    *("FS", "NET", "PID", "KILL_TREE", "MEM_TOTAL"),
    *("PIDS", "CPU", "DISK", "SYSCALLS", "NNP"),
)


def check(document: Mapping[str, Any], *, except_for: Collection[str]) -> dict[str, str]:
    """Problems by key path. Keys that are absent, or named in `except_for`, are not looked at."""
    found: dict[str, str] = {}
    for path, rule in RULES.items():
        if any(is_in(bad, path) for bad in except_for):
            continue
        for value in _values(document, path.split(".")):
            expected = rule(value)
            if expected is not None:
                found[path] = sentence(expected, value)
    return found


def conflicts(config: Config) -> dict[str, str]:
    """What is refused though each key is right by itself, by key path."""
    workspaces = PurePosixPath(config.executor.workspaces)
    mine = {"agent.dir": config.agent.dir, "executor.skills": config.skills_in_jobs}
    found = {
        path: f"expected a directory that no chat can write to, found one in {workspaces}"
        for path, directory in mine.items()
        if directory is not None and directory.is_relative_to(workspaces)
    }
    return found | config_server.conflicts(config) | config_people.conflicts(config.telegram)


def warnings(config: Config) -> list[str]:
    """Sentences about what is allowed but probably not meant."""
    return list(_warnings(config))


def _warnings(config: Config) -> Iterator[str]:
    telegram = config.telegram
    yield from config_people.warnings(telegram)
    for key, address in (
        ("telegram.api_base_url", telegram.api_base_url),
        *((f"{path}.base_url", model.base_url) for path, model in config_models.models(config)),
        *((f"mcp.{name}.url", server.url or "") for name, server in config.mcp.items()),
    ):
        if _in_clear(address):
            yield f"{key} is http and leaves this machine: keys and messages travel unencrypted"
    yield from config_models.key_warnings(config)
    yield from _search_warnings(config)
    yield from _budget_warnings(config)
    yield from config_server.warnings(config)


def _budget_warnings(config: Config) -> Iterator[str]:
    budget, name = config.budget, config.model.name
    if budget.limits_money and Tariff(config.prices).price(name) is None:
        yield (
            f"a budget in money is set, but {name!r} has no price in [[prices]]: "
            "every message will be refused"
        )
    yield from config_models.price_warnings(config)
    if not (budget.user_day_tokens or budget.user_day_money) and not (
        budget.agent_day_tokens or budget.agent_day_money
    ):
        yield "no budget limits a day: set budget.user_day_tokens or budget.agent_day_tokens"


def _search_warnings(config: Config) -> Iterator[str]:
    web = config.web
    for opened in web.allow_private:
        if ipaddress.ip_network(opened).overlaps(_of_this_machine(opened)):
            yield f"web.allow_private has {opened}: web tools can reach what is on this machine"
    if web.search == "searxng" and not web.search_url:
        yield "web.search_url is not set: web_search needs the address of a SearXNG server"
    if web.search in {"brave", "libertai"} and web.search_key is None:
        yield f"web.search_key is not set: {web.search} will refuse every search"


def _of_this_machine(like: str) -> Any:  # noqa: ANN401  (a network of the family of `like`)
    return ipaddress.ip_network("::1/128" if ":" in like else "127.0.0.0/8")


def _in_clear(url: str) -> bool:
    parts = urlsplit(url)
    local = ("localhost", "127.0.0.1", "::1")
    return parts.scheme == "http" and parts.hostname not in local


def is_in(bad: str, path: str) -> bool:
    """Whether the problem at `bad` is at `path`, below it, or at a table that holds it."""
    return bad == path or bad.startswith((f"{path}.", f"{path}[")) or path.startswith(f"{bad}.")


def _values(document: Any, keys: list[str]) -> Iterator[Any]:  # noqa: ANN401 -- a document
    """The value under `keys`, if there is one."""
    if not keys:
        yield document
    elif isinstance(document, Mapping) and keys[0] in document:
        yield from _values(document[keys[0]], keys[1:])


def sentence(expected: str, value: Any) -> str:  # noqa: ANN401
    """A problem in words: what a rule expected, and what is there instead."""
    from daemon.config_read import shown  # noqa: PLC0415 -- it imports this module

    return f"expected {expected}, found {shown(value)}"


# --- Rules ---


def _one_of(*known: str) -> Rule:
    words = ", ".join(f'"{word}"' for word in known)
    return lambda value: None if value in known else f"one of {words}"


def between(low: int, high: int) -> Rule:
    expected = f"a number from {low} to {high}"
    return lambda value: None if low <= value <= high else expected


def _at_least(low: int) -> Rule:
    return lambda value: None if value >= low else f"a number of at least {low}"


def _networks(value: list[str]) -> str | None:
    for each in value:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            return 'addresses or networks such as "192.168.1.10" or "10.0.0.0/8"'
    return None


def _url_or_nothing(value: str) -> str | None:
    return url(value) if value else None


def _zero_or_at_least(low: float) -> Rule:
    expected = f"0, or a number of at least {low:g}"
    return lambda value: None if value == 0 or value >= low else expected


def _hours(value: str) -> str | None:
    from agent.heartbeat import parse_hours  # noqa: PLC0415 -- only for those who write the key

    try:
        parse_hours(value)
    except ValueError:
        return 'two different times such as "22:00-07:00", or ""'
    return None


def _above_zero(value: float) -> str | None:
    return None if value > 0 else "a number above 0"


def _text(value: str) -> str | None:
    return None if value.strip() else "a text that is not empty"


def _word(value: str) -> str | None:
    """A name on one line, as it goes into requests and log lines."""
    return None if value.strip() == value != "" and value.isprintable() else "a name on one line"


def absolute(value: str) -> str | None:
    fine = PurePosixPath(value).is_absolute() and value.isprintable()
    return None if fine else "an absolute path"


def _socket(value: str) -> str | None:
    too_long = len(value.encode()) > MAX_SOCKET_PATH
    return f"a path of at most {MAX_SOCKET_PATH} bytes" if too_long else absolute(value)


def _state_dir(value: str) -> str | None:
    """Absolute, and short enough for the control socket that is made in it."""
    room = MAX_SOCKET_PATH - len("/control.sock")
    too_long = len(value.rstrip("/").encode()) > room
    return f"a path of at most {room} bytes" if too_long else absolute(value)


def url(value: str) -> str | None:
    return None if _is_plain_url(value) else "a URL such as https://host/path"


def _is_plain_url(value: str) -> bool:
    """http(s), a host, perhaps a port and a path; no user, query, fragment or blank."""
    try:
        parts = urlsplit(value)
        known_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment
    one_word = value.isprintable() and " " not in value
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and known_port
        and (plain and one_word)
    )


def _zone(value: str) -> str | None:
    return None if value == "UTC" or _is_zone(value) else "an IANA time zone such as Europe/Paris"


def _is_zone(value: str) -> bool:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 -- only where a zone was chosen

    try:
        ZoneInfo(value)
    except (ValueError, OSError):  # no such zone, a name that leaves the folder, a folder
        return False
    except LookupError:  # ZoneInfoNotFoundError
        return False
    return True


def _all_of(*known: str) -> Rule:
    words = ", ".join(known)
    return lambda value: None if set(value) <= set(known) else f"only names among {words}"


def _stack(value: str | list[str]) -> str | None:
    if isinstance(value, str):
        return None if value == "auto" else f'"auto" or an array of {", ".join(LAYERS)}'
    return _all_of(*LAYERS)(value) if value else "at least one layer"


def _prefix(value: list[str]) -> str | None:
    if not value or value[0].startswith("/"):
        return None
    return "a command whose first word is an absolute path"


def _user_name(value: str) -> str | None:
    fine = re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value)
    return None if fine else "the name of a system user"


def _no_or_user_name(value: str) -> str | None:
    return _user_name(value) if value else None


def _no_or_absolute(value: str) -> str | None:
    return absolute(value) if value else None


def _window(value: int) -> str | None:
    return None if value == 0 or value >= MIN_WINDOW else f"0, or at least {MIN_WINDOW} tokens"


def _share(value: float) -> str | None:
    return None if MIN_SHARE <= value <= MAX_SHARE else f"from {MIN_SHARE} to {MAX_SHARE}"


def _prices(value: list[Any]) -> str | None:
    """Tables whose sums mean something: nothing below zero, one currency, a name for each."""
    tables = [each for each in value if isinstance(each, Mapping)]
    sums = [each.get(key, 0) for each in tables for key in ("input", "cached", "output")]
    if any(isinstance(one, int | float) and one < 0 for one in sums):
        return "prices of at least 0"
    if any(each.get("model") == "" for each in tables):
        return "the name of a model in each"
    currencies = {each.get("currency", "USD") for each in tables}
    return "the same currency in all" if len(currencies) > 1 else None


RULES: Final[Mapping[str, Rule]] = {
    "state_dir": _state_dir,
    "shutdown_grace": _above_zero,
    "log.level": _one_of(*LOG_LEVELS),
    "telegram.api_base_url": url,
    **config_server.RULES,
    **config_people.RULES,
    "telegram.poll_timeout": between(1, 50),
    "telegram.streaming": _one_of("auto", "drafts", "off"),
    "telegram.rich": _one_of("auto", "off"),
    "model.provider": _one_of(*PRESETS),
    "model.base_url": url,
    "model.name": _word,
    "model.connect_timeout": _above_zero,
    "model.read_timeout": _above_zero,
    "model.max_attempts": between(1, 20),
    "model.context_window": _window,
    "model.temperature": between(0, 2),
    "model.reasoning_effort": _one_of(*config_models.EFFORTS),
    "model.max_output_tokens": _at_least(1),
    **dict.fromkeys(("model.images", "model.documents"), _one_of("auto", "yes", "no")),
    **dict.fromkeys(("model.transcription", "model.speech", "model.speech_voice"), _word),
    "model.fallback": lambda value: config_models.broken_rule(value, RULES),
    "budget.turn_tokens": _at_least(0),
    "budget.turn_money": _at_least(0),
    "budget.user_day_tokens": _at_least(0),
    "budget.user_day_money": _at_least(0),
    "budget.guest_day_tokens": _at_least(0),
    "budget.guest_day_money": _at_least(0),
    "budget.agent_day_tokens": _at_least(0),
    "budget.agent_day_money": _at_least(0),
    "budget.heartbeat_tokens": _at_least(0),
    "budget.heartbeat_money": _at_least(0),
    "budget.schedule_tokens": _at_least(0),
    "budget.schedule_money": _at_least(0),
    "budget.answer_tokens": _at_least(1),
    "prices": _prices,
    "compaction.share": _share,
    "compaction.keep": _share,
    "agent.zone": _zone,
    "agent.max_steps": _at_least(1),
    "agent.max_subagent_steps": _at_least(1),
    "web.max_bytes": _at_least(1),
    "web.timeout": _above_zero,
    "web.allow_private": _networks,
    "web.search": _one_of("", *SEARCH_ENGINES),
    "web.search_url": _url_or_nothing,
    "heartbeat.every_seconds": _zero_or_at_least(MIN_HEARTBEAT),
    "heartbeat.quiet_hours": _hours,
    "schedule.min_recurrence_interval_seconds": _at_least(1),
    "schedule.max_jobs_per_person": _at_least(0),
    "agent.while_busy": _one_of("queue", "steer", "interrupt"),
    "agent.max_turn_seconds": _above_zero,
    "agent.concurrent_turns": between(1, 1000),
    "agent.dir": absolute,
    "executor.socket": _socket,
    "executor.workspaces": absolute,
    "executor.user": _user_name,
    "executor.daemon_user": _no_or_user_name,
    "executor.stack": _stack,
    "executor.require": _all_of(*CAPABILITIES),
    "executor.python": absolute,
    "executor.skills": _no_or_absolute,
    "executor.jobs_at_once": _at_least(1),
    "executor.prefix": _prefix,
    "executor.warm_boxes": between(0, 64),
    "executor.sessions": between(0, 64),
    "executor.session_idle_seconds": _above_zero,
    "executor.limits.wall_seconds": _above_zero,
    "executor.limits.cpu_seconds": _at_least(1),
    "executor.limits.memory_bytes": _at_least(16 * 1024 * 1024),
    "executor.limits.pids": _at_least(2),
    "executor.limits.file_bytes": _at_least(0),
    "executor.limits.open_files": _at_least(16),
    "executor.limits.output_bytes": _at_least(1024),
    "executor.limits.workspace_bytes": _at_least(1024 * 1024),
    "executor.limits.workspace_files": _at_least(16),
    "executor.limits.artifact_bytes": _at_least(0),
    "executor.limits.artifact_files": _at_least(0),
}
