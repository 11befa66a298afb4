"""Choosing the layers, and refusing when they do not cover what is required.

`choose` is a decision over plain values: the layers there could be, what the configuration asks
for, and what each layer says it lacks. A layer that was asked for by name and cannot work is a
refusal. With "auto", the best that isolates here is taken; what cannot work is left out and noted.
Then the same question is asked of either: does it cover everything in `require`? There is no
fallback from that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from attrs import field, frozen

from executor.isolation.layer import Capability, Layer, Missing

# In the order in which a box goes through them.
ORDER = (
    *("seccomp", "rlimit", "cgroup"),
    *("namespaces", "firejail", "landlock", "prefix", "none"),
    "subreaper",
)
# "auto" takes the first of these that works, and never runs a job without one, whatever `require`
# says.
ISOLATING = ("namespaces", "firejail", "landlock")
# What "auto" takes besides, as far as it works.
_BESIDES = frozenset({"seccomp", "rlimit", "cgroup", "subreaper"})
# Jobs that have the daemon's own uid could read its files and signal it without these.
_NEEDED_WITH_SHARED_UID = frozenset({Capability.FS, Capability.PID})
# Groups of the executor's own that are not the account's stay with a job, for only root can take
# them away. firejail's setuid helper does. In namespaces they open nothing: of the host a job sees
# the system's programs, which are everybody's, and a few devices; network, IPC and processes are
# its own. Otherwise they would open what it sees of the host's files beyond that.
_GROUPS_OPEN_NOTHING = frozenset({"namespaces"})
_GROUPS_STAY = frozenset({"landlock", "none"})
# What no layer of ours enforces everywhere; missing, it is reported as soft.
_WORTH_A_WORD = (Capability.MEM_TOTAL, Capability.CPU, Capability.DISK)


class Refused(Exception):
    """The executor does not start: `cause` says why, `remedy` what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}" if remedy else cause)
        self.cause = cause
        self.remedy = remedy


@frozen
class Stack:
    """The layers in force, in order, and what they promise together.

    With `keeps_groups` a job may have the executor's supplementary groups, which open nothing.
    """

    layers: tuple[Layer, ...]
    capabilities: frozenset[Capability]
    notes: tuple[str, ...] = field(default=())
    keeps_groups: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def soft(self) -> tuple[str, ...]:
        return tuple(one.value for one in _WORTH_A_WORD if one not in self.capabilities)


@frozen
class Wanted:
    """What the configuration asks for, and who we are: `groups` are those besides the account's."""

    stack: str | tuple[str, ...]
    require: tuple[str, ...]
    shared_uid: bool
    groups: tuple[str, ...] = ()


def choose(wanted: Wanted, known: Mapping[str, Layer]) -> Stack:
    """Give the stack for this host; raises Refused with the cause and the remedy."""
    required = required_by(wanted.require)
    layers, lacking = _auto(known) if wanted.stack == "auto" else _named(wanted.stack, known)
    names = frozenset(layer.name for layer in layers)
    covered = frozenset().union(*(layer.capabilities(names) for layer in layers))
    keeps_groups = bool(wanted.groups and names & _GROUPS_OPEN_NOTHING)
    stack = Stack(tuple(layers), covered, _notes(lacking), keeps_groups)
    check_covered(stack, required, known, lacking)
    if wanted.shared_uid:
        _check_shared_uid(covered)
    if wanted.groups:
        _check_groups(wanted.groups, names)
    return stack


def _auto(known: Mapping[str, Layer]) -> tuple[list[Layer], dict[str, Missing]]:
    """What this host has: everything that helps, and the best that isolates."""
    layers: list[Layer] = []
    lacking: dict[str, Missing] = {}
    isolated = False
    for name in ORDER:
        if name not in known or not (name in _BESIDES or (name in ISOLATING and not isolated)):
            continue
        missing = known[name].missing()
        if missing is not None:
            lacking[name] = missing
            continue
        layers.append(known[name])
        isolated = isolated or name in ISOLATING
    if not isolated:
        _nothing_isolates(lacking)
    return layers, lacking


