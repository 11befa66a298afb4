"""A workspace's files in memory, as the executor would give them."""

from __future__ import annotations

from pathlib import Path

import trio
from attrs import define, field

from executor.file_client import Done
from executor.file_values import Content, Info, Listing


@define
class FakeFiles:
    """A workspace in memory; every write is a revision. `fault` is raised by all operations."""

    files: dict[str, str] = field(factory=dict)
    times: dict[str, float] = field(factory=dict)
    revision: int = 2
    fault: Exception | None = None
    hangs: bool = False
    asked: list[str] = field(factory=list)

    def __call__(self, _workspace: str) -> FakeFiles:
        return self

    def write(self, path: str, text: str) -> None:
        self.revision += 2
        self.files[path] = text
        self.times[path] = float(self.revision)

    def remove(self, path: str) -> None:
        self.revision += 2
        del self.files[path]

    async def glob(self, pattern: str, path: str = "") -> Done[Listing]:
        await self._begin(pattern)
        found = [name for name in sorted(self.files) if _matches(pattern, name)]
        infos = [Info(n, "file", len(self.files[n]), self.times[n], 0o644) for n in found]
        return Done(Listing(tuple(infos), False), self.revision)

    async def read(self, path: str, offset: int = 0, limit: int = 0) -> Done[Content]:
        await self._begin(path)
        data = self.files[path].encode()[:limit]
        return Done(Content(data, 0, len(data), False), self.revision)

    async def _begin(self, what: str) -> None:
        self.asked.append(what)
        if self.hangs:
            await trio.sleep_forever()
        if self.fault is not None:
            raise self.fault


def _matches(pattern: str, name: str) -> bool:
    return Path(name).match(pattern)
