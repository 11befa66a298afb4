"""Attacks 14, 17, 35 to 37: other people's files, strange ones, what a job leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.client import Job
from tests.attacks import snippets
from tests.attacks.stacks import QUICK, Target

pytestmark = pytest.mark.executor

TRIES = 50  # of jobs beside one that does not always get to run


# ---- other people's files ----


@pytest.mark.attack("14b")
async def test_proc_leads_to_no_other_root_directory_or_file(target: Target) -> None:
    """Magic links of all processes lead to what the job sees anyway, or nowhere."""
    secret = target.running.workspace("secretive")
    await target.bash("echo hidden > note", workspace="secretive")
    code = (
        "import glob\n"
        "print('looked for', 'links')\n"
        "for way in ('root', 'cwd', 'task/*/root', 'fd/*', 'map_files/*'):\n"
        "    for path in glob.glob(f'/proc/[0-9]*/{way}'):\n"
        f"        attempt(path, lambda: open(path + {str(secret / 'note')!r}).close())\n"
        "        attempt(path, lambda: open(path + '/note').close())\n"
        "        attempt(path, lambda: open(path + '/secretive/note').close())\n"
    )
    assert snippets.done(await target.python(snippets.python(code))) == []


@pytest.mark.attack("14c")
async def test_no_file_of_the_hosts_beyond_the_system_is_seen(target: Target) -> None:
    """Not the shadow file, not this test, not the executor's log, nor another account's home."""
    paths = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/ssh/sshd_config",
        "/root",
        "/var/log/dpkg.log",
        "/var/lib/dpkg/status",
        "/sys/fs/cgroup/memory",
        "/boot",
        "/proc/kcore",
        "/proc/kmsg",
        "/dev/mem",
        "/dev/kmsg",
        str(Path(__file__)),
        str(target.running.log),
        target.running.settings.workspaces,
    ]
    code = (
        "def look(path): os.listdir(path) if os.path.isdir(path) else open(path, 'rb').close()\n"
        f"for path in {paths!r}: attempt(path, lambda: look(path))\n"
    )
    allowed = {"/root"} if target.stack.isolation == "firejail" else set()  # an empty one
    worked = snippets.done(await target.python(snippets.python(code)))
    assert set(worked) <= allowed


@pytest.mark.attack("14d")
async def test_another_chats_workspace_is_out_of_reach(target: Target) -> None:
    """By its path, by way of its own directory's parent, or by a link made for the purpose."""
    other = target.running.workspace("other-chat")
    await target.bash("echo secret > note", workspace="other-chat")
    code = (
        f"cat {other}/note ../other-chat/note $HOME/../other-chat/note\n"
        f"ln -sf {other}/note link; cat link; rm -f link\n"
        f"ln -sf .. up; ls up/ | grep other; cat up/other-chat/note; rm -f up\n"
        f"echo changed > {other}/note; :"
    )
    result = await target.bash(code)
    assert (result.reason, result.stdout) == ("exit", b"")
    assert (other / "note").read_text() == "secret\n"


@pytest.mark.attack("37")
async def test_two_chats_that_run_at_once_do_not_see_each_other(target: Target, mark: str) -> None:
    """Neither processes nor files, while both are there."""
    spy = "ls /tmp /dev/shm ~ 2>/dev/null; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"
    hide = f"touch /tmp/{mark} /dev/shm/{mark} {mark} 2>/dev/null; echo up; sleep {mark}"
    async with target.started(Job("bash", hide, "hidden")):
        result = await target.bash(spy, workspace="spying")
    assert result.reason == "exit"
    assert mark.encode() not in result.stdout


# ---- state for the next job ----


