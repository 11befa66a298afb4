"""The same attackers where nothing isolates: they succeed, and the canaries notice.

This is what gives the other tests their worth. And it shows what `subreaper` keeps by itself: the
death of a job's whole tree, where no namespace helps. Only root can ask for such a stack, with jobs
under an account of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from executor.client import Job
from tests.attacks import canaries as canary_daemons
from tests.attacks import snippets
from tests.attacks.canaries import Canaries
from tests.attacks.stacks import Stack, Target
from tests.attacks.test_lifecycle import hydra, in_mid_job, until_nothing_is_left
from tests.attacks.test_processes import SHORT
from tests.executor import harness

pytestmark = [
    pytest.mark.executor,
    pytest.mark.skipif(not harness.IS_ROOT, reason="such a stack is refused with a shared uid"),
]

BARE = Stack("none", ("none", "subreaper"))
SETTINGS = {"stack": BARE.layers, "require": ("KILL_TREE",)}


@pytest.fixture(scope="module")
def bare() -> Iterator[Target]:
    with harness.place() as where, harness.executor(where, **SETTINGS) as running:
        yield Target(BARE, running)


@pytest.fixture
def prey() -> Iterator[Canaries]:
    """Canaries for one test, which are not asked to be well at the end."""
    with canary_daemons.started() as both:
        yield both


# ---- the attackers, and those who notice ----


async def test_secrets_are_read_where_nothing_isolates(bare: Target, prey: Canaries) -> None:
    """From the environment and the file of a daemon of one's own uid, as by any program."""
    canary = prey.same_uid
    code = f"cat /proc/{canary.pid}/environ {canary.config}"
    result = await bare.bash(code)
    assert result.stdout.count(canary.secret.encode()) == 2
    with pytest.raises(AssertionError):
        prey.assert_unharmed(result.stdout)


@pytest.mark.parametrize(
    "attack",
    [
        "socket.socket(1).connect('\\0{0.abstract}')",
        "socket.socket(1).connect('{0.socket}')",
        "socket.create_connection(('127.0.0.1', {0.port}))",
        "os.kill({0.pid}, signal.SIGUSR1)",
        "os.kill({0.pid}, signal.SIGSTOP)",
    ],
)
async def test_a_canary_notices_what_reaches_it(bare: Target, prey: Canaries, attack: str) -> None:
    """Connections of three kinds, a signal, and being stopped."""
    call = attack.format(prey.same_uid)
    result = await bare.python(snippets.python(f"attempt('reached', lambda: {call})"))
    assert snippets.done(result) == ["reached"]
    with pytest.raises(AssertionError):
        prey.assert_unharmed(result.stdout)
    prey.same_uid.process.kill()


async def test_system_calls_work_where_nothing_filters(bare: Target) -> None:
    """So that numbers and arguments are right: what a filter denies would have been done."""
    code = (
        "call('unshare', 0x10000000)\n"
        "call('io_uring_setup', 8, ctypes.create_string_buffer(256))\n"
        "call('keyctl', 0, -3, 1)\n"
        "call('shmget', 0, 4096, 0o1600)\n"
        "attempt('netlink', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))\n"
    )
    result = await bare.python(snippets.python(code))
    assert set(snippets.done(result)) >= {"unshare", "keyctl", "shmget", "netlink"}


# ---- what the subreaper keeps alone ----


async def test_a_hydra_leaves_nothing(bare: Target, mark: str) -> None:
    """Orphans come back to the keeper, which kills until there is no child left."""
    result = await bare.bash(hydra(mark), limits=SHORT)
    assert (result.reason, result.layers) == ("timeout", BARE.layers)
    assert harness.processes_with(mark) == []


async def test_a_daemonised_grandchild_is_over_with_the_job(bare: Target, mark: str) -> None:
    """Twice orphaned, or without any descriptor of ours."""
    code = (
        f"(setsid setsid sleep {mark} &); (setsid sleep {mark} </dev/null &>/dev/null &); echo done"
    )
    result = await bare.bash(code)
    assert (result.reason, result.stdout) == ("exit", b"done\n")
    assert harness.processes_with(mark) == []


async def test_two_jobs_at_once_do_not_kill_each_other(bare: Target, mark: str) -> None:
    """Orphans go to their own job's keeper, so the end of one job does not touch the other's."""
    code = f"(setsid sleep {mark} &); echo up; sleep {mark}"
    async with bare.started(Job("bash", code, "long")):
        await bare.bash(f"(setsid sleep {mark} &); echo up", workspace="short")
        assert harness.processes_with(mark)


async def test_a_keeper_that_is_killed_is_owned_up_to(mark: str) -> None:
    """Nobody can prove that such a job is dead: its processes are killed, and it is said."""
    with harness.place() as where, harness.executor(where, **SETTINGS) as running:
        async with in_mid_job(running, Job("bash", hydra(mark), "orphaned")):
            for zygote in harness.children(running.pid):
                for keeper in harness.children(zygote):
                    harness.kill(keeper)
        await until_nothing_is_left(running, mark)
        with trio.fail_after(10):
            while not (await running.client.status()).unavailable:  # noqa: ASYNC110 - far away
                await trio.sleep(0.01)
        again = await running.client.run(Job("bash", "echo ran", "another"))
        assert (again.reason, again.stdout) == ("executor_error", b"")
        assert "could not be proved dead" in again.detail
        assert "restart the executor" in again.detail
