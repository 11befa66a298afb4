"""Canary daemons: real processes whose secrets and sockets no job may ever reach.

One runs under the executor's own uid, where nothing but the sandbox stands between it and a job;
one under another. `unharmed` asks them what they have seen and the kernel how they are.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tests.executor import harness

_SOURCE = Path(__file__).with_name("canary_daemon.py")
_PYTHON = ("/usr/bin/python3", "-I", "-c")
# The secret's name in the environment.
VARIABLE = "FAMULUS_TOKEN"


@frozen
class Canary:
    """A daemon with something to lose. `port` is on 127.0.0.1, `abstract` lacks the leading NUL."""

    process: subprocess.Popen[str]
    where: Path
    secret: str
    abstract: str
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def config(self) -> Path:
        return self.where / "config.toml"

    @property
    def socket(self) -> Path:
        return self.where / "daemon.sock"

    def assert_unharmed(self) -> None:
        """Alive, not stopped, not traced, and reached by nobody."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        assert "\nTracerPid:\t0\n" in status
        assert "(stopped)" not in status
        assert "(tracing stop)" not in status
        assert self._reached() == ""

    def _reached(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("reached?\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@frozen
class Canaries:
    """`same_uid` has the account of the executor's jobs, `other_uid` another, if we are root."""

    same_uid: Canary
    other_uid: Canary

    def __iter__(self) -> Iterator[Canary]:
        return iter((self.same_uid, self.other_uid))

    def assert_unharmed(self, *outputs: bytes) -> None:
        """No secret of theirs is in the outputs, and they are well."""
        for canary in self:
            assert not any(canary.secret.encode() in output for output in outputs)
            canary.assert_unharmed()


@contextlib.contextmanager
def started() -> Iterator[Canaries]:
    with _canary(harness.USER) as same, _canary("nobody") as other:
        yield Canaries(same, other)


@contextlib.contextmanager
def _canary(account: str) -> Iterator[Canary]:
    with harness.place() as where:
        secret, abstract = secrets.token_hex(16), f"famulus-{secrets.token_hex(8)}"
        process = subprocess.Popen(
            [*_as(account, where), *_PYTHON, _SOURCE.read_text(), str(where), abstract],
            env={VARIABLE: secret, "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Canary(process, where, secret, abstract, port)


def _as(account: str, where: Path) -> list[str]:
    """The words that start a command as this account; an ordinary user has only its own."""
    if not harness.IS_ROOT:
        return []
    entry = pwd.getpwnam(account)
    os.chown(where, entry.pw_uid, entry.pw_gid)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
