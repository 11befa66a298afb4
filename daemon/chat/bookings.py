"""What a turn's model may do with scheduled prompts: carried out with the call's result."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from agent.ports import Appointment, Cancellation
from daemon.chat import roles
from daemon.chat.appointments import confirmation
from daemon.schedule import booking, telling
from daemon.schedule.booking import Asker, NotBooked
from daemon.schedule.limits import Limits
from daemon.store import jobs, occurrences, turnrow
from daemon.store.outbox import Draft
from daemon.store.values import Address

CANCELLED = "cancelled by the assistant"


@frozen
class Booked:
    """What became of a booking: for the model, and for the chat."""

    text: str
    failed: bool = False
    drafts: tuple[Draft, ...] = ()


def asker_of(db: sqlite3.Connection, turn_id: int, address: Address) -> Asker:
    """As whom a turn asks: its person, with the least role of those who have spoken in it."""
    role = turnrow.role(db, turn_id)
    (session,) = db.execute("SELECT session_id FROM turns WHERE id = ?", (turn_id,)).fetchone()
    user, owner = address.payer_id or "", role == roles.OWNER
    return Asker(address.place, user, role, str(session), owner=owner)


def carry_out(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    turn_id: int,
    address: Address,
    wanted: Appointment | Cancellation,
    limits: Limits,
    now: float,
) -> Booked:
    """Make, change or end a scheduled prompt of the turn's chat."""
    asker = asker_of(db, turn_id, address)
    try:
        if isinstance(wanted, Cancellation):
            return _cancel(db, asker, wanted, now)
        job = booking.book(db, asker, wanted, limits, now)
    except NotBooked as refusal:
        return Booked(f"Error: {refusal}", failed=True)
    changed = wanted.job is not None
    shown = confirmation(db, address.place, asker.user_id, job, now, changed=changed)
    return Booked(telling.for_model(job, changed=changed), drafts=(shown,))


def _cancel(db: sqlite3.Connection, asker: Asker, wanted: Cancellation, now: float) -> Booked:
    """End a job. What runs goes on: it may be the run that asks."""
    job = booking.named(db, asker, wanted.job)
    if wanted.forget:
        if occurrences.open_runs(db, job.id):  # one must go on knowing what it may do
            raise NotBooked(f"{job.plan.name!r} is running; cancel it, and delete it after that")
        jobs.delete(db, job.id)
        return Booked(f"deleted, with its history: {job.plan.name} (id {job.ref})")
    if job.state == "ended":
        raise NotBooked(f"{job.plan.name!r} has ended already ({job.why})")
    booking.call_off(db, job, CANCELLED, now)
    return Booked(f"cancelled: {job.plan.name} (id {job.ref}); it will not be run again")
