"""Patterns of paths, matched name by name on the way down a tree.

The search in files runs in a box, in another Python perhaps, and carries this file's text with it:
so there is one matcher, and it needs nothing but the standard library.
"""

from __future__ import annotations

import re
from fnmatch import translate

_MOST_COMPONENTS = 100


class Glob:
    """A pattern by its components; `**` stands for any number of directories.

    As in a shell, `*` does not match a leading dot. A state is the set of the components that may
    come next, so matching costs no more than their number for each name. Raises ValueError, with a
    sentence, for a pattern that is none.
    """

    def __init__(self, pattern: str) -> None:
        names = [name for name in pattern.split("/") if name not in {"", "."}]
        if not names or pattern.startswith("/") or ".." in names:
            raise ValueError("it cannot be a pattern; give one such as **/*.py")
        if len(names) > _MOST_COMPONENTS:
            raise ValueError(f"a pattern cannot have more than {_MOST_COMPONENTS} parts")
        runs = [
            name for at, name in enumerate(names) if name != "**" or names[at - 1 : at] != ["**"]
        ]
        self.components = [None if name == "**" else _component(name) for name in runs]

    def begin(self) -> frozenset[int]:
        """The state at the top."""
        return self._skipping({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """The state within `name`; empty if nothing below it can match."""
        after = set()
        for at in state:
            if at == len(self.components):
                continue
            component = self.components[at]
            if component is None and not name.startswith("."):
                after.add(at)
            elif component is not None and component.match(name):
                after.add(at + 1)
        return self._skipping(after)

    def matches(self, state: frozenset[int]) -> bool:
        return len(self.components) in state

    def _skipping(self, state: set[int]) -> frozenset[int]:
        """`**` also stands for no directory at all."""
        skipped = {at + 1 for at in state if self.components[at : at + 1] == [None]}
        return frozenset(state | skipped)


def _component(pattern: str) -> re.Pattern[str]:
    shown_only = "" if pattern.startswith(".") else r"(?!\.)"
    return re.compile(shown_only + translate(pattern))
