"""Applying a unified diff to the files of a workspace, all of it or nothing.

First everything is read and computed; a hunk that does not fit ends it there. Then the new files
are written beside the old ones, and only then do they take their places, one by one. If that goes
wrong half-way, what had been there is put back.
"""

from __future__ import annotations

import contextlib
import os
import stat

from attrs import define, field, frozen

from executor import diff, files, hunks, incoming
from executor.beneath import Beneath, parts_of, refusal, shown
from executor.diff import Change, DiffError
from executor.errors import FileRefused
from executor.file_values import Patched
from executor.hunks import Effort
from executor.incoming import Allowance, Incoming
from executor.settings import Limits

_MOST_IN_ALL = 32 * 1024 * 1024
_REMEDY = "read the file again and make the diff anew"


@frozen
class _Old:
    data: bytes
    mode: int


@define
class _Plan:
    """The files as they were and as they shall be, by path; None is for no file."""

    beneath: Beneath
    old: dict[str, _Old | None] = field(factory=dict)
    new: dict[str, _Old | None] = field(factory=dict)
    effort: Effort = field(factory=Effort)

    def add(self, change: Change) -> None:
        """Work out one change on top of those before it."""
        source = None if change.old is None else "/".join(parts_of(change.old))
        target = None if change.new is None else "/".join(parts_of(change.new))
        found = None if source is None else self._source(source, change)
        if source is not None and found is None:
            raise FileRefused(f"{shown(source)}, which the diff changes, does not exist")
        if target is not None and target != source and self._now(target) is not None:
            raise FileRefused(f"{shown(target)}, which the diff makes, exists already", _REMEDY)
        after = hunks.apply(found.data if found else b"", change, self.effort)
        if source is not None and source != target and not change.copies:
            self.new[source] = None
        if target is not None:
            has = found.mode if found else 0o644
            self.new[target] = _Old(after, has if change.mode is None else change.mode)
        elif after:
            raise FileRefused(f"{shown(change.name)} is not empty after its hunks", _REMEDY)
        self._check_size()

    def _source(self, path: str, change: Change) -> _Old | None:
        """What to change. A copy is made of the file as it was before the whole diff."""
        now = self._now(path)
        return self.old[path] if change.copies else now

    def _now(self, path: str) -> _Old | None:
        if path not in self.old:
            self.old[path] = self.new[path] = self._read(path)
        return self.new[path]

    def _read(self, path: str) -> _Old | None:
        try:
            data, found = files.whole(self.beneath, path, files.MOST_EDITED)
        except FileRefused as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return _Old(data, stat.S_IMODE(found.st_mode))

    def _check_size(self) -> None:
        held = [one for one in (*self.old.values(), *self.new.values()) if one is not None]
        if sum(len(one.data) for one in held) > _MOST_IN_ALL:
            raise FileRefused("the diff changes too much at once", "make it in parts")

    def outcome(self) -> Patched:
        changed = [path for path, one in self.new.items() if one != self.old[path]]
        made = tuple(path for path in changed if self.old[path] is None)
        removed = tuple(path for path in changed if self.new[path] is None)
        others = tuple(path for path in changed if path not in {*made, *removed})
        return Patched(others, made, removed)


def patch(beneath: Beneath, text: str, limits: Limits) -> Patched:
    """Apply a unified diff of at most 100 files. Raises FileRefused; nothing has changed then."""
    plan = _Plan(beneath)
    try:
        for change in diff.parse(files.as_bytes(text)):
            plan.add(change)
    except DiffError as error:
        raise FileRefused(str(error), _REMEDY) from error
    outcome = plan.outcome()
    _carry_out(plan, (*outcome.made, *outcome.changed), outcome.removed, limits)
    return outcome


def _carry_out(
    plan: _Plan, written: tuple[str, ...], removed: tuple[str, ...], limits: Limits
) -> None:
    allowance = Allowance.of(plan.beneath, limits)
    done: list[tuple[str, int]] = []
    with contextlib.ExitStack() as stack:
        ready = [_begun(stack, plan, path, allowance) for path in written]
        allowance.check("the diff", _growth(plan, written), sum(one.makes for one in ready))
        try:
            for file in ready:
                _write(file, plan.new[file.path])
            for file in ready:
                one = plan.new[file.path]
                file.commit(one.mode if one else None)
                done.append((file.path, file.made))
            for path in removed:
                _unlink(plan.beneath, path)
                done.append((path, 0))
        except FileRefused:
            _put_back(plan, done)
            raise


def _growth(plan: _Plan, written: tuple[str, ...]) -> int:
    """By how many bytes the files grow together."""
    pairs = ((plan.new[path], plan.old[path]) for path in written)
    return max(0, sum(_size(new) - _size(old) for new, old in pairs))


def _size(one: _Old | None) -> int:
    return 0 if one is None else incoming.on_disk(len(one.data))


def _begun(stack: contextlib.ExitStack, plan: _Plan, path: str, allowance: Allowance) -> Incoming:
    return stack.enter_context(incoming.incoming(plan.beneath, path, allowance))


def _write(file: Incoming, one: _Old | None) -> None:
    file.write(one.data if one else b"")


def _put_back(plan: _Plan, done: list[tuple[str, int]]) -> None:
    """Undo, as far as the disk lets us; what there was fitted before."""
    roomy = Allowance(1 << 62, 1 << 62)
    for path, made in reversed(done):
        before = plan.old[path]
        with contextlib.suppress(FileRefused):
            if before is None:
                _unlink(plan.beneath, path)
                incoming.unmake(plan.beneath, parts_of(path)[:-1], made)
                continue
            with incoming.incoming(plan.beneath, path, roomy) as file:
                file.write(before.data)
                file.commit(before.mode)


def _unlink(beneath: Beneath, path: str) -> None:
    parent, name = beneath.open_parent(path)
    try:
        os.unlink(name, dir_fd=parent)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        os.close(parent)
