"""The process on one page: its start and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define

from daemon import config, host, statelock
from daemon.main import _assemble

TOKEN = "12345678:AAHsecretsecretsecretsecretsecret00"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", TOKEN)
    path = tmp_path / "config.toml"
    text = config.example().replace("/var/lib/famulus", str(tmp_path / "state"), 1)
    path.write_text(text.replace("/run/famulus", str(tmp_path)))
    return path


@define
class Stuck:
    """A part that never becomes ready."""

    begun: trio.Event

    async def run(self, **_kwargs: Any) -> None:
        self.begun.set()
        await trio.sleep_forever()

    def wake(self, _place: object) -> None: ...

    async def close(self, _grace: float) -> None: ...


@define
class Stop:
    """SIGTERM, once something has happened."""

    after: trio.Event

    def __aiter__(self) -> Stop:
        return self

    async def __anext__(self) -> host.Event:
        await self.after.wait()
        return host.Event.STOP


async def test_a_start_that_does_not_get_on_ends_when_asked_to(file: Path) -> None:
    """Such as one whose database is busy: it is tried again for minutes."""
    settings = config.load(file)
    begun = trio.Event()
    with trio.fail_after(20), statelock.hold(settings.state_dir) as held:
        async with _assemble(settings, file, with_executor=False) as daemon:
            daemon.outbox = Stuck(begun)  # type: ignore[assignment]  # a fake of what is used here
            await daemon.live(held, Stop(begun))  # type: ignore[arg-type]  # the same
    assert begun.is_set()
