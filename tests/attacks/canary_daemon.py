"""A daemon with something to lose, as a process: executed, not imported.

It has a secret in its environment and another in a configuration file that is for its own account
alone, and listens where a job might try to reach it: an abstract socket, one with a path that
everybody may write, and TCP on the loopback address. On standard input it is asked, by a line,
what has reached it, and answers with a line. It ends with its standard input.

Arguments: the directory for its files, the name of the abstract socket.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from pathlib import Path


def main(where: str, abstract: str) -> None:
    secret = os.environ["FAMULUS_TOKEN"]
    config = Path(where, "config.toml")
    config.touch(0o600)
    config.write_text(f'token = "{secret}"\n')
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _frame: signals.append(number))
    path = Path(where, "daemon.sock")
    listeners = {
        "abstract": listening(socket.AF_UNIX, "\0" + abstract),
        "pathname": listening(socket.AF_UNIX, str(path)),
        "tcp": listening(socket.AF_INET, ("127.0.0.1", 0)),
    }
    path.chmod(0o777)
    say(str(listeners["tcp"].getsockname()[1]))
    while sys.stdin.readline():
        reached = [name for name, listener in listeners.items() if accepts(listener)]
        say(" ".join(reached + [f"signal-{number}" for number in signals]))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def listening(family: int, address: object) -> socket.socket:
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


def accepts(listener: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        return bool(selector.select(0))


if __name__ == "__main__":
    main(*sys.argv[1:3])
