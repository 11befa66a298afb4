"""The rules of `[[model.fallback]]`, and what of models is allowed but probably not meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from agent.providers import needs_key

if TYPE_CHECKING:
    from daemon.config import Config, OneModel


EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")


def broken_rule(
    tables: Sequence[Any], rules: Mapping[str, Callable[[Any], str | None]]
) -> str | None:
    """What the first of the tables that breaks a rule of `[model]` should have had."""
    for place, table in enumerate(tables):
        for key, found in table.items() if isinstance(table, Mapping) else ():
            rule = rules.get(f"model.{key}")
            if rule is not None and (expected := rule(found)) is not None:
                return f"{expected} as {key} of table {place + 1}"
    return None


def key_warnings(config: Config) -> Iterator[str]:
    """Keys that a provider is known to want and is not given."""
    for path, model in models(config):
        if model.api_key is None and needs_key(model.provider, model.base_url):
            host = urlsplit(model.base_url).hostname
            yield f"{path}.api_key is not set: {host} will refuse every request (401)"


def price_warnings(config: Config) -> Iterator[str]:
    """Stand-ins whose calls nobody can price, where money is limited."""
    for place, model in enumerate(config.model.fallback):
        if config.budget.limits_money and config.tariff.price(model.name) is None:
            yield (
                f"model.fallback[{place}]: {model.name!r} has no price in [[prices]]: its calls "
                "will count as what is set aside for one of the first model"
            )


def models(config: Config) -> Iterator[tuple[str, OneModel]]:
    """Each model with the path of its table."""
    yield "model", config.model
    for place, model in enumerate(config.model.fallback):
        yield f"model.fallback[{place}]", model
