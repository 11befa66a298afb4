"""The executor once it is unprivileged: choose the layers, prove them, serve.

The proof is a job like any other, in a workspace of its own, in each language: if the verifier
does not find every promise kept, or the job does not do what it must, the executor refuses to
start. Then it says that it is ready, in one line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from executor import messages, place, tree
from executor.isolation import cgroup
from executor.isolation.cgroup import Cgroup, Groups
from executor.isolation.firejail import Firejail
from executor.isolation.layer import Layer
from executor.isolation.rlimit import Rlimit
from executor.isolation.stack import AUTO, Refused, Stack, Wanted, choose
from executor.isolation.subreaper import Subreaper
from executor.job import Runner
from executor.journal import log
from executor.messages import Job, Result, Status
from executor.output import Output
from executor.privileges import Identity
from executor.server import Server
from executor.settings import Settings
from executor.workspace import Workspaces

_PROBE_WORKSPACE = "probe"
_PROBES = (("python", "print(6 * 7)"), ("bash", "echo $((6 * 7))"))
_STDIN = 0


@frozen
class Prepared:
    """What was acquired while there were still privileges, and is handed to the service."""

    settings: Settings
    identity: Identity
    listener: socket.socket
    orders: socket.socket
    groups: Groups | None
    profile: str
    box_source: bytes
    until_stdin_closes: bool


def run(prepared: Prepared, announce: Callable[[dict[str, object]], None]) -> None:
    """Serve until SIGTERM or SIGINT. Raises Refused if jobs would not be safe."""
    try:
        stack = _stack(prepared)
        trio.run(_serve, prepared, stack, announce, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        refused = _refusal_in(group)
        if refused is None:
            raise
        raise refused from None
    finally:
        # Only where the directory is our own; elsewhere the next start replaces the socket.
        with contextlib.suppress(OSError):
            os.unlink(prepared.settings.socket)


def _refusal_in(error: BaseException) -> Refused | None:
    """Find the refusal that nurseries have wrapped in groups, if that is what it was."""
    if isinstance(error, BaseExceptionGroup):
        found = (_refusal_in(one) for one in error.exceptions)
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, Refused) else None


def _stack(prepared: Prepared) -> Stack:
    settings = prepared.settings
    _check_interpreter(settings.python, prepared.identity)
    asked = frozenset(AUTO if isinstance(settings.stack, str) else settings.stack)
    layers: tuple[Layer, ...] = (
        Rlimit(asked),
        Cgroup(cgroup.usable(prepared.groups)),
        Firejail(prepared.profile),
        Subreaper(),
    )
    wanted = Wanted(settings.stack, settings.require, prepared.identity.shared_uid)
    return choose(wanted, {layer.name: layer for layer in layers})


def _check_interpreter(python: str, identity: Identity) -> None:
    """Raise Refused where the job's account cannot run the interpreter; say where the way ends."""
    if shutil.which(python) is not None and os.path.isabs(python):
        return
    closed = place.closed_to_us(python) or place.closed_to_us(os.path.realpath(python))
    why = f"{closed} is closed to it" if closed else "there is no such program"
    raise Refused(
        f"{identity.user} cannot run the interpreter {python}: {why}",
        "set [executor] python to one that every account can run, such as /usr/bin/python3",
    )


async def _serve(
    prepared: Prepared, stack: Stack, announce: Callable[[dict[str, object]], None]
) -> None:
    workspaces = Workspaces(Path(prepared.settings.workspaces))
    prepared.orders.setblocking(False)
    orders = trio.socket.from_stdlib_socket(prepared.orders)
    runner = Runner(prepared.settings, stack, workspaces, orders, prepared.box_source)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, runner.stopping)
        nursery.start_soon(_watch_spawner, orders)
        if prepared.until_stdin_closes:
            nursery.start_soon(_stop_when_stdin_closes, runner.stopping)
        await _prove(runner)
        tree.give_back_memory()
        status = _Reporter(prepared, runner)
        server = Server(runner, prepared.identity.access, status)
        await server.serve(
            prepared.listener,
            ready=lambda: announce({"ready": messages.status_to_json(status())}),
        )
        nursery.cancel_scope.cancel()


async def _prove(runner: Runner) -> None:
    """Run the start-up probe. Raises Refused unless every probe does exactly what it must."""
    for language, code in _PROBES:
        output = Output(4096)
        result = await runner.run(Job(language, code, _PROBE_WORKSPACE), output)
        if result.reason != "exit" or result.code != 0 or output.stdout.take(8) != b"42\n":
            raise Refused(*_explain(result, output, language))
    log("probe passed", layers=",".join(runner.stack.names))


def _explain(result: Result, output: Output, language: str) -> tuple[str, str]:
    said = output.stderr.take(400).decode(errors="replace").strip()
    detail = result.detail or f"{result.reason} {result.code}"
    cause = f"the start-up probe failed for {language}: {detail}" + (f" ({said})" if said else "")
    return cause, _remedy(result.detail)


def _remedy(detail: str) -> str:
    if "pid namespace" in detail:
        return (
            "firejail does not isolate inside a container or another sandbox: "
            "start the executor outside, on the host itself"
        )
    return "run the executor where its layers work, or choose others in [executor] stack"


@frozen
class _Reporter:
    """Makes the answer to STATUS."""

    prepared: Prepared
    runner: Runner

    def __call__(self) -> Status:
        stack = self.runner.stack
        return Status(
            layers=stack.names,
            capabilities=tuple(sorted(stack.capabilities)),
            soft=stack.soft,
            versions=_versions(stack),
            uid=os.getuid(),
            shared_uid=self.prepared.identity.shared_uid,
            jobs_running=self.runner.running,
            jobs_at_once=self.prepared.settings.jobs_at_once,
            unavailable=self.runner.unhealthy,
            notes=(*stack.notes, *_uid_note(self.prepared.identity)),
        )


def _versions(stack: Stack) -> dict[str, str]:
    layers = {layer.name: layer.version() for layer in stack.layers if layer.version()}
    return {"kernel": platform.release(), "python": platform.python_version(), **layers}


def _uid_note(identity: Identity) -> tuple[str, ...]:
    if not identity.shared_uid:
        return ()
    note = (
        f"jobs run with the uid of {identity.user}, the daemon's own: only the layers stand "
        "between; for an account of their own, start the executor as root with --user"
    )
    return (note,)


# ---- what ends the service ----


async def _stop_on_signal(stopping: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stopping.set()


async def _watch_spawner(orders: trio.socket.SocketType) -> None:
    """Without the spawner there are no jobs, and only a new start makes another."""
    await orders.recv(1)
    raise SpawnerGone("the spawner has died")


async def _stop_when_stdin_closes(stopping: trio.Event) -> None:
    """A parent that supervises us holds the other end; its death, however sudden, ends us."""
    stdin = trio.lowlevel.FdStream(os.dup(_STDIN))
    async with stdin:
        while await stdin.receive_some():
            pass
    stopping.set()


class SpawnerGone(Exception):
    """The spawner was killed. The executor ends; whoever supervises it starts it anew."""
