"""The configuration: what the owner may say, as frozen values, and how a file becomes them.

`load` is all or nothing. A file that is missing, unreadable, not TOML, or wrong in any key raises
one `ConfigError` that lists every problem with its key's path, what was expected and what was
found; there is no partial configuration and no fallback to defaults. The classes state the keys,
their types and defaults; `config_read` turns a document into them; `config_rules` holds what a
type cannot say. Both, and cattrs with them, are imported only by `load`, because most processes
that name these classes never read a file.

Secrets are references (see `daemon.secret`) and are not read by `load`: the executor's process
loads the same file without being able to see them. `secret_problems` tries them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import field, frozen

from daemon.errors import Fatal
from daemon.secret import Secret, SecretError
from executor.settings import Settings

__all__ = [
    "Agent",
    "Config",
    "ConfigError",
    "Log",
    "Model",
    "Secret",
    "SecretError",
    "Telegram",
    "example",
    "load",
    "require_secrets",
    "secret_problems",
    "summary",
    "warnings",
]

CONTROL_SOCKET: Final = "control.sock"

# A configuration is a page or two. The cap keeps a wrong path (a database, a device) from being
# read whole before it is refused.
MAX_FILE_BYTES: Final = 1024 * 1024


class ConfigError(Fatal):
    """The configuration cannot be used. `problems` has one sentence for each thing to correct."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        self.source = source
        cause = f"{source}: " + "; ".join(self.problems)
        super().__init__(cause, f"correct it, then try: famulus config check --config {source}")

    def lines(self) -> list[str]:
        count = len(self.problems)
        heading = f"{self.source}: {count} problem{'' if count == 1 else 's'}"
        return [heading, *self.problems, self.remedy]


@frozen(kw_only=True)
class Log:
    """`[log]`: what is written to standard error."""

    level: str = "info"


def _without_final_slash(url: str) -> str:
    return url.rstrip("/")


@frozen(kw_only=True)
class Telegram:
    """`[telegram]`: the bot, and who may talk to it. Times are seconds."""

    token: Secret
    api_base_url: str = field(default="https://api.telegram.org", converter=_without_final_slash)
    mode: str = "poll"
    poll_timeout: int = 50
    allowed_users: tuple[int, ...] = ()
    allowed_chats: tuple[int, ...] = ()


@frozen(kw_only=True)
class Model:
    """`[model]`: which model answers, and how long it may take. Times are seconds.

    `read_timeout` counts from one chunk of the stream to the next. `max_attempts` are the tries
    for one model call, the first included.
    """

    provider: str = "openai"
    base_url: str = field(default="https://api.openai.com/v1", converter=_without_final_slash)
    api_key: Secret | None = None
    name: str
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    max_attempts: int = 4


@frozen(kw_only=True)
class Agent:
    """`[agent]`: how a turn is conducted. Steps are model calls; times are seconds of running."""

    instructions: str = ""
    zone: str = "UTC"
    max_steps: int = 25
    max_turn_seconds: float = 600.0
    concurrent_turns: int = 32


@frozen(kw_only=True)
class Config:
    """The whole file. `shutdown_grace` is in seconds."""

    state_dir: Path = Path("/var/lib/famulus")
    shutdown_grace: float = 10.0
    log: Log = field(factory=Log)
    telegram: Telegram
    model: Model
    agent: Agent = field(factory=Agent)
    executor: Settings = field(factory=Settings)


def load(path: Path) -> Config:
    """Read and check the file at `path`.

    Raises:
      ConfigError: with every problem at once.
    """
    return parse(_read_text(path), source=str(path))


def parse(text: str, *, source: str = "config.toml") -> Config:
    """Check `text` as `load` does; `source` names it in the error."""
    from daemon import config_read  # noqa: PLC0415 -- cattrs, which only this path needs

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, [f"not valid TOML: {error}"]) from None
    result = config_read.read(document)
    if isinstance(result, Config):
        return result
    raise ConfigError(source, result)


def warnings(config: Config) -> list[str]:
    """What is allowed but probably not meant, one sentence each."""
    from daemon import config_rules  # noqa: PLC0415 -- as in `parse`

    return config_rules.warnings(config)


def secrets(config: Config) -> Iterator[tuple[str, Secret]]:
    """Every secret reference with its key's path."""
    yield from _secrets_of(config, "")


def secret_problems(config: Config) -> list[str]:
    """What keeps the secrets from being read, with the path of each key; empty if all can be."""
    return [problem for key, secret in secrets(config) for problem in _try(key, secret)]


def require_secrets(config: Config, *, source: str) -> None:
    """Try every secret once, so that a start fails before it does anything.

    Raises:
      ConfigError: with what keeps each of them from being read.
    """
    problems = secret_problems(config)
    if problems:
        raise ConfigError(source, problems)


def summary(config: Config) -> list[tuple[str, str]]:
    """Keys and values worth a look, for people; secrets appear as references only."""
    key = config.model.api_key
    return [
        ("state_dir", str(config.state_dir)),
        ("telegram", f"{config.telegram.api_base_url}, {config.telegram.mode}"),
        ("telegram.token", config.telegram.token.describe()),
        ("allowed", _allowed(config.telegram)),
        ("model", f"{config.model.name} at {config.model.base_url}"),
        ("model.api_key", key.describe() if key else "none"),
        ("executor", config.executor.socket),
    ]


def example() -> str:
    """The text of config.toml.example: beside the packages in a checkout, in `data` of a wheel."""
    here = Path(__file__).parent
    packaged = here / "data" / "config.toml.example"
    path = packaged if packaged.exists() else here.parent / "config.toml.example"
    return path.read_text(encoding="utf-8")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        remedy = f"write one with: famulus config example > {path}"
        raise ConfigError(str(path), [f"there is no such file; {remedy}"]) from None
    except OSError as error:
        why = f"cannot be read by uid {os.geteuid()}: {error.strerror}"
        raise ConfigError(str(path), [why]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(str(path), [f"larger than {MAX_FILE_BYTES} bytes: not a configuration"])
    return _decode(path, data)


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), [f"not UTF-8 text (at line {line})"]) from None


def _try(key: str, secret: Secret) -> Iterator[str]:
    try:
        secret.reveal()
    except SecretError as error:
        yield f"{key}: {error}"


def _secrets_of(value: Any, path: str) -> Iterator[tuple[str, Secret]]:  # noqa: ANN401 -- a walk
    if isinstance(value, Secret):
        yield path, value
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            below = f"{path}.{attribute.name}" if path else attribute.name
            yield from _secrets_of(getattr(value, attribute.name), below)


def _allowed(telegram: Telegram) -> str:
    return f"{len(telegram.allowed_users)} users, {len(telegram.allowed_chats)} chats"
