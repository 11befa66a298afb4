"""What the seccomp layer promises, and what it says of hosts that lack something."""

from __future__ import annotations

from pathlib import Path

from executor.isolation import seccomp
from executor.isolation.layer import Capability
from executor.isolation.seccomp import Seccomp


def actions(where: Path, text: str) -> Path:
    path = where / "actions_avail"
    path.write_text(text)
    return path


def test_it_promises_a_filter_and_no_new_privileges() -> None:
    """In any stack, it stands for SYSCALLS and NNP."""
    assert Seccomp().capabilities(frozenset()) == {Capability.SYSCALLS, Capability.NNP}


def test_nothing_is_missing_on_a_usual_kernel(tmp_path: Path) -> None:
    """A kernel that lists the answers needed will do, on both machines."""
    there = actions(tmp_path, "kill_process kill_thread trap errno user_notif trace log allow\n")
    assert seccomp.lacking("x86_64", there) is None
    assert seccomp.lacking("aarch64", there) is None


def test_an_unknown_machine_is_named(tmp_path: Path) -> None:
    """Without the numbers of a machine there is no filter for it."""
    missing = seccomp.lacking("riscv64", actions(tmp_path, "kill_process errno allow"))
    assert missing is not None
    assert missing.cause == "there is no filter for riscv64, only for x86_64 and aarch64"
    assert "leave `seccomp` out" in missing.remedy


def test_where_the_list_is_hidden_the_count_of_filters_tells() -> None:
    """A unit with ProcSubset=pid hides /proc/sys; the kernel of the tests is new enough."""
    assert seccomp.lacking("x86_64", Path("/nonexistent/actions_avail")) is None


def test_a_kernel_without_seccomp_is_refused() -> None:
    """Neither the list of answers is there, nor a count of filters."""
    missing = seccomp._lacking_of_filters("Name:\tpython3\nSeccomp:\t0\n")
    assert missing is not None
    assert "no seccomp filters" in missing.cause
    assert "CONFIG_SECCOMP_FILTER" in missing.remedy


def test_an_old_kernel_is_refused(tmp_path: Path) -> None:
    """A kernel that can only kill a thread would leave the rest of the process running."""
    missing = seccomp.lacking("x86_64", actions(tmp_path, "kill trap errno trace allow"))
    assert missing is not None
    assert missing.cause == "seccomp of this kernel cannot answer kill_process"
