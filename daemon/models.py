"""The models of the configuration, as the one that turns ask."""

from __future__ import annotations

import ssl

from agent.fallback import Models
from agent.model import ModelOptions, OpenAIModel
from agent.parameters import Parameters
from daemon import log
from daemon.config import Config, OneModel

_log = log.get("model")


def build(config: Config, tls: ssl.SSLContext | None) -> Models:
    """The configured model, then those that stand in for it; reads their keys."""
    chosen = (config.model, *config.model.fallback)
    return Models([OpenAIModel(_options(config, each, tls), _remark) for each in chosen], _remark)


def addresses(config: Config) -> list[str]:
    return [each.base_url for each in (config.model, *config.model.fallback)]


def _remark(text: str) -> None:
    _log.warning("model", remark=text)


def _options(config: Config, model: OneModel, tls: ssl.SSLContext | None) -> ModelOptions:
    return ModelOptions(
        model.base_url,
        model.name,
        model.api_key.reveal() if model.api_key is not None else None,
        tls,
        config.model.connect_timeout,
        config.model.read_timeout,
        config.model.max_attempts,
        model.provider,
        Parameters(model.temperature, model.reasoning_effort, model.max_output_tokens),
        model.context_window,
        (config.model.transcription or "") if model is config.model else "",
        model.images,
    )
