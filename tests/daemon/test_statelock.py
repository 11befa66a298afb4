"""One daemon per state directory, for certain."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import statelock
from daemon.statelock import StateDirError, StateLocked

HOLDER = """
import sys
from pathlib import Path
from daemon import statelock

with statelock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    """With its parents, and the lock in it."""
    state_dir = tmp_path / "a" / "state"
    with statelock.hold(state_dir) as held:
        assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((state_dir / "lock").stat().st_mode) == 0o600
        assert statelock.holder(state_dir) == os.getpid()
        assert not held.released

    assert held.released
    assert statelock.holder(state_dir) is None


def test_a_second_holder_is_refused_with_the_pid(tmp_path: Path) -> None:
    """The lock is by open file, so one process can try against itself."""
    with statelock.hold(tmp_path / "s"):
        with pytest.raises(StateLocked) as caught, statelock.hold(tmp_path / "s"):
            pass
        assert statelock.holder(tmp_path / "s") == os.getpid()

    assert caught.value.pid == os.getpid()
    assert str(os.getpid()) in caught.value.cause
    assert "stop it first" in caught.value.remedy
    with statelock.hold(tmp_path / "s"):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """Only its pid, which decides nothing."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "s")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StateLocked) as caught, statelock.hold(tmp_path / "s"):
            pass
        assert caught.value.pid == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    assert statelock.holder(tmp_path / "s") == process.pid
    with statelock.hold(tmp_path / "s"):
        assert statelock.holder(tmp_path / "s") == os.getpid()


def test_the_holder_may_not_have_left_a_pid(tmp_path: Path) -> None:
    """It holds the lock a moment before it writes."""
    with statelock.hold(tmp_path / "s"):
        (tmp_path / "s" / "lock").write_bytes(b"\xff")
        with pytest.raises(StateLocked, match="another process") as caught:
            statelock.hold(tmp_path / "s").__enter__()

    assert caught.value.pid is None


@pytest.mark.parametrize("place", ["/proc/famulus", "/dev/null/state"])
def test_a_place_that_cannot_be_used_is_told(place: str) -> None:
    """With the user for whom, and a command that makes it."""
    with pytest.raises(StateDirError) as caught, statelock.hold(Path(place)):
        pass

    assert f"uid {os.geteuid()}" in caught.value.cause
    assert "install -d -m 0700" in caught.value.remedy


def test_a_directory_for_everybody_is_refused(tmp_path: Path) -> None:
    """Anybody could put another database there."""
    tmp_path.chmod(0o1777)
    with pytest.raises(StateDirError, match="everybody may write"), statelock.hold(tmp_path):
        pass


def test_a_directory_that_others_may_read_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be somebody else's to change, so it stays as it is."""
    tmp_path.chmod(0o755)
    with statelock.hold(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    assert "others may look into the state directory" in capsys.readouterr().err


def test_a_symlink_in_the_locks_place_is_refused(tmp_path: Path) -> None:
    """Or the pid would be written into its target."""
    tmp_path.chmod(0o700)
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to("target")

    with pytest.raises(StateDirError), statelock.hold(tmp_path):
        pass
    assert (tmp_path / "target").read_text() == "precious"
