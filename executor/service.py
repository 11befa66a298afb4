"""The executor once it is unprivileged: choose the layers, prove them, serve.

The proof is a job like any other, in a workspace of its own, in each language: if the verifier
does not find every promise kept, or the job does not do what it must, the executor refuses to
start. Then it says that it is ready, in one line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import trio
from attrs import frozen

from executor import interpreter, messages, privileges, probe, trim, zygote
from executor.boxes import ENVIRONMENT
from executor.errors import FileRefused
from executor.isolation import cgroup
from executor.isolation.cgroup import Cgroup, Groups
from executor.isolation.firejail import Firejail
from executor.isolation.landlock import Landlock
from executor.isolation.layer import Layer
from executor.isolation.namespaces import Namespaces
from executor.isolation.none import Unconfined
from executor.isolation.prefix import Prefix
from executor.isolation.rlimit import Rlimit
from executor.isolation.seccomp import Seccomp
from executor.isolation.stack import ORDER, Refused, Stack, Wanted, choose, required_by
from executor.isolation.subreaper import Subreaper
from executor.job import BASE, DATA, Runner
from executor.journal import log
from executor.messages import Job, Result, Status
from executor.output import Output
from executor.place import Place
from executor.privileges import Identity
from executor.server import Server
from executor.settings import Settings
from executor.workspace import Workspaces
from executor.zygote import Zygote, ZygoteGone

_PROBE_WORKSPACE = "probe"  # it is no chat's, and so removed again
_PROBE_OUTPUT = 16 * 1024
_STDIN = 0
# What most code imports, and what the trusted code needs of the library.
_USUAL = ("re", "math", "random", "datetime", "traceback")
_CACHE = ".matplotlib"
_DATA = (*_USUAL, "numpy", "pandas", "matplotlib.pyplot", "scipy")


@frozen
class Prepared:
    """What was acquired while there were still privileges, and is handed to the service."""

    settings: Settings
    identity: Identity
    place: Place
    groups: Groups | None
    profile: str
    sources: Mapping[str, str]
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
        prepared.place.remove()
        if prepared.groups is not None:
            cgroup.sweep(prepared.groups)


def _refusal_in(error: BaseException) -> Refused | None:
    """Find the refusal that nurseries have wrapped in groups, if that is what it was."""
    if isinstance(error, BaseExceptionGroup):
        found = (_refusal_in(one) for one in error.exceptions)
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, Refused) else None


def _stack(prepared: Prepared) -> Stack:
    settings = prepared.settings
    interpreter.check(settings.python, prepared.identity.user, settings.workspaces)
    interpreter.check_skills(settings, prepared.identity.user)
    asked = frozenset(ORDER if settings.stack == "auto" else settings.stack)
    layers: tuple[Layer, ...] = (
        Seccomp(),
        Rlimit(asked, 0 if prepared.identity.shared_uid else settings.jobs_at_once),
        Cgroup(cgroup.usable(prepared.groups)),
        Namespaces(settings.workspaces, prepared.identity.user),
        Firejail(prepared.profile),
        Landlock(settings.workspaces),
        Prefix(settings.prefix),
        Unconfined(settings.workspaces),
        Subreaper(),
    )
    groups = privileges.supplementary_groups()
    wanted = Wanted(settings.stack, settings.require, prepared.identity.shared_uid, groups)
    return choose(wanted, {layer.name: layer for layer in layers})


async def _serve(
    prepared: Prepared, stack: Stack, announce: Callable[[dict[str, object]], None]
) -> None:
    settings = prepared.settings
    workspaces = Workspaces(Path(settings.workspaces))
    runner = Runner(settings, stack, workspaces)
    cache = str(Path(settings.workspaces) / _CACHE)
    async with zygote.started(settings.python, prepared.sources, _USUAL, cache) as base:
        runner.boxes.add(BASE, base, settings.warm_boxes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, runner.stopping)
            nursery.start_soon(_watch_zygote, base)
            await nursery.start(runner.boxes.run)
            nursery.start_soon(runner.sessions.run)
            nursery.start_soon(_load_data, prepared, runner)
            nursery.start_soon(workspaces.sweep)
            if prepared.until_stdin_closes:
                nursery.start_soon(_stop_when_stdin_closes, runner.stopping)
            await _prove(runner)
            trim.give_back_memory()
            status = _Reporter(prepared, runner)
            server = Server(runner, prepared.identity.access, status)
            await server.serve(
                prepared.place.listener,
                ready=lambda: announce({"ready": messages.status_to_json(status())}),
            )
            nursery.cancel_scope.cancel()


async def _load_data(prepared: Prepared, runner: Runner) -> None:
    """When code first mentions them, start a zygote that has imported the packages for data."""
    await runner.wants_data.wait()
    settings = prepared.settings
    cache = str(Path(settings.workspaces) / _CACHE)
    try:
        async with zygote.started(settings.python, prepared.sources, _DATA, cache) as data:
            if set(data.loaded) > set(_USUAL):
                runner.boxes.add(DATA, data, min(1, settings.warm_boxes))
                log("packages preloaded", names=",".join(data.loaded))
                await _watch_zygote(data)
    except Refused as refused:  # they are imported by each job for itself, then
        log("packages could not be preloaded", why=refused.cause)


async def _prove(runner: Runner) -> None:
    """Run the start-up probe. Raises Refused unless every line of it holds."""
    if "prefix" in runner.stack.names:
        await _believe_prefix(runner)
    settings = runner.settings
    for language, code in (
        ("python", probe.code(runner.workspaces.canary, settings.workspaces)),
        ("bash", "echo $((6 * 7))"),
    ):
        output = Output(_PROBE_OUTPUT)
        result = await runner.run(Job(language, code, _PROBE_WORKSPACE), output)
        printed = output.stdout.take(_PROBE_OUTPUT)
        if result.reason != "exit" or result.code != 0:
            raise Refused(*_explain(result, output, language))
        if language == "python":
            _check(runner, printed)
        elif printed != b"42\n":
            raise Refused("the start-up probe failed: bash did not do its sum", _remedy(""))
    async with runner.workspaces.hold(_PROBE_WORKSPACE):
        with contextlib.suppress(FileRefused):  # no reason not to serve
            runner.workspaces.discard(_PROBE_WORKSPACE)
    log("probe passed", layers=",".join(runner.stack.names))


def _check(runner: Runner, printed: bytes) -> None:
    """Raise Refused unless the probe found everything as it must be."""
    table = probe.rows(ENVIRONMENT, os.getuid())
    findings = probe.judge(table, printed, runner.stack.capabilities)
    open_ = [f"{one.row.name} ({one.outcome})" for one in findings if not one.held]
    if open_:
        raise Refused(f"the start-up probe failed: {', '.join(open_)}", _remedy(""))


async def _believe_prefix(runner: Runner) -> None:
    """Find out what the owner's command does, and whether that is enough."""
    await runner.believe_what_holds(_PROBE_WORKSPACE)
    required = required_by(runner.settings.require)
    if open_ := sorted(required - runner.stack.capabilities):
        raise Refused(
            f"the command in [executor] prefix does not give {', '.join(open_)}",
            "mend the command, or take that out of [executor] require",
        )


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
    if "supplementary groups" in detail:
        return (
            "start the executor as root with --user, which clears them; or choose the namespaces "
            "stack, where they open nothing"
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


async def _watch_zygote(watched: Zygote) -> None:
    """Without its zygote there are no jobs, and only a new start makes another."""
    await watched.orders.recv(1)
    raise ZygoteGone("a zygote has died")


async def _stop_when_stdin_closes(stopping: trio.Event) -> None:
    """A parent that supervises us holds the other end; its death, however sudden, ends us."""
    stdin = trio.lowlevel.FdStream(os.dup(_STDIN))
    async with stdin:
        while await stdin.receive_some():
            pass
    stopping.set()
