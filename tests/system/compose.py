"""compose.yaml, read as strictly as it is short: a key that is not known here is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import field, frozen

PATH = Path(__file__).resolve().parents[2] / "compose.yaml"
# What only an engine with a daemon and control groups of its own can do; the rig cannot.
LEFT_TO_THE_ENGINE = frozenset(
    {
        *("build", "image", "depends_on", "init", "restart", "stop_grace_period"),
        *("mem_limit", "memswap_limit", "pids_limit"),
    }
)
_VARIABLE = re.compile(r"\$\{(\w+):([?-])([^}]*)\}")


@frozen
class Volume:
    """A volume by its name, or a file beside compose.yaml by its path, and where it is seen."""

    source: str
    target: str
    read_only: bool = False

    @property
    def named(self) -> bool:
        return not self.source.startswith("./")


@frozen
class Service:
    """What one container is and may do. `engine` is what is in LEFT_TO_THE_ENGINE, as it stands."""

    user: str
    command: tuple[str, ...]
    volumes: tuple[Volume, ...]
    tmpfs: tuple[str, ...]
    cap_drop: tuple[str, ...]
    security_opt: tuple[str, ...]
    read_only: bool
    network_mode: str = ""
    environment: Mapping[str, str] = field(factory=dict)
    engine: Mapping[str, Any] = field(factory=dict)


def services(values: Mapping[str, str]) -> dict[str, Service]:
    """Read the file, with `values` for the variables that it takes from `.env`."""
    document = yaml.safe_load(PATH.read_text())
    assert set(document) == {"services", "volumes"}
    found = {name: _service(keys, values) for name, keys in document["services"].items()}
    volumes = {one.source for service in found.values() for one in service.volumes if one.named}
    assert volumes == set(document["volumes"])
    return found


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Put in `${NAME:-default}` and `${NAME:?message}`. Raises KeyError with the message."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if kind == "?" and not values.get(name):
            raise KeyError(rest)
        return values.get(name) or rest

    return _VARIABLE.sub(value, text)


def _service(keys: dict[str, Any], values: Mapping[str, str]) -> Service:
    engine = {key: value for key, value in keys.items() if key in LEFT_TO_THE_ENGINE}
    ours = {key: value for key, value in keys.items() if key not in LEFT_TO_THE_ENGINE}
    lists = {key: tuple(value) for key, value in ours.items() if isinstance(value, list)}
    volumes = tuple(_volume(text) for text in lists.pop("volumes"))
    environment = ours.pop("environment", {})
    given = {name: substituted(text, values) for name, text in environment.items()}
    return Service(**{**ours, **lists, "volumes": volumes, "environment": given, "engine": engine})


def _volume(text: str) -> Volume:
    source, target, *mode = text.split(":")
    assert mode in ([], ["ro"]), text
    return Volume(source, target, bool(mode))
