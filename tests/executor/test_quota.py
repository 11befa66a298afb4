"""The quota: what is measured, when the watcher looks, and that a job is frozen while it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from executor import quota, removal
from executor.beneath import Beneath
from executor.file_values import Usage
from executor.quota import SAMPLE_SECONDS, Free, Watcher
from executor.settings import Limits
from tests.executor import trees

LIMITS = Limits(workspace_bytes=1_000_000, workspace_files=100)


def measured(top: Path) -> Usage:
    with Beneath.at(str(top)) as workspace:
        return quota.measure(workspace)


# ---- measuring ----


def test_what_is_on_the_disk_counts_and_not_what_a_file_claims(tmp_path: Path) -> None:
    """A sparse file is small, and a file with two names counts once."""
    (tmp_path / "one").write_bytes(bytes(100_000))
    os.link(tmp_path / "one", tmp_path / "two")
    os.truncate(tmp_path / "one", 100_000)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (tmp_path / "link").symlink_to("/")
    usage = measured(tmp_path)
    assert usage.files == 3
    assert 100_000 <= usage.bytes < 200_000
    assert usage.complete


@pytest.mark.parametrize(("levels", "name"), [(3000, "d"), (60, "n" * 255)])
def test_a_tree_of_any_depth_is_measured_and_removed_with_few_descriptors(
    levels: int, name: str
) -> None:
    """Three thousand levels are deeper than a path, the stack and a process's descriptors."""
    before = trees.descriptors()
    with trees.in_memory() as top:
        trees.deep(top, levels, name)
        assert measured(top).files == levels + 1
        with Beneath.at(str(top)) as workspace:
            assert removal.remove(workspace, name) == levels + 1
    assert trees.descriptors() == before


def test_a_comb_is_measured_too(tmp_path: Path) -> None:
    """On the way back up, the directories above are no longer open."""
    trees.deep(tmp_path, 200)
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("side", dir_fd=here)
        further = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = further
    os.close(here)
    assert measured(tmp_path).files == 401


def test_a_walk_that_is_given_up_counts_as_too_much(tmp_path: Path) -> None:
    """More names than can be looked at are over every limit."""
    for number in range(20):
        (tmp_path / str(number)).touch()
    with Beneath.at(str(tmp_path)) as workspace:
        usage = quota.measure(workspace, most_files=10)
    assert not usage.complete
    assert usage.over(trees.ROOMY)


# ---- deciding ----

SIZES = st.integers(0, 2_000_000)


def begun(used: Usage, free: Free) -> Watcher:
    """A watcher that has walked once, at the time 0."""
    watcher = Watcher(LIMITS)
    assert watcher.suspicious(0, free)
    watcher.walked(0, 0, free, used)
    return watcher


@given(used=SIZES, free=SIZES, later=SIZES)
def test_a_fall_by_more_than_is_left_is_always_looked_into(
    used: int, free: int, later: int
) -> None:
    """And a smaller one is not, before the second is over."""
    watcher = begun(Usage(used, 0), Free(free, 0))
    expected = free - later > LIMITS.workspace_bytes - used
    assert watcher.suspicious(0.02, Free(later, 0)) == expected


@given(free=SIZES, later=SIZES)
def test_every_second_it_is_looked_into_anyway(free: int, later: int) -> None:
    """Others may free as much as the job writes."""
    assert begun(Usage(), Free(free, 0)).suspicious(1.0, Free(later, 0))


@given(took=st.floats(0.001, 5), after=st.floats(0.001, 20))
def test_a_job_is_frozen_for_a_third_of_its_time_at_most(took: float, after: float) -> None:
    """Even when somebody else fills the disk as fast as can be."""
    watcher = Watcher(LIMITS)
    watcher.walked(0, took, Free(10_000_000, 0), Usage())
    allowed = watcher.suspicious(took + after, Free(0, 0))
    assert allowed == (took + after >= took + 2 * took)


def test_what_was_measured_before_the_job_spares_it_the_first_walk() -> None:
    watcher = Watcher(LIMITS, Usage(100, 1), Free(10_000_000, 0))
    watcher.begin(5.0)
    assert not watcher.suspicious(5.002, Free(10_000_000, 0))
    unmeasured = Watcher(LIMITS, Usage(100, 1, complete=False), Free(10_000_000, 0))
    unmeasured.begin(5.0)
    assert unmeasured.suspicious(5.002, Free(10_000_000, 0))


@given(used=st.integers(0, 300 << 20), fallen=st.integers(-(1 << 30), 1 << 30))
def test_the_less_is_left_the_sooner_is_the_next_look(used: int, fallen: int) -> None:
    """Never later than usual, and never so soon that looking is all that is done."""
    watcher = Watcher(Limits(), Usage(used, 1), Free(1 << 40, 0))
    watcher.begin(0.0)
    pause = watcher.pause(Free((1 << 40) - fallen, 0))
    less = watcher.pause(Free((1 << 40) - fallen - (8 << 20), 0))
    assert 0.004 <= less <= pause <= SAMPLE_SECONDS


