"""A secret in the configuration: a reference to where the value is, never the value.

The configuration file is copied into bug reports and backups, so it says only where to look: an
environment variable, a file, or a systemd credential. The value is read when it is needed, is
registered for redaction before anybody can see it, and is not kept: a rotated file takes effect
at the next `reveal`.

A secret file that everybody on the machine may read is refused, since it is no secret. One that
its group may read is accepted: `root:famulus 0640` is how packages install such files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Self

from attrs import field, frozen

from daemon import redact
from daemon.errors import Fatal

# A PEM key with its chain is a few kilobytes; anything beyond this is the wrong file.
MAX_FILE_BYTES: Final = 64 * 1024

KINDS: Final = ("env", "file", "credential")


class SecretError(Fatal):
    """A secret cannot be read. `cause` and `remedy` name the reference, never the value."""


@frozen(kw_only=True)
class Secret:
    """Where a secret value is found: exactly one of the fields is set.

    `env` is a variable's name, `file` an absolute path, `credential` the name given to
    `LoadCredential=` in the unit.
    """

    env: str | None = None
    file: str | None = None
    credential: str | None = None
    _literal: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, value: str) -> Self:
        """A secret made inside the process, such as the token of the local demo server."""
        return cls(literal=value)

    def reveal(self) -> str:
        """The value, registered for redaction. Blocks for one small file read at most.

        Raises:
          SecretError: it is missing, empty, not text, or readable by everybody.
        """
        value = self._read()
        redact.register(value)
        _check_value(value, self.describe())
        return value

    def describe(self) -> str:
        """The reference in words, fit for a log line or a table."""
        for kind in KINDS:
            name = getattr(self, kind)
            if name is not None:
                return f"{kind} {name}"
        return "a value of this process"

    def _read(self) -> str:
        if self._literal is not None:
            return self._literal
        if self.env is not None:
            return _from_environment(self.env)
        if self.file is not None:
            return _from_file(Path(self.file))
        return _from_credential(self.credential or "")


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SecretError(f"the environment variable {name} is not set", f"set {name}")
    return value


def _from_credential(name: str) -> str:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise SecretError(
            f"the systemd credential {name} is not available: CREDENTIALS_DIRECTORY is not set",
            f"start the daemon from a unit with LoadCredential={name}:/path/to/the/file",
        )
    path = Path(directory) / name
    if not path.exists():
        raise SecretError(
            f"the systemd credential {name} was not passed to the daemon",
            f"add LoadCredential={name}:/path/to/the/file to the unit",
        )
    return _read_small_file(path, private=False)  # systemd guards the directory itself


def _from_file(path: Path) -> str:
    return _read_small_file(path, private=True)


def _read_small_file(path: Path, *, private: bool) -> str:
    """The file's text without its final line break; refused if `private` and open to all."""
    try:
        # Without O_NONBLOCK, a FIFO in this place would hang the start for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check_file(path, os.fstat(fd), private=private)
            data = os.read(fd, MAX_FILE_BYTES + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise SecretError(
            f"the secret file {path} cannot be opened: {error.strerror}",
            f"create it, readable by the daemon's user (uid {os.geteuid()}) alone",
        ) from error
    return _decode(path, data)


def _check_file(path: Path, info: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise SecretError(f"the secret file {path} is not a regular file", "point to a file")
    if private and info.st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(info.st_mode)
        raise SecretError(
            f"everybody on this machine may open the secret file {path} (mode {mode:04o})",
            f"chmod o-rwx {path}",
        )


def _decode(path: Path, data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise SecretError(
            f"the secret file {path} is larger than {MAX_FILE_BYTES} bytes",
            "put the value alone into it",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # Not chained: the original error carries the bytes.
        raise SecretError(f"the secret file {path} is not text", "write it as UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _check_value(value: str, where: str) -> None:
    """Refuse what would break, or be injected into, a URL or a header line."""
    if not value.strip():
        raise SecretError(f"the secret of {where} is empty", "put the value there")
    if not value.isprintable() or value != value.strip():
        raise SecretError(
            f"the secret of {where} has a line break, control character or space around it",
            "put the value alone there, on one line",
        )
