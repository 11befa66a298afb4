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
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import Factory, field, frozen

from agent.budget import Budget, Price, Tariff
from agent.providers import default_url
from agent.sizes import Sizes
from daemon.config_server import Server, Webhook
from daemon.config_telegram import GroupRule, Telegram, without_final_slash
from daemon.errors import Fatal
from daemon.schedule.limits import Limits as BookingLimits
from daemon.secret import Secret, SecretError
from executor.settings import Settings

__all__ = [
    "Agent",
    "Budget",
    "Compaction",
    "Config",
    "ConfigError",
    "GroupRule",
    "Heartbeat",
    "Log",
    "McpServer",
    "Model",
    "OneModel",
    "Price",
    "Schedule",
    "Secret",
    "SecretError",
    "Server",
    "Telegram",
    "Web",
    "Webhook",
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


@frozen(kw_only=True)
class OneModel:
    """A model: where it is, and what is asked of it.

    `base_url` is the provider's if none is said. What is None is the model's to choose.
    `context_window` is in tokens, 0 if it is not known; `images` and `documents` say whether it
    takes them.
    """

    provider: str = "openai"
    base_url: str = field(
        default=Factory(lambda self: default_url(self.provider), takes_self=True),
        converter=without_final_slash,
    )
    api_key: Secret | None = None
    name: str
    context_window: int = 0
    temperature: float | None = None
    reasoning_effort: str | None = None
    max_output_tokens: int | None = None
    images: str = "auto"
    documents: str = "auto"


@frozen(kw_only=True)
class Model(OneModel):
    """`[model]`: which model answers, and how long it may take. Times are seconds.

    `read_timeout` counts from one chunk of the stream to the next. `max_attempts` are the tries
    for one model call, the first included. `fallback` are the models that are asked after it.
    `transcription` is the model that writes down what is said in recordings, `speech` the one that
    speaks, with the voice `speech_voice`; None: nobody does.
    """

    transcription: str | None = None
    speech: str | None = None
    speech_voice: str = "alloy"
    fallback: tuple[OneModel, ...] = ()
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    max_attempts: int = 4


@frozen(kw_only=True)
class Compaction:
    """`[compaction]`: how large requests may become before older turns are summed up.

    `share` is of the model's window without room for an answer, `keep` of that.
    """

    enabled: bool = True
    share: float = 0.7
    keep: float = 0.3


@frozen(kw_only=True)
class Agent:
    """`[agent]`: how a turn is conducted. Steps are model calls; times are seconds of running.

    `while_busy` is what happens to a message that comes while a turn of its chat runs. `dir` is the
    owner's directory with `skills` and `agents`, which no chat can write to.
    """

    instructions: str = ""
    zone: str = "UTC"
    max_steps: int = 25
    max_subagent_steps: int = 15
    while_busy: str = "queue"
    max_turn_seconds: float = 600.0
    concurrent_turns: int = 32
    dir: Path | None = None


@frozen(kw_only=True)
class McpServer:
    """`[mcp.NAME]`: a server of tools, either a `command` to run or a `url`. Times are seconds.

    `tools` None offers all. `trust` says which run without a question: "read-only" those that the
    server calls so, "all", "none", or their names.
    """

    command: tuple[str, ...] = ()
    env: Mapping[str, str | Secret] = field(factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: Mapping[str, str | Secret] = field(factory=dict)
    timeout: float = 60.0
    start_timeout: float = 60.0
    tools: tuple[str, ...] | None = None
    trust: str | tuple[str, ...] = "read-only"


@frozen(kw_only=True)
class Web:
    """`[web]`: what the web tools may do. `search` names an engine; "" for none.

    `allow_private` are networks that may be reached although they are not of the public internet.
    """

    enabled: bool = True
    max_bytes: int = 4 * 1024 * 1024
    timeout: float = 30.0
    allow_private: tuple[str, ...] = ()
    search: str = ""
    search_url: str = field(default="", converter=without_final_slash)
    search_key: Secret | None = None


@frozen(kw_only=True)
class Heartbeat:
    """`[heartbeat]`: looks at a chat's HEARTBEAT.md; `every_seconds` 0: never.

    `quiet_hours` as "22:00-07:00", in the agent's zone; "" for none.
    """

    every_seconds: float = 0.0
    quiet_hours: str = ""


@frozen(kw_only=True)
class Schedule:
    """`[schedule]`: what people, and their models, may schedule.

    `min_recurrence_interval_seconds` is the least between two runs of what recurs.
    """

    min_recurrence_interval_seconds: float = 60.0
    max_jobs_per_person: int = 50


@frozen(kw_only=True)
class Config:
    """The whole file. `shutdown_grace` is in seconds."""

    state_dir: Path = Path("/var/lib/famulus")
    shutdown_grace: float = 10.0
    log: Log = field(factory=Log)
    telegram: Telegram
    model: Model
    agent: Agent = field(factory=Agent)
    budget: Budget = field(factory=Budget)
    prices: tuple[Price, ...] = ()
    compaction: Compaction = field(factory=Compaction)
    web: Web = field(factory=Web)
    server: Server = field(factory=Server)
    heartbeat: Heartbeat = field(factory=Heartbeat)
    schedule: Schedule = field(factory=Schedule)
    executor: Settings = field(factory=Settings)
    mcp: Mapping[str, McpServer] = field(factory=dict)

    @property
    def tariff(self) -> Tariff:
        return Tariff(self.prices, self.budget)

    @property
    def model_names(self) -> tuple[str, ...]:
        """What a chat may choose from: the model, and those that stand in for it."""
        names = (self.model.name, *(each.name for each in self.model.fallback))
        return tuple(dict.fromkeys(names))

    @property
    def booking_limits(self) -> BookingLimits:
        """What may be scheduled; the zone is that of people who have chosen none."""
        rules = self.schedule
        shortest, most = rules.min_recurrence_interval_seconds, rules.max_jobs_per_person
        return BookingLimits(shortest, most, self.agent.zone, self.model_names)

    def sizes(self, window: int) -> Sizes:
        """How large requests may be to a model with this window, in tokens."""
        rules = self.compaction
        return Sizes(window, self.budget.answer_tokens, rules.share, rules.keep, rules.enabled)

    @property
    def skills_in_jobs(self) -> Path | None:
        """The directory of the owner's skills that jobs can read, if there is one."""
        return Path(self.executor.skills) if self.executor.skills else None


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
        *(("fallback", f"{each.name} at {each.base_url}") for each in config.model.fallback),
        ("executor", config.executor.socket),
        ("mcp", ", ".join(config.mcp) or "none"),
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
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets_of(inner, f"{path}.{name}")
    elif isinstance(value, tuple):
        for place, inner in enumerate(value):
            yield from _secrets_of(inner, f"{path}[{place}]")
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            below = f"{path}.{attribute.name}" if path else attribute.name
            yield from _secrets_of(getattr(value, attribute.name), below)


def _allowed(telegram: Telegram) -> str:
    people = {*telegram.allowed_users, *([telegram.owner] if telegram.owner else [])}
    found = f"{_count(people, 'user')}, {_count(telegram.allowed_chats, 'chat')}"
    return f"{found}, {_count(telegram.guests, 'guest')}" if telegram.guests else found


def _count(ids: Collection[int], noun: str) -> str:
    return f"{len(ids)} {noun}{'' if len(ids) == 1 else 's'}"
