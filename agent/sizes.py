"""How large requests may become, from the window of the model that they go to.

Apart from what makes requests, which a configuration has no use for.
"""

from __future__ import annotations

from attrs import frozen

DEFAULT_WINDOW = 32_768  # tokens; no model that can use tools well has less
DUE_SHARE = 0.8  # of the limit
LEAST_SHARE = 0.1  # of the limit, which the turns that are summed up must take
SUMMARY_SHARE = 0.2  # of the limit, which a summary may take


@frozen
class Sizes:
    """How large requests may be, in tokens: of which window, with room for which answer.

    `share` of what is left is the most that a request has, `keep` of that is for the latest turns.
    """

    window: int = DEFAULT_WINDOW
    answer: int = 4096
    share: float = 0.7
    keep: float = 0.3
    enabled: bool = True

    @property
    def limit(self) -> int:
        return int(self.share * max(self.window - self.answer, self.window // 2))

    @property
    def due(self) -> int:
        return int(self.limit * DUE_SHARE)

    @property
    def kept(self) -> int:
        return int(self.limit * self.keep)

    @property
    def least(self) -> int:
        """What must be won: a summary for less would cost more than it saves."""
        return int(self.limit * LEAST_SHARE)

    @property
    def summary(self) -> int:
        return int(self.limit * SUMMARY_SHARE)
