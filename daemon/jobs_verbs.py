"""The control socket's verb `jobs`: what changes scheduled prompts, carried out by the router.

With no daemon, the command line carries out the same on the database (`people_verbs.Offline`).
What only reads is not here: see `daemon.jobs_cli`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import trio
from attrs import define, field

from daemon.chat import roles
from daemon.chat.access import CHANNEL, Access
from daemon.chat.intake import Speaker
from daemon.chat.situation import Situation
from daemon.errors import Refused
from daemon.jobs_file import Entry, Target
from daemon.jobs_staged import read
from daemon.schedule import booking, telling
from daemon.schedule.booking import Asker, NotBooked
from daemon.store import admission, jobs, occurrences, people
from daemon.store.db import Database
from daemon.store.jobs import Job, Whose
from daemon.store.values import Place
from daemon.telegram.types import Chat

T = TypeVar("T")

CONSOLE: Final = Asker(Place("", "", ""), "", roles.OWNER, "", owner=True, everywhere=True)
BY: Final = "the owner, at the command line"
LISTED: Final = "famulus jobs list names those that there are"
# Jobs that are taken in while people wait for the writer: a second or two of its time.
MOST_AT_ONCE: Final = 20_000
MOST_PROBLEMS: Final = 100  # that are told; an answer is one line


class Keeper(Protocol):
    """Who carries it out: the router, or `Offline`."""

    account: str
    access: Access
    database: Database

    async def carry_out(self, act: Callable[[Situation], T]) -> T: ...


async def answer(
    keeper: Keeper, request: dict[str, Any], most: int | None = None
) -> dict[str, Any]:
    """Do what `action` says: run, pause, resume, delete or import. Raises Refused.

    No more than `most` jobs are taken in at once; all that there are, if nobody waits meanwhile.
    """
    if request.get("action") == "import":
        entries = await _staged(keeper, request, most)
        return await keeper.carry_out(
            lambda situation: _import(situation, keeper, request, entries)
        )
    try:
        return await keeper.carry_out(lambda situation: _change(situation, keeper, request))
    except NotBooked as refusal:
        raise Refused(str(refusal), LISTED) from None


def _change(situation: Situation, keeper: Keeper, request: dict[str, Any]) -> dict[str, Any]:
    job = booking.named(situation.db, CONSOLE, str(request.get("id", "")))
    if request.get("action") == "run":
        _require_reach(situation, keeper, job)
    verb = _ACTIONS.get(str(request.get("action")))
    if verb is None:
        raise Refused("no such action", f"known: import, {', '.join(_ACTIONS)}")
    situation.effects.scheduled = True
    return {"sentence": verb(situation, job), "name": job.plan.name}


def _require_reach(situation: Situation, keeper: Keeper, job: Job) -> None:
    """Raises Refused if nothing may be sent to where a job answers."""
    place = jobs.place_of(situation.db, job)
    if not _access(situation, keeper).reaches(place, keeper.account):
        raise Refused(
            f"the chat {place.chat} is not answered by this bot",
            "let it in again (see famulus people), or delete the job",
        )


def _access(situation: Situation, keeper: Keeper) -> Access:
    """Who is answered, by the configuration and by rows."""
    listed = keeper.access.people
    rows = admission.read(situation.db, CHANNEL, keeper.account, listed, situation.now)
    return keeper.access.with_rows(rows)


async def _staged(keeper: Keeper, request: dict[str, Any], most: int | None) -> list[Entry]:
    """The jobs of a staged file: all are read before the writer is kept from others by them."""
    folder, name = keeper.database.path.parent, str(request.get("file"))
    entries = await trio.to_thread.run_sync(lambda: list(read(folder, name)))
    if most is not None and len(entries) > most:
        raise Refused(
            f"{len(entries):,} jobs at once would keep those waiting who talk to the bot",
            f"divide the file, {most:,} at most in each, or stop the daemon and import it then",
        )
    return entries


# --- One job ---


def _run(situation: Situation, job: Job) -> str:
    situation.effects.begun.append(booking.run_now(situation.db, job, situation.now))
    return f"{job.plan.name} is run now."


def _pause(situation: Situation, job: Job) -> str:
    if job.state == "paused":
        return f"{job.plan.name} is paused already ({job.why})."
    booking.pause(situation.db, job, booking.PAUSED.format(name=BY), situation.now)
    return f"{job.plan.name} is paused: famulus jobs resume {job.ref} goes on with it."


def _resume(situation: Situation, job: Job) -> str:
    gone_on = booking.resume(situation.db, job, situation.now)
    return f"{job.plan.name} goes on; {telling.when(gone_on)} ({job.plan.zone})."


def _delete(situation: Situation, job: Job) -> str:
    ended, freed = booking.delete(situation.db, job, situation.now)
    situation.effects.dropped += ended
    situation.effects.begun += freed
    return f"{job.plan.name} is deleted, and so is what became of its runs."


_ACTIONS: Final[dict[str, Callable[[Situation, Job], str]]] = {
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "delete": _delete,
}


# --- Many ---


@define
class Intake:
    """An import under way: what it may do, and what it would come to.

    `most` is how many jobs a person may have.
    """

    situation: Situation
    account: str
    access: Access
    most: int
    replace: bool
    new: int = 0
    replaced: int = 0
    there: int = 0
    problems: list[str] = field(factory=list)
    more: dict[str, int] = field(factory=dict)  # jobs that a person gets, by their network's id
    whose: dict[Target, Whose] = field(factory=dict)

    def report(self) -> dict[str, Any]:
        told, untold = self.problems[:MOST_PROBLEMS], self.problems[MOST_PROBLEMS:]
        return {
            "new": self.new,
            "replaced": self.replaced,
            "there": self.there,
            "problems": told,
            "untold": len(untold),
        }


def _import(
    situation: Situation, keeper: Keeper, request: dict[str, Any], entries: list[Entry]
) -> dict[str, Any]:
    """Take in jobs, all or none; with `dry_run` say what would be done."""
    intake = Intake(
        situation,
        keeper.account,
        _access(situation, keeper),
        int(request.get("most", 0)),
        request.get("replace") is True,
    )
    for entry in entries:
        _check(intake, entry)
    _check_limits(intake)
    if not intake.problems and request.get("dry_run") is not True:
        for entry in entries:
            _put(intake, entry)
        situation.effects.scheduled = True
    return intake.report()


def _check(intake: Intake, entry: Entry) -> None:
    """Count an entry, and note what is wrong with it in this database."""
    old = jobs.find(intake.situation.db, entry.kept.ref) if entry.kept.ref else None
    if old is not None and not intake.replace:
        intake.there += 1
        return
    problems = list(_problems(intake, entry.target))
    intake.problems += [f"jobs[{entry.index}].{problem}" for problem in problems]
    if old is None:
        intake.new += 1
    else:
        intake.replaced += 1
    _count(intake, entry, old)


def _count(intake: Intake, entry: Entry, old: Job | None) -> None:
    more, user = intake.more, entry.target.user
    if entry.kept.state != "ended":
        more[user] = more.get(user, 0) + 1
    if old is not None and old.state != "ended":
        near = jobs.place_of(intake.situation.db, old)
        before = people.private_place(intake.situation.db, near, old.whose.user_id)
        if before is not None:
            more[before.chat] = more.get(before.chat, 0) - 1


def _problems(intake: Intake, target: Target) -> Iterator[str]:
    place = _place(intake, target)
    if place.account != intake.account:
        yield (
            f"chat: it is of the bot {place.account}, and this is {intake.account};"
            " give --chat ID, or leave `account` out of the file"
        )
    elif not intake.access.reaches(place, intake.account):
        yield (
            f"chat: {place.chat} is not answered by this bot; let it in (telegram.allowed_users,"
            " telegram.allowed_chats, famulus pair), or give --chat ID"
        )
    if not place.in_group and target.user != place.chat:
        yield f"user: {place.chat} is the private chat of somebody else than {target.user}"
    elif _role(intake, place, target.user) == roles.GUEST:
        yield f"user: {target.user} is a guest there, and guests may not schedule anything"
    if place.in_group and not _is_known(intake, target.user):
        yield f"user: {target.user} is not known; they must speak to the bot first, or give --user"


def _place(intake: Intake, target: Target) -> Place:
    return Place(CHANNEL, target.account or intake.account, target.chat, target.topic)


def _role(intake: Intake, place: Place, user: str) -> str:
    """What a person may do in a place."""
    kind = "supergroup" if place.in_group else "private"
    return intake.access.role(int(user), Chat(int(place.chat), kind))


def _is_known(intake: Intake, user: str) -> bool:
    return int(user) in intake.access.people or _user_id(intake.situation.db, user) is not None


def _user_id(db: sqlite3.Connection, user: str) -> str | None:
    row = db.execute(
        "SELECT user_id FROM identities WHERE channel = ? AND external_id = ?", (CHANNEL, user)
    ).fetchone()
    return None if row is None else str(row[0])


def _check_limits(intake: Intake) -> None:
    for user, more in sorted(intake.more.items()):
        user_id = _user_id(intake.situation.db, user)
        ceiling = intake.most + abs(more) + 1
        has = 0 if user_id is None else jobs.count_of(intake.situation.db, user_id, ceiling)
        if more > 0 and has + more > intake.most:
            intake.problems.append(
                f"jobs: {user} would have {has + more} scheduled prompts, and {intake.most} are the"
                " most (schedule.max_jobs_per_person)"
            )


def _put(intake: Intake, entry: Entry) -> None:
    db, now = intake.situation.db, intake.situation.now
    old = jobs.find(db, entry.kept.ref) if entry.kept.ref else None
    if old is not None and not intake.replace:
        return
    whose = intake.whose.get(entry.target)
    if whose is None:
        whose = intake.whose[entry.target] = _whose(intake, entry.target)
    job_id = jobs.put(db, whose, entry.plan, entry.kept, now)
    if entry.kept.state != "active":
        occurrences.stop_retries(db, job_id, now)


def _whose(intake: Intake, target: Target) -> Whose:
    """To whom a job belongs from now on; its role is never more than its person has there."""
    place, situation = _place(intake, target), intake.situation
    role = _role(intake, place, target.user)
    user = situation.user(place, Speaker(target.user, target.user_name, role))
    session = people.ensure_session(situation.db, place, situation.now)
    return Whose(session, user, roles.least(role, target.role or role))
