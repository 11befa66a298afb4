"""The models of the configuration, as the one that turns ask."""

from __future__ import annotations

import ssl

from agent.fallback import Models
from agent.model import OpenAIModel
from agent.parameters import Parameters
from agent.request import ModelOptions
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
    wishes = Parameters(model.temperature, model.reasoning_effort, model.max_output_tokens)
    return ModelOptions(
        model.base_url,
        model.name,
        api_key=model.api_key.reveal() if model.api_key is not None else None,
        tls=tls,
        connect_timeout=config.model.connect_timeout,
        read_timeout=config.model.read_timeout,
        max_attempts=config.model.max_attempts,
        provider=model.provider,
        parameters=wishes,
        context_window=model.context_window,
        transcription=(config.model.transcription or "") if model is config.model else "",
        speech=(config.model.speech or "") if model is config.model else "",
        speech_voice=config.model.speech_voice,
        images=model.images,
        documents=model.documents,
    )
