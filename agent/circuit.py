"""Which of several models is asked, after one has failed: pure policies, time as an argument.

A model has a circuit. It opens when the model failed so often in a row that it is down: calls then
go to the next model without waiting for this one. After a while the circuit lets one call through,
and what becomes of that one decides. A circuit that is open is no reason to leave a person without
an answer: when all are open, the model that is due first is asked.

Whether a failure means that the model is down, and whether another model should be asked at all,
are two questions. There are four cases:

1. the provider is out of reach, slow, limiting us or in trouble: down, and the next is asked;
2. it refuses our key, wants money, or does not know the model: the same, it will not get better by
   itself;
3. the request does not fit into this model's window: the next may have a larger one, and this one
   is not down;
4. any other refusal, and an answer that the provider's filter or a limit ended: the request is at
   fault, which no other model will mend and no circuit should hear of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from agent.retry import Failure

FAILURES_TO_OPEN: Final = 3  # calls in a row, each with its own retries
COOL_DOWN: Final = 30.0  # seconds
# What a provider may ask for; the circuit of one that wants longer is tried in between.
LONGEST_COOL_DOWN: Final = 3600.0

OURS_TO_MEND: Final = frozenset({401, 402, 403, 404})


@frozen
class Circuit:
    """What is remembered of a model: its failures in a row, and until when it is not asked."""

    failures: int = 0
    open_until: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= FAILURES_TO_OPEN or self.open_until > 0.0

    def admits(self, now: float) -> bool:
        """Whether the model may be asked now."""
        return now >= self.open_until

    def asked(self, now: float) -> Circuit:
        """The circuit once a call goes through: the next must wait for what becomes of it.

        A call that is cancelled tells nothing, and another is let through after the same while.
        """
        return evolve(self, open_until=now + COOL_DOWN) if self.is_open else self

    def failed(self, failure: Failure, now: float) -> Circuit:
        """The circuit after a call was given up for this reason."""
        if not means_down(failure):
            # It answered, if not as we wished.
            return Circuit()
        failures, named = self.failures + 1, failure.retry_after or 0.0
        wait = min(LONGEST_COOL_DOWN, named)
        if failures >= FAILURES_TO_OPEN:
            wait = max(wait, COOL_DOWN)
        return Circuit(failures, now + wait if wait else 0.0)


def means_down(failure: Failure) -> bool:
    """Whether the model would fail the next call as well, whatever that asks."""
    if failure.too_long:
        return False
    return failure.retryable or failure.status in OURS_TO_MEND


def falls_back(failure: Failure) -> bool:
    """Whether another model may do better with the same request."""
    return failure.too_long or means_down(failure)


def order(circuits: Sequence[Circuit], now: float) -> list[int]:
    """The places of the models to ask, in turn; never none, if there are any."""
    admitted = [place for place, circuit in enumerate(circuits) if circuit.admits(now)]
    if admitted or not circuits:
        return admitted
    return [min(range(len(circuits)), key=lambda place: circuits[place].open_until)]