@given(used=SIZES, files=st.integers(0, 200))
def test_only_a_walk_decides_that_it_is_too_much(used: int, files: int) -> None:
    """One byte or one file over is over, and the limit itself is not."""
    over = Watcher(LIMITS).walked(0, 0, Free(0, 0), Usage(used, files))
    assert over == (used > 1_000_000 or files > 100)


def test_inodes_are_watched_as_bytes_are() -> None:
    """Empty files take no bytes."""
    assert begun(Usage(0, 90), Free(0, 500)).suspicious(0.02, Free(0, 489))


# ---- acting ----


@define
class Job:
    """What stands in for the processes: whether they are frozen, and how often they were."""

    frozen: bool = False
    freezes: int = 0
    over: list[Usage] = field(factory=list)

    def freeze(self) -> None:
        assert not self.frozen
        self.frozen = True
        self.freezes += 1

    def thaw(self) -> None:
        assert self.frozen
        self.frozen = False

    async def watched(self, top: Path, limits: Limits) -> None:
        with Beneath.at(str(top)) as workspace:
            await quota.watch(
                workspace, limits, freeze=self.freeze, thaw=self.thaw, over=self.over.append
            )


async def test_a_workspace_over_its_quota_ends_the_watch_with_the_job_frozen(
    tmp_path: Path,
) -> None:
    """So that nothing more is written before it is killed."""
    (tmp_path / "large").write_bytes(bytes(1_100_000))
    job = Job()
    with trio.fail_after(20):
        await job.watched(tmp_path, LIMITS)
    assert job.frozen
    assert job.over[0].bytes > 1_000_000


async def test_growth_is_noticed_while_it_happens(tmp_path: Path) -> None:
    """A writer in another thread is found out, whatever the file system."""
    job = Job()

    def write() -> None:
        with (tmp_path / "growing").open("wb") as file:
            while not job.over and file.tell() < 1 << 28:
                file.write(bytes(65536))
                file.flush()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write)
            await job.watched(tmp_path, LIMITS)
    assert job.over


async def test_a_cancelled_watch_leaves_the_job_thawed(tmp_path: Path) -> None:
    """And no descriptor open, whenever it is cancelled."""
    trees.deep(tmp_path, 50)
    job, before = Job(), trees.descriptors()
    for number in range(30):
        with trio.move_on_after(0.02 + number / 10_000):
            await job.watched(tmp_path, trees.ROOMY)
        assert not job.frozen
    with trio.fail_after(20):
        while trees.descriptors() > before:  # noqa: ASYNC110 - a walk may still be ending
            await trio.sleep(0.01)
    assert not job.over


async def test_a_walk_that_is_cancelled_before_it_begins_leaves_no_descriptor(
    tmp_path: Path,
) -> None:
    """The first thing that waiting for a thread does is to look whether it is cancelled."""
    before = trees.descriptors()
    with Beneath.at(str(tmp_path)) as workspace:
        for _ in range(10):
            with trio.CancelScope() as scope:
                scope.cancel()
                await quota._measured(workspace, LIMITS)
    assert trees.descriptors() == before


@pytest.mark.parametrize(
    ("free", "holds", "over"),
    [(900, 0, False), (874, 0, True), (800, 100, False), (800, 50, True), (1200, 0, False)],
)
def test_what_the_disk_lost_and_no_file_holds_is_borne_up_to_an_eighth(
    free: int, holds: int, over: bool
) -> None:
    """A job can keep files open that have no name; others write to the same disk, too."""
    mib = 1 << 20
    watcher = Watcher(Limits(), Usage(), Free(1000 * mib, 0))
    assert watcher.walked(0.0, 0.1, Free(free * mib, 0), Usage(holds * mib, 1)) is over


def test_on_a_full_disk_64_mib_are_borne() -> None:
    watcher = Watcher(Limits(), Usage(), Free(70 << 20, 0))
    assert not watcher.walked(0.0, 0.1, Free(6 << 20, 0), Usage())
    assert watcher.walked(0.0, 0.1, Free(5 << 20, 0), Usage())


def test_on_a_large_disk_no_more_than_2_gib_are_borne() -> None:
    watcher = Watcher(Limits(), Usage(), Free(1 << 40, 0))
    assert not watcher.walked(0.0, 0.1, Free((1 << 40) - (2 << 30), 0), Usage())
    assert watcher.walked(0.0, 0.1, Free((1 << 40) - (2 << 30) - 1, 0), Usage())


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (Usage(200, 1), False),
        (Usage(200, 9), False),
        (Usage(100, 1), False),
        (Usage(201, 1), True),
        (Usage(200, 11), True),
        (Usage(200, 1, complete=False), True),
    ],
)
def test_in_a_workspace_with_too_many_bytes_there_may_be_more_files_and_no_more_bytes(
    now: Usage, over: bool
) -> None:
    """Each is held to its own limit, or to what there was: an empty file is no reason to end."""
    limits = Limits(workspace_bytes=100, workspace_files=10)
    assert Watcher(limits, Usage(200, 1)).walked(0.0, 0.1, Free(0, 0), now) is over