def _named(
    stack: str | tuple[str, ...], known: Mapping[str, Layer]
) -> tuple[list[Layer], dict[str, Missing]]:
    asked = {stack} if isinstance(stack, str) else set(stack)
    unknown = sorted(asked - known.keys())
    if unknown:
        raise Refused(
            f"[executor] stack names {unknown[0]!r}, which is no layer",
            f'use "auto" or some of {", ".join(known)}',
        )
    layers = [known[name] for name in ORDER if name in asked]
    for layer in layers:
        missing = layer.missing()
        if missing is not None:
            raise Refused(
                f"[executor] stack asks for {layer.name}, but {missing.cause}", missing.remedy
            )
    _check_one_way(layers)
    return layers, {}


def _check_one_way(layers: list[Layer]) -> None:
    """Two that build the box would each undo the other, and none is no layer on top of others."""
    builders = [layer.name for layer in layers if layer.name in {*ISOLATING, "prefix", "none"}]
    if len(builders) > 1:
        raise Refused(
            f"[executor] stack names {' and '.join(builders)}, of which a box can have one",
            "leave all but one out",
        )
    if not builders:
        raise Refused(
            "[executor] stack names nothing that isolates a job",
            f'add one of {", ".join(ISOLATING)}; or "none", which says that you want no isolation',
        )


def _nothing_isolates(lacking: Mapping[str, Missing]) -> NoReturn:
    causes = [lacking[name] for name in ISOLATING if name in lacking]
    raise Refused(
        f"nothing on this host can isolate a job: {'; '.join(one.cause for one in causes)}",
        " or ".join(one.remedy for one in causes),
    )


def _notes(lacking: Mapping[str, Missing]) -> tuple[str, ...]:
    return tuple(f"without {name}: {missing.cause}" for name, missing in lacking.items())


def required_by(names: tuple[str, ...]) -> frozenset[Capability]:
    """Read the names in `[executor] require`. Raises Refused for one that is unknown."""
    unknown = [name for name in names if name not in Capability.__members__]
    if unknown:
        raise Refused(
            f"[executor] require names {unknown[0]!r}, which is no capability",
            f"use some of {', '.join(Capability.__members__)}",
        )
    return frozenset(Capability[name] for name in names)


def check_covered(
    stack: Stack,
    required: frozenset[Capability],
    known: Mapping[str, Layer],
    lacking: Mapping[str, Missing],
) -> None:
    """Refuse what is required and not covered; the remedy is a layer that would cover it."""
    uncovered = required - stack.capabilities
    if not uncovered:
        return
    names = ", ".join(sorted(uncovered))
    helpful = [name for name in known if _would_cover(known[name], known) & uncovered]
    if not helpful:
        raise Refused(
            f"no layer covers {names}, which [executor] require names",
            f"take {names} out of require",
        )
    best = next((name for name in ISOLATING if name in helpful), helpful[0])
    remedy = f"add {best} to [executor] stack"
    if best in lacking:
        remedy = f"for {best}: {lacking[best].remedy}"
    raise Refused(f"no layer in use covers {names}, which [executor] require names", remedy)


def _would_cover(layer: Layer, known: Mapping[str, Layer]) -> frozenset[Capability]:
    return layer.capabilities(frozenset(known))


def _check_shared_uid(covered: frozenset[Capability]) -> None:
    open_to_jobs = _NEEDED_WITH_SHARED_UID - covered
    if open_to_jobs:
        raise Refused(
            "jobs would run with the daemon's own uid and this stack does not cover "
            + ", ".join(sorted(open_to_jobs)),
            "start the executor as root with --user, or add namespaces to [executor] stack",
        )


def _check_groups(groups: tuple[str, ...], names: frozenset[str]) -> None:
    for name in sorted(names & _GROUPS_STAY):
        raise Refused(
            f"jobs would have the groups {', '.join(groups)}, which {name} cannot take from them",
            "start the executor as root with --user, which clears them; or take the account out "
            "of these groups; or add namespaces to [executor] stack, where they open nothing",
        )
