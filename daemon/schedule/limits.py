"""What the configuration says of scheduled prompts; light, since every process reads that."""

from __future__ import annotations

from attrs import frozen


@frozen
class Limits:
    """The least seconds between two runs of a job, and how many jobs one person may have.

    `zone` is that of people who have chosen none, `models` are those to choose from.
    """

    shortest: float = 60.0
    per_person: int = 50
    zone: str = "UTC"
    models: tuple[str, ...] = ()