@pytest.mark.attack("36a", "36b")
async def test_one_job_leaves_nothing_in_tmp_for_the_next(target: Target) -> None:
    """Neither in /tmp nor in /dev/shm, nor in the other places that everybody may write."""
    places = "/tmp /dev/shm /var/tmp /run/lock /dev/mqueue"
    await target.bash(f"for d in {places}; do touch $d/left 2>/dev/null; done", workspace="one")
    for workspace in ("one", "two"):
        look = f"ls -A {places} 2>/dev/null | grep left"
        assert (await target.bash(look, workspace=workspace)).stdout == b""


# ---- names and shapes ----


@pytest.mark.attack("35")
async def test_strange_names_are_names_like_any_other(target: Target) -> None:
    """They are made, come back in the next job, and go with the workspace."""
    code = (
        "import os\n"
        "names = [b'a\\nb', b'\\xff\\xfe', b'x' * 255, b'-rf', b'*', b' ', b'\\x1b[2J', b'a\\rb']\n"
        "for name in names: open(name, 'w').close()\n"
        "os.makedirs(b'd\\n/\\xff')\n"
        "print(len(set(os.listdir(b'.')) & set(names)))\n"
    )
    assert (await target.python(code, workspace="names")).stdout == b"8\n"
    again = await target.python(
        "import os\nprint(sum(map(len, os.listdir(b'.'))))", workspace="names"
    )
    assert (again.reason, again.code) == ("exit", 0)
    removed = await target.files("names").discard()
    assert removed.value.names >= 10


@pytest.mark.attack("14f")
@pytest.mark.parametrize("mode", [0, 0o200, 0o777])
async def test_what_a_job_has_closed_is_open_for_the_next(target: Target, mode: int) -> None:
    """Under landlock it has the account to which all of it belongs; the canary proves again."""
    root = Path(target.running.settings.workspaces)
    await target.bash("echo kept > note", workspace="victim")
    names = ("victim", ".canary", ".revisions/victim", ".revisions/attack", ".revisions", "")
    paths = [str(root / name) for name in names]
    code = f"for path in {paths!r}: attempt(path, lambda: os.chmod(path, {mode}))"
    await target.python(snippets.python(code))
    result = await target.bash(f"cat note; cat {root}/.canary", workspace="victim")
    assert (result.reason, result.stdout) == ("exit", b"kept\n"), result
    found = {name: (root / name).stat().st_mode & 0o777 for name in ("", "victim", ".canary")}
    assert found == {"": 0o700, "victim": 0o700, ".canary": 0o600}
    await target.answers()


@pytest.mark.attack("14f")
async def test_evidence_under_which_the_canary_changed_is_none(target: Target) -> None:
    """A job that closes it again and again makes others wait for its end, and no more.

    On a busy machine it may not get to do so while another begins: then that is sound, and runs.
    """
    canary = Path(target.running.settings.workspaces) / ".canary"
    busy = (
        "import os\nprint('up', flush=True)\nwhile True:\n"
        f"    try: os.chmod({str(canary)!r}, 0)\n    except OSError: pass\n"
    )
    believed = target.stack.isolation != "landlock"
    async with target.started(Job("python", busy, "closing", QUICK)):
        for _ in range(1 if believed else TRIES):
            result = await target.bash("echo ran", workspace="victim")
            assert (result.stdout == b"ran\n") is (result.reason == "exit"), result
            if result.reason != "exit":
                break
    assert result.reason in ({"exit"} if believed else {"denied", "executor_error"}), result
    await target.bash("true", workspace="closing")  # waits for the end of the job that closed it
    await target.answers()


@pytest.mark.attack("17")
async def test_a_workspace_that_is_a_link_is_refused(target: Target) -> None:
    """Whoever could put one there would have the job work in a directory of his choice."""
    link = target.running.workspace("a-link")
    aim = target.running.workspace("aim")
    await target.bash("true", workspace="aim")
    link.symlink_to(aim)
    result = await target.bash("touch ran", workspace="a-link")
    link.unlink()
    assert result.reason == "denied"
    assert "is not a directory" in result.detail
    assert not (aim / "ran").exists()
