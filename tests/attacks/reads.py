"""A job that tries to read the daemon's configuration, environment and sockets, as code."""

from __future__ import annotations

from tests.attacks import snippets
from tests.attacks.canaries import Canaries

_HELPERS = """
def connect(family, where):
    with socket.socket(family) as sock: sock.connect(where)
def read(path): print(open(path, 'rb').read())
"""


def code(canaries: Canaries) -> str:
    """Give code that prints, for each canary and each thing, what it was told; or what it read."""
    parts = [_HELPERS]
    for name, canary in (("same uid", canaries.same_uid), ("other uid", canaries.other_uid)):
        parts.append(
            f"attempt('{name}: config', lambda: read({str(canary.config)!r}))\n"
            f"attempt('{name}: its directory', lambda: os.listdir({str(canary.where)!r}))\n"
            f"attempt('{name}: environment', lambda: read('/proc/{canary.pid}/environ'))\n"
            f"attempt('{name}: command line', lambda: read('/proc/{canary.pid}/cmdline'))\n"
            f"attempt('{name}: memory', lambda: read('/proc/{canary.pid}/mem'))\n"
            f"attempt('{name}: abstract socket', lambda: connect(1, '\\0{canary.abstract}'))\n"
            f"attempt('{name}: socket with a path', lambda: connect(1, {str(canary.socket)!r}))\n"
            f"attempt('{name}: TCP port', lambda: connect(2, ('127.0.0.1', {canary.port})))\n"
        )
    return snippets.python("".join(parts))


def outcomes(output: bytes) -> dict[str, str]:
    """Read what `code` has printed: what was tried, and the error's name or "done"."""
    lines = (line.rpartition(" ") for line in output.decode().splitlines())
    return {what: outcome for what, _, outcome in lines}
