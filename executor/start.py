"""What the executor's process does at start.

It reads its settings as JSON from descriptor N, acquires what needs privileges, gives them up,
and serves. The order matters and is all in `_start`. Everything is imported before root is given
up, because afterwards the interpreter's own files may be out of reach.

On standard output it says one line of JSON, once: `{"ready": STATUS}` when it accepts jobs, or
`{"refused": CAUSE, "remedy": REMEDY}`. A refusal exits 78 (EX_CONFIG): no restart will cure it.
Logs go to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys

from executor import activation, bundle, place, privileges, profile, service
from executor.isolation import cgroup
from executor.isolation.cgroup import Groups
from executor.isolation.stack import Refused
from executor.journal import log
from executor.launch import EXIT_CONFIG
from executor.place import Place
from executor.privileges import Identity
from executor.settings import Settings, from_json


def main() -> int:
    """Run the executor. Gives the exit code."""
    options = _options()
    listener = None
    try:
        listener = activation.inherited()
        _start(options, listener)
    except Refused as refused:
        _say({"refused": refused.cause, "remedy": refused.remedy})
        sys.stderr.write(f"executor: {refused}\n")
        activation.refuse(listener, refused)
        return EXIT_CONFIG
    except BaseException:
        activation.refuse(listener, Refused("the executor has failed", "its log says why"))
        raise
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m executor", description="Run jobs in boxes.")
    parser.add_argument("--settings-fd", type=int, required=True, metavar="N")
    parser.add_argument("--user", metavar="NAME", help="the account to become; needs root")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end when standard input does"
    )
    return parser.parse_args()


def _start(options: argparse.Namespace, inherited: socket.socket | None) -> None:
    """Acquire, give up root, serve."""
    settings = _settings(options.settings_fd)
    identity = privileges.identify(options.user, settings.user, settings.daemon_user)
    socket_place = _place(settings, identity, inherited)
    place.make_workspaces(settings.workspaces, identity)
    groups = _groups(identity)
    sources = bundle.sources()
    text = profile.load()
    privileges.drop(identity)
    prepared = service.Prepared(
        settings=settings,
        identity=identity,
        place=socket_place,
        groups=groups,
        profile=text,
        sources=sources,
        until_stdin_closes=options.until_stdin_closes,
    )
    service.run(prepared, _say_ready)


def _place(settings: Settings, identity: Identity, inherited: socket.socket | None) -> Place:
    if inherited is None:
        return place.bind(settings.socket, identity.daemon)
    activation.check(inherited, settings.socket, identity)
    return Place(inherited)


def _settings(fd: int) -> Settings:
    """Read the settings to the end of the descriptor and close it."""
    with os.fdopen(fd, "rb") as file:
        try:
            return from_json(json.loads(file.read()))
        except (ValueError, TypeError) as error:
            raise Refused(f"the settings are not understood: {error}", "") from error


def _groups(identity: Identity) -> Groups | None:
    """As root, make the v1 groups for jobs; where that cannot be, the layer will say so."""
    groups = cgroup.here(identity.user)
    if groups is not None and os.getuid() == 0:
        with contextlib.suppress(OSError):
            cgroup.hand_over(groups, identity.uid, identity.gid)
    return groups


def _say_ready(values: dict[str, object]) -> None:
    _say(values)
    activation.notify(f"READY=1\n{activation.status('jobs can be run')}")


def _say(values: dict[str, object]) -> None:
    """Write the one line on standard output; a start does not fail because nobody reads it."""
    try:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()
    except OSError:
        log("nobody reads standard output")
