"""What the landlock layer promises, grants, and says of kernels that are too old."""

from __future__ import annotations

from pathlib import Path

from executor.isolation import landlock
from executor.isolation.landlock import Landlock
from executor.isolation.layer import Capability


def test_it_promises_files_alone() -> None:
    """Without a filter, sockets and other processes remain within reach."""
    assert Landlock("/workspaces").capabilities(frozenset({"landlock"})) == {Capability.FS}


def test_with_a_filter_it_isolates() -> None:
    """With seccomp beside it, network and processes are closed too."""
    promised = Landlock("/workspaces").capabilities(frozenset({"landlock", "seccomp"}))
    assert promised == {Capability.FS, Capability.NET}


def test_an_old_kernel_is_named() -> None:
    """The cause says which kernel this is, the remedy which one would do."""
    missing = landlock.lacking(2, "6.1.0-40-amd64")
    assert missing is not None
    assert missing.cause == "landlock of this kernel (6.1, ABI 2) cannot scope signals"
    assert "6.12 or newer" in missing.remedy


def test_a_kernel_without_landlock_is_named() -> None:
    """None at all may also mean that it was switched off at boot."""
    missing = landlock.lacking(0, "6.18.44")
    assert missing is not None
    assert "(6.18) has no landlock" in missing.cause
    assert "lsm=landlock" in missing.remedy


def test_a_new_kernel_will_do() -> None:
    """From ABI 6 on nothing is missing."""
    assert landlock.lacking(6, "6.12.0") is None
    assert landlock.lacking(9, "7.2.0") is None


def test_what_a_job_may_read_is_there_and_is_not_the_hosts(tmp_path: Path) -> None:
    """The system's programs and what is to be kept, once each; no /proc, no /etc as a whole."""
    readable = Landlock("/workspaces").readable([str(tmp_path), "/usr", str(tmp_path / "nothing")])
    assert {"/usr", "/etc/passwd", "/dev/null", str(tmp_path)} <= set(readable)
    assert len(readable) == len(set(readable))
    assert all(Path(path).exists() for path in readable)
    assert not {"/", "/etc", "/proc", "/sys", "/dev", "/tmp", "/root", "/home"} & set(readable)


def test_devices_may_be_written() -> None:
    """Programs send what they do not want to /dev/null."""
    assert "/dev/null" in Landlock("/workspaces").writable()
    assert set(Landlock("/workspaces").writable()) <= set(Landlock("/workspaces").readable([]))
