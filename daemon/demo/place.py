"""The demo's private place: a temporary directory with state, configuration, token and log.

Everything in it is 0600 or 0700, but for two directories that the executor's own user must pass
when root starts the demo: the top one (search only, nothing can be listed) and the one with the
socket and the workspaces. It is removed at the end, unless it is to be kept.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from executor.settings import Settings

# A unix socket's path is at most 107 bytes; a long TMPDIR would not leave room for it.
MAX_ROOT: Final = 60
PASSABLE: Final = 0o711


@frozen
class Place:
    """The paths below the temporary directory."""

    root: Path

    @property
    def state(self) -> Path:
        """The daemon's state directory."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.root / "config.toml"

    @property
    def token(self) -> Path:
        """The file with the bot's token."""
        return self.root / "token"

    @property
    def log(self) -> Path:
        """What the daemon writes to standard error."""
        return self.root / "daemon.log"

    @property
    def received(self) -> Path:
        """The files that the chat was sent."""
        return self.root / "received"

    @property
    def socket(self) -> Path:
        """The executor's socket."""
        return self.root / "exec" / "executor.sock"

    @property
    def workspaces(self) -> Path:
        """The executor's workspaces."""
        return self.root / "exec" / "workspaces"


@contextmanager
def temporary_place(*, user: str = Settings().user, keep: bool = False) -> Iterator[Place]:
    """Make the directory; it is removed when the block ends, unless `keep`.

    `user` is whom the workspaces are given to when root runs the demo; if there is no such user the
    executor will say so itself.
    """
    parent = None if len(tempfile.gettempdir()) <= MAX_ROOT else "/tmp"  # noqa: S108 (mkdtemp's)
    place = Place(Path(tempfile.mkdtemp(prefix="famulus-demo-", dir=parent)))
    try:
        place.state.mkdir(mode=0o700)
        place.socket.parent.mkdir(mode=0o700)  # parents=True would leave it to the umask
        place.workspaces.mkdir(mode=0o700)
        if os.geteuid() == 0:
            _open_to(place, user)
        yield place
    finally:
        if not keep:
            shutil.rmtree(place.root, ignore_errors=True)


def _open_to(place: Place, user: str) -> None:
    place.root.chmod(PASSABLE)
    place.socket.parent.chmod(PASSABLE)
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return
    os.chown(place.workspaces, account.pw_uid, account.pw_gid)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, at no moment."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def toml(document: Mapping[str, Any]) -> str:
    """Write a document as TOML: plain keys first, then a table for each mapping."""
    plain = [f"{key} = {_value(v)}" for key, v in document.items() if not isinstance(v, Mapping)]
    tables = [
        "\n".join(["", f"[{name}]", *(f"{key} = {_value(v)}" for key, v in table.items())])
        for name, table in document.items()
        if isinstance(table, Mapping)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def _value(value: Any) -> str:  # noqa: ANN401 (what tomllib gives)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    # JSON's strings, numbers and booleans are TOML's; DEL is the one difference.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
