"""Choosing the layers, and refusing when they do not cover what is required.

`choose` is a decision over plain values: the layers there could be, what the configuration asks
for, and what each layer says it lacks. A layer that was asked for by name and cannot work is a
refusal. With "auto", layers that cannot work are left out and noted, and then the same question
is asked of what remains: does it cover everything in `require`? There is no fallback.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from executor.isolation.layer import Capability, Layer, Missing

# In the order in which a job goes through them: the one that builds the command line last.
AUTO = ("rlimit", "cgroup", "firejail", "subreaper")
# "auto" never runs a job without at least one of these, whatever `require` says.
_ISOLATING = frozenset({"firejail"})
# Jobs that have the daemon's own uid could read its files and signal it without these.
_NEEDED_WITH_SHARED_UID = frozenset({Capability.FS, Capability.PID})
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
    """The layers in force, in order, and what they promise together."""

    layers: tuple[Layer, ...]
    capabilities: frozenset[Capability]
    notes: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def soft(self) -> tuple[str, ...]:
        return tuple(one.value for one in _WORTH_A_WORD if one not in self.capabilities)


@frozen
class Wanted:
    """What the configuration asks for."""

    stack: str | tuple[str, ...]
    require: tuple[str, ...]
    shared_uid: bool


def choose(wanted: Wanted, known: Mapping[str, Layer]) -> Stack:
    """Give the stack for this host; raises Refused with the cause and the remedy."""
    required = _required(wanted)
    lacking: dict[str, Missing] = {}
    layers: list[Layer] = []
    for name in _names(wanted.stack, known):
        missing = known[name].missing()
        if missing is None:
            layers.append(known[name])
        else:
            lacking[name] = missing
    if wanted.stack == "auto":
        _check_isolates(layers, lacking)
    elif lacking:
        name, missing = next(iter(lacking.items()))
        raise Refused(f"[executor] stack asks for {name}, but {missing.cause}", missing.remedy)
    names = frozenset(layer.name for layer in layers)
    covered = frozenset().union(*(layer.capabilities(names) for layer in layers))
    _check_covered(required - covered, lacking, known)
    if wanted.shared_uid:
        _check_shared_uid(covered)
    notes = tuple(f"without {name}: {missing.cause}" for name, missing in lacking.items())
    return Stack(tuple(layers), covered, notes)


def _required(wanted: Wanted) -> frozenset[Capability]:
    unknown = [name for name in wanted.require if name not in Capability.__members__]
    if unknown:
        raise Refused(
            f"[executor] require names {unknown[0]!r}, which is no capability",
            f"use some of {', '.join(Capability.__members__)}",
        )
    return frozenset(Capability[name] for name in wanted.require)


def _names(stack: str | tuple[str, ...], known: Mapping[str, Layer]) -> Iterable[str]:
    if stack == "auto":
        return AUTO
    asked = {stack} if isinstance(stack, str) else set(stack)
    unknown = sorted(asked - known.keys())
    if unknown:
        raise Refused(
            f"[executor] stack names {unknown[0]!r}, which is no layer",
            f'use "auto" or some of {", ".join(known)}',
        )
    return [name for name in AUTO if name in asked]


def _check_isolates(layers: list[Layer], lacking: Mapping[str, Missing]) -> None:
    """Refuse "auto" where nothing is left that isolates."""
    if _ISOLATING & {layer.name for layer in layers}:
        return
    causes = [lacking[name] for name in sorted(_ISOLATING & lacking.keys())]
    raise Refused(
        f"nothing on this host can isolate a job: {'; '.join(one.cause for one in causes)}",
        " or ".join(one.remedy for one in causes),
    )


def _check_covered(
    uncovered: frozenset[Capability], lacking: Mapping[str, Missing], known: Mapping[str, Layer]
) -> None:
    """Refuse what is required and not covered; the remedy is a layer that would cover it."""
    if not uncovered:
        return
    names = ", ".join(sorted(uncovered))
    best = max(known.values(), key=lambda layer: len(_would_cover(layer, known) & uncovered))
    if not _would_cover(best, known) & uncovered:
        raise Refused(
            f"no layer covers {names}, which [executor] require names",
            f"take {names} out of require",
        )
    remedy = f"add {best.name} to [executor] stack"
    if best.name in lacking:
        remedy = f"for {best.name}: {lacking[best.name].remedy}"
    raise Refused(f"no layer in use covers {names}, which [executor] require names", remedy)


def _would_cover(layer: Layer, known: Mapping[str, Layer]) -> frozenset[Capability]:
    return layer.capabilities(frozenset(known))


def _check_shared_uid(covered: frozenset[Capability]) -> None:
    open_to_jobs = _NEEDED_WITH_SHARED_UID - covered
    if open_to_jobs:
        raise Refused(
            "jobs would run with the daemon's own uid and this stack does not cover "
            + ", ".join(sorted(open_to_jobs)),
            "start the executor as root with --user, or add firejail to [executor] stack",
        )
