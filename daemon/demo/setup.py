"""Which model answers in the demo, and the configuration that the real daemon is started with.

Pure, over the environment and the owner's file:

- FAMULUS_MODEL_BASE_URL, FAMULUS_MODEL_NAME and, if it wants one, FAMULUS_MODEL_KEY name a model;
- else the [model] table of `--config FILE`, if it has one;
- else the offline model of this package.

From `--config` the [agent] and [executor] tables are taken, too. Everything else, above all
[telegram] and every path, is the demo's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from agent.providers import default_url
from daemon.demo.botapi import BotApiServer
from daemon.demo.model import MODEL_NAME, ModelServer
from daemon.demo.place import Place
from daemon.errors import Fatal

BASE_URL: Final = "FAMULUS_MODEL_BASE_URL"
NAME: Final = "FAMULUS_MODEL_NAME"
KEY: Final = "FAMULUS_MODEL_KEY"

# The person at the terminal.
USER_ID: Final = 1
SHUTDOWN_GRACE: Final = 5.0


class SetupError(Fatal):
    """What the owner said about the model is incomplete or cannot be read."""


@frozen
class Setup:
    """What the owner chose. `model` is a [model] table, None for the offline model."""

    model: Mapping[str, Any] | None
    agent: Mapping[str, Any]
    executor: Mapping[str, Any]
    source: str = "the demo's configuration"

    @property
    def model_in_words(self) -> str:
        """Who answers, for the banner."""
        if self.model is None:
            return "the offline demo model (a few fixed skills, no network)"
        place = default_url(str(self.model.get("provider", "openai")))
        return f"{self.model.get('name', '?')} at {self.model.get('base_url', place)}"


def choose(environ: Mapping[str, str], config: Path | None) -> Setup:
    """Read what the owner chose. Raises SetupError."""
    document = {} if config is None else _read(config)
    tables = {name: _table(document, name, config) for name in ("model", "agent", "executor")}
    return Setup(
        _from_environment(environ) or tables["model"] or None,
        tables["agent"],
        tables["executor"],
        str(config) if config else "the demo's configuration",
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any] | None:
    name, base_url = environ.get(NAME, ""), environ.get(BASE_URL, "")
    if not name and not base_url:
        return None
    if not name:
        raise SetupError(f"{BASE_URL} is set and {NAME} is not", f"set {NAME} to the model's name")
    model: dict[str, Any] = {"name": name}
    if base_url:
        model["base_url"] = base_url
    if environ.get(KEY):
        model["api_key"] = {"env": KEY}
    return model


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}", "name a configuration") from error
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{path}: not valid TOML: {error}", "correct it") from None


def _table(document: Mapping[str, Any], name: str, path: Path | None) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise SetupError(f"{path}: {name}: expected a table", "correct it")
    return table


def document(setup: Setup, place: Place, bot: BotApiServer, model: ModelServer) -> dict[str, Any]:
    """Give the configuration of the demo's daemon."""
    offline = {
        "base_url": model.base_url,
        "name": MODEL_NAME,
        "transcription": MODEL_NAME,
        "speech": MODEL_NAME,
        "images": "yes",
        "documents": "yes",
    }
    return {
        "state_dir": str(place.state),
        "shutdown_grace": SHUTDOWN_GRACE,
        "telegram": {
            "token": {"file": str(place.token)},
            "api_base_url": bot.base_url,
            "allowed_users": [USER_ID],
        },
        "model": setup.model or offline,
        "agent": setup.agent,
        "executor": {
            **setup.executor,
            "socket": str(place.socket),
            "workspaces": str(place.workspaces),
        },
    }
