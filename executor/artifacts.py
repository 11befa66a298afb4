"""Collecting what a job gives back: its plots, and the files that were asked for.

The names are the job's, so each is a trap until shown otherwise. A file is opened beneath the
workspace without following anything, and only then looked at; whatever is not a regular file with
a single name and within the limits is skipped, with the reason. Nothing here waits for the job.
"""

from __future__ import annotations

import contextlib
import re

from attrs import define, field

from executor import files, removal
from executor.beneath import Beneath
from executor.errors import FileRefused
from executor.messages import Artifact, Skipped
from executor.settings import Limits
from executor.walk import Budget

PLOTS = ".plots"
_PLOT = re.compile(r"plot-(\d{1,9})\.png")
# Reasons are for a person or a model: a few say it all.
_MOST_SKIPPED = 50
_MOST_PATTERNS = 100
# They go in one frame, in which a character may take twelve bytes.
_MOST_SHOWN = 1000


def collect(
    beneath: Beneath, patterns: tuple[str, ...], limits: Limits
) -> tuple[list[Artifact], list[Skipped]]:
    """Read the plots in their order, then the files that match the patterns, each file once.

    The directory of the plots is gone afterwards. Raises nothing: what goes wrong is a reason.
    """
    found = _Collection(beneath, limits)
    for name in _plots(beneath):
        found.take(f"{PLOTS}/{name}", name)
    with contextlib.suppress(FileRefused):
        removal.remove(beneath, PLOTS)
    for pattern in patterns[:_MOST_PATTERNS]:
        found.take_matching(pattern)
    for pattern in patterns[_MOST_PATTERNS:]:
        found.skip(pattern, f"there are more than {_MOST_PATTERNS} patterns")
    return found.artifacts, found.listed_skips()


def _plots(beneath: Beneath) -> list[str]:
    try:
        entries = files.listing(beneath, PLOTS).entries
    except FileRefused:
        return []
    numbered = ((_PLOT.fullmatch(one.path), one.path) for one in entries)
    ordered = sorted((int(match[1]), name) for match, name in numbered if match)
    return [name for _, name in ordered]


@define
class _Collection:
    beneath: Beneath
    limits: Limits
    artifacts: list[Artifact] = field(factory=list)
    skipped: list[Skipped] = field(factory=list)
    _seen: set[str] = field(factory=set)
    # All patterns together may cost what one search may.
    _budget: Budget = field(factory=files.walking)
    _bytes: int = 0
    _untold: int = 0

    def take_matching(self, pattern: str) -> None:
        """Take the files that match; a directory that does is no file and is passed over."""
        try:
            listing = files.glob(self.beneath, pattern, budget=self._budget)
        except FileRefused as error:
            self.skip(pattern, str(error))
            return
        matching = [one.path for one in listing.entries if one.kind != "directory"]
        if not matching:
            self.skip(pattern, "nothing matches")
        for path in matching:
            self.take(path)
        if listing.cut:
            self.skip(pattern, "more files match than are looked at")

    def take(self, path: str, name: str = "") -> None:
        """Take one file, under its path or under another name."""
        if path in self._seen:
            return
        self._seen.add(path)
        if len(self.artifacts) >= self.limits.artifact_files:
            self.skip(path, f"over the limit of {self.limits.artifact_files} files")
            return
        try:
            data, _ = files.whole(self.beneath, path, self.limits.artifact_bytes - self._bytes)
        except FileRefused as error:
            self.skip(path, error.cause)
            return
        self._bytes += len(data)
        self.artifacts.append(Artifact(name or path, data))

    def skip(self, name: str, why: str) -> None:
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.append(Skipped(_short(name), _short(why)))
        else:
            self._untold += 1

    def listed_skips(self) -> list[Skipped]:
        if self._untold:
            return [*self.skipped, Skipped("", f"and {self._untold} more")]
        return self.skipped


def _short(text: str) -> str:
    """The end of a long path says most."""
    return text if len(text) <= _MOST_SHOWN else f"...{text[-_MOST_SHOWN:]}"
