"""What the configuration says of models reaches the clients."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.parameters import Parameters
from daemon import config, models
from daemon.config import Config
from daemon.demo.http import Request, serve
from daemon.demo.model import MODEL_NAME
from tests.harness.rig import open_rig

TEXT = """
[telegram]
token = { env = "T" }
[model]
provider = "openai_responses"
name = "gpt-5-mini"
api_key = { file = "KEY" }
reasoning_effort = "low"
context_window = 200000
transcription = "whisper-1"
speech = "tts-1"
speech_voice = "nova"
read_timeout = 9
max_attempts = 2
[[model.fallback]]
provider = "ollama"
name = "llava"
temperature = 0.5
images = "no"
"""


@pytest.fixture
def configured(tmp_path: Path) -> Config:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    return config.parse(TEXT.replace("KEY", str(key)))


def test_each_model_has_its_own_options(configured: Config) -> None:
    """Address, key and wishes are a model's; patience is the same for all."""
    found = configured
    first, second = (each.options for each in models.build(found, None).models)

    assert (first.provider, first.base_url) == ("openai_responses", "https://api.openai.com/v1")
    assert (first.name, first.api_key, first.transcription) == ("gpt-5-mini", "secret", "whisper-1")
    assert (first.speech, first.speech_voice, second.speech) == ("tts-1", "nova", "")
    assert first.parameters == Parameters(reasoning_effort="low")
    assert (second.provider, second.base_url) == ("ollama", "http://127.0.0.1:11434/v1")
    assert (second.name, second.api_key, second.transcription) == ("llava", None, "")
    assert second.parameters == Parameters(temperature=0.5)
    assert (second.images, second.context_window) == ("no", 0)
    for options in (first, second):
        assert (options.read_timeout, options.max_attempts) == (9.0, 2)
    assert models.addresses(found) == [first.base_url, second.base_url]


async def test_a_window_that_is_told_is_not_asked_for(configured: Config) -> None:
    """So that nothing is fetched from a provider that does not say it."""
    built = models.build(configured, None)
    assert built.window_so_far() == 200_000
    assert await built.window() == 200_000


async def test_a_stand_in_answers_the_chat() -> None:
    """The daemon's first model is not there; the second's answer arrives, and its row says whose.

    The first speaks the other protocol, and its address is one that nobody listens at.
    """
    async with open_rig() as rig:
        key = {"file": str(rig.place.root / "model.key")}
        second = {"base_url": rig.model.base_url, "name": MODEL_NAME, "api_key": key}
        first = {"provider": "openai_responses", "base_url": "http://127.0.0.1:1/v1", "name": "m"}
        rig.configure([1], model={**first, "max_attempts": 1, "fallback": [second]})
        rig.model.script = ["from the second"]
        await rig.start()
        rig.bot.user_says("hello")
        await rig.until(lambda: "from the second" in str(rig.bot.sent))
        assert "m gave no answer: connection: " in rig.log()
        with closing(sqlite3.connect(rig.place.state / "famulus.db")) as db:
            rows = db.execute("SELECT model, state FROM model_calls").fetchall()
    assert rows == [(MODEL_NAME, "done")]


async def test_recordings_need_a_model_that_is_named() -> None:
    """The tool is offered when `model.transcription` says who writes them down, and else not."""
    for transcription in ("whisper-1", None):
        named = {"transcription": transcription} if transcription else {}
        async with open_rig(model=named) as rig:
            await rig.start()
            rig.bot.user_says("hello")
            await rig.until(lambda rig=rig: rig.bot.sent)
            offered = rig.model.requests[0].tool_names
        assert ("transcribe_audio" in offered) is bool(transcription)


async def test_a_voice_needs_a_model_that_is_named() -> None:
    """Then a text that is to be said arrives as a voice message; else nobody offers to say it."""
    for speech in (MODEL_NAME, None):
        async with open_rig(model={"speech": speech} if speech else {}) as rig:
            await rig.start()
            rig.bot.user_says("say aloud: Good morning.")
            await rig.until(lambda rig=rig: rig.bot.texts(1) and rig.bot.texts(1)[-1])
            kinds = [message.file_kind for message in rig.bot.chat(1) if message.from_bot]
            offered = rig.model.requests[0].tool_names
        assert ("speak" in offered, kinds[0]) == ((True, "voice") if speech else (False, ""))


async def test_a_list_of_models_that_does_not_come_delays_nobody() -> None:
    """The first turn of a process is answered while the provider still owes it."""
    happened: list[str] = []
    async with open_rig() as rig, trio.open_nursery() as nursery:

        async def handle(request: Request) -> Any:
            happened.append(request.path)
            if request.path != "/v1/models":
                return await rig.model._handle(request)
            try:
                await request.unless_hung_up(trio.sleep_forever)
            finally:
                happened.append("given up")

        root = await nursery.start(serve, handle)
        rig.configure([1], model={"base_url": f"{root}/v1"})
        rig.model.script = ["hi"]
        await rig.start()
        rig.bot.user_says("hello")
        await rig.until(lambda: rig.bot.texts(1) == ["hi"])
        nursery.cancel_scope.cancel()
    assert sorted(happened[:2]) == ["/v1/chat/completions", "/v1/models"]
