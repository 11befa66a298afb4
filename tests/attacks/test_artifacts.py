"""Attack 16: artifacts that are not what they seem. Each is skipped, with the reason."""

from __future__ import annotations

import pytest
from attrs import evolve

from executor.client import Job, Limits, Result
from tests.attacks.canaries import Canaries
from tests.attacks.stacks import QUICK, Target

pytestmark = pytest.mark.executor

ROUNDS = 20
SMALL = evolve(QUICK, artifact_bytes=1000, artifact_files=2)


async def offer(target: Target, code: str, *names: str, limits: Limits = QUICK) -> Result:
    """Run a job and ask for files by name; afterwards its workspace is gone."""
    job = Job("bash", code, "offering", limits, artifacts=names)
    result = await target.run(job)
    await target.files("offering").discard()
    assert (result.reason, result.code) == ("exit", 0), result
    return result


def skipped(result: Result) -> set[str]:
    assert all(one.why for one in result.skipped)
    return {one.name for one in result.skipped}


@pytest.mark.attack("16a")
async def test_a_symlink_is_no_artifact(target: Target, canaries: Canaries) -> None:
    """Neither to the canary's file nor to the job's own, nor is a directory that is a link."""
    secret = canaries.same_uid.config
    code = (
        f"ln -s {secret} direct; ln -s {secret.parent} around; ln -s own inside; echo own > own\n"
        "ln -s / root"
    )
    names = ("direct", "around/config.toml", "inside", "root/etc/passwd", "own")
    result = await offer(target, code, *names)
    assert [one.name for one in result.artifacts] == ["own"]
    assert skipped(result) == set(names) - {"own"}
    canaries.assert_unharmed(*(one.data for one in result.artifacts))


@pytest.mark.attack("16b")
async def test_a_file_with_two_names_is_no_artifact(target: Target) -> None:
    """The other name may be anybody's, and a job could make it after the look."""
    result = await offer(target, "echo x > one; ln one two", "one", "two")
    assert result.artifacts == ()
    assert skipped(result) == {"one", "two"}


@pytest.mark.attack("16c")
async def test_fifos_sockets_and_devices_are_no_artifacts(target: Target) -> None:
    """And nobody waits for a fifo's writer.

    A job can make no device, and under landlock no socket: nothing matches, then.
    """
    code = (
        "mkfifo fifo; mknod null c 1 3 2>/dev/null || :; mkdir directory\n"
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' 2>/dev/null || :"
    )
    sock = "nothing matches" if target.stack.isolation == "landlock" else "a socket"
    whys = {
        "fifo": "a pipe",
        "null": "nothing matches",
        "sock": sock,
        "directory": "nothing matches",
        "/dev/zero": "cannot be",
        "../other": "cannot be",
    }
    result = await offer(target, code, *whys)
    assert result.artifacts == ()
    assert skipped(result) == whys.keys()
    for one in result.skipped:
        assert whys[one.name] in one.why, one


@pytest.mark.attack("16d")
async def test_a_magic_link_is_no_artifact(target: Target, canaries: Canaries) -> None:
    """What a link into /proc means depends on who follows it; nobody does."""
    code = "ln -s /proc/self/environ env; ln -s /proc/self/root top; ln -s /proc/self/fd/3 fd"
    names = ("env", "top/etc/passwd", f"top{canaries.same_uid.config}", "fd")
    result = await offer(target, code, *names)
    assert result.artifacts == ()
    assert skipped(result) == set(names)
    canaries.assert_unharmed()


SWAP = """
import contextlib, os, shutil, threading
PAIRS = (("file", "link"), ("plain", "links"))
def swap():
    while True:
        for name, other in PAIRS:
            with contextlib.suppress(OSError):
                os.rename(name, "away"); os.rename(other, name)
                os.rename(name, other); os.rename("away", name)
def prepare():
    for name in ("file", "link", "links", "away"):
        with contextlib.suppress(OSError): os.unlink(name)
    for name in ("plain", "links", "away"): shutil.rmtree(name, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.symlink(where + "/config.toml", "link"); os.symlink(where, "links")
        os.mkdir("plain")
    with contextlib.suppress(OSError):
        open("plain/config.toml", "w").write("harmless"); open("file", "w").write("harmless")
"""
CELL = "prepare()\nthreading.Thread(target=swap, daemon=True).start()\nprint('swaps')"


@pytest.mark.attack("16e", slow=True)
async def test_a_swap_in_the_middle_gets_nothing(target: Target, canaries: Canaries) -> None:
    """A thread of a session, which outlives its cell, swaps file, link and directory all along."""
    start = f"where = {str(canaries.same_uid.where)!r}\n{SWAP}"
    job = Job("python", start, "swapping", QUICK, session="swap")
    assert (await target.run(job)).code == 0
    names = ("file", "link", "plain/config.toml", "links/config.toml", "away")
    for _ in range(ROUNDS):
        result = await target.run(evolve(job, code=CELL, artifacts=names))
        assert (result.stdout, result.session) == (b"swaps\n", "kept"), result
        assert {one.data for one in result.artifacts} <= {b"harmless", b""}
        canaries.assert_unharmed(*(one.data for one in result.artifacts))
    await target.files("swapping").discard()


@pytest.mark.attack("16f")
async def test_too_many_and_too_large_artifacts_are_skipped(target: Target) -> None:
    """A sparse file of a size that would fill the daemon's memory is not read."""
    code = "for n in 1 2 3; do echo $n > $n.txt; done; truncate -s 60M large"
    result = await offer(target, code, "large", "*.txt", limits=SMALL)
    assert [one.name for one in result.artifacts] == ["1.txt", "2.txt"]
    assert skipped(result) == {"large", "3.txt"}
