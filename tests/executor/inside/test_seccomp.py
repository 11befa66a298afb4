"""The system call filter: its decisions by an interpreter, and the same on a real kernel."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.inside import kernel, seccomp
from tests.executor import harness
from tests.executor.inside import forked
from tests.executor.inside.bpf import JUMPS, instructions, interpret
from tests.executor.inside.forked import errno_of

MACHINE = os.uname().machine
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = "allow", "kill"
X32 = 0x40000000

machines = st.sampled_from(seccomp.machines())
words = st.integers(0, 2**64 - 1)
halves = st.integers(0, 2**32 - 1)
arguments = st.lists(words, min_size=6, max_size=6)

PROGRAMS = {
    (machine, sockets): seccomp.program(machine, sockets=sockets)
    for machine in seccomp.machines()
    for sockets in (True, False)
}
every_program = pytest.mark.parametrize(("machine", "sockets"), PROGRAMS)
every_machine = pytest.mark.parametrize("machine", seccomp.machines())
on_this_machine = pytest.mark.skipif(
    MACHINE not in ARCH or not Path("/proc/sys/kernel/seccomp").exists(),
    reason="no filter for this machine, or no seccomp",
)


def decide(
    machine: str,
    number: int,
    *args: int,
    sockets: bool = True,
    arch: int | None = None,
) -> str | int:
    """Give "allow", "kill" or the errno that a call would get."""
    filled = [*args, *[0] * 6][:6]
    arch = ARCH[machine] if arch is None else arch
    data = struct.pack("=IIQ6Q", number, arch, 0, *filled)
    answer = interpret(PROGRAMS[machine, sockets], data)
    if answer & 0xFFFF0000 == 0x00050000:
        return answer & 0xFFFF
    return {0x7FFF0000: ALLOW, 0x80000000: KILL}[answer]


def call(machine: str, name: str, *args: int, sockets: bool = True) -> str | int:
    return decide(machine, seccomp.numbers(machine)[name], *args, sockets=sockets)


# ---- the program as such ----


@every_program
def test_every_way_through_the_program_ends_in_an_answer(machine: str, sockets: bool) -> None:
    """All jumps go forward to an instruction that is there, and the last one returns."""
    steps = instructions(PROGRAMS[machine, sockets])
    for place, (code, yes, no, _) in enumerate(steps):
        assert code in {0x06, 0x20, 0x54, *JUMPS}
        assert place + 1 + max(yes, no) < len(steps) or code == 0x06
    assert steps[-1][0] == 0x06
    assert len(steps) <= 4096


def test_another_machine_has_no_filter() -> None:
    """A machine whose numbers are not known is refused by name."""
    with pytest.raises(OSError, match="riscv64") as caught:
        seccomp.program("riscv64", sockets=True)
    assert caught.value.errno == errno.ENOSYS


def test_numbers_are_those_of_the_system_headers() -> None:
    """The tables agree with the kernel's own headers, as far as those go."""
    headers = {
        "x86_64": list(Path("/usr/include").glob("*/asm/unistd_64.h")),
        "aarch64": list(Path("/usr/include/asm-generic").glob("unistd.h")),
    }
    found = {machine: paths[0].read_text() for machine, paths in headers.items() if paths}
    if not found:
        pytest.skip("the kernel's headers are not installed")
    for machine, text in found.items():
        header = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", text))
        ours = seccomp.numbers(machine)
        known = {name: int(header[name]) for name in ours if name in header}
        assert known == {name: ours[name] for name in known}
        assert len(known) > 60


@every_machine
def test_numbers_are_those_of_libseccomp(machine: str) -> None:
    """The tables agree with libseccomp's, which has those of both machines."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve = library.seccomp_syscall_resolve_name_arch
    ours = seccomp.numbers(machine)
    theirs = {name: resolve(ctypes.c_uint32(ARCH[machine]), name.encode()) for name in ours}
    known = {name: number for name, number in theirs.items() if number >= 0}
    assert known == {name: ours[name] for name in known}
    assert len(known) > 60


# ---- decisions ----


@every_machine
def test_what_a_program_needs_is_allowed(machine: str) -> None:
    """Calls that the filter does not name are allowed, landlock's and memfd_create among them."""
    wanted = {"x86_64": [0, 1, 2, 9, 57, 59, 157, 231, 317, 319], "aarch64": [56, 63, 64, 221, 279]}
    for number in (*wanted[machine], 434, 444, 445, 446, 449):
        assert decide(machine, number) == ALLOW
        assert decide(machine, number, sockets=False) == ALLOW


@every_machine
def test_clone3_and_calls_of_the_future_seem_unknown(machine: str) -> None:
    """Programs fall back from what answers ENOSYS, and a new kernel opens nothing new."""
    assert call(machine, "clone3") == errno.ENOSYS
    assert decide(machine, 470) == errno.ENOSYS
    assert decide(machine, X32 - 1) == errno.ENOSYS


@given(number=halves, arch=halves, args=arguments)
def test_foreign_calls_kill(number: int, arch: int, args: list[int]) -> None:
    """A call of another architecture kills, whatever it is."""
    for machine in seccomp.machines():
        if arch != ARCH[machine]:
            assert decide(machine, number, *args, arch=arch) == KILL


@given(number=st.integers(X32, 2**32 - 1), args=arguments)
def test_x32_calls_kill(number: int, args: list[int]) -> None:
    """The numbers with the x32 bit kill on x86_64, and are unknown elsewhere."""
    assert decide("x86_64", number, *args) == KILL
    assert decide("aarch64", number, *args) == errno.ENOSYS


@every_program
def test_every_denied_call_is_denied(machine: str, sockets: bool) -> None:
    """What the tables deny answers EPERM with any arguments."""
    denied = seccomp._column(seccomp._DENIED, machine)
    if not sockets:
        denied |= seccomp._column(seccomp._DENIED_WITHOUT_SOCKETS, machine)
    for number in denied.values():
        for value in (0, 1, 2**64 - 1):
            assert decide(machine, number, *[value] * 6, sockets=sockets) == errno.EPERM


@every_machine
def test_shared_memory_is_denied_only_without_namespaces(machine: str) -> None:
    """System V and POSIX queues, semaphores and memory are a box's own in an IPC namespace."""
    for name in ("shmget", "semget", "msgget", "mq_open", "inotify_add_watch"):
        assert call(machine, name) == ALLOW
        assert call(machine, name, sockets=False) == errno.EPERM


@given(machine=machines, flags=words)
def test_clone_may_make_no_namespace(machine: str, flags: int) -> None:
    """Any NEW bit in the 32 bits that the kernel reads is refused, and nothing else is."""
    new = 0x7E020000
    expected = errno.EPERM if flags & 0xFFFFFFFF & new else ALLOW
    assert call(machine, "clone", flags) == expected


@given(machine=machines, family=halves | st.integers(0, 50), high=halves, name=st.booleans())
def test_families_are_an_allow_list(machine: str, family: int, high: int, name: bool) -> None:
    """Only unix, inet and inet6 sockets can be made; the upper half changes nothing."""
    expected = ALLOW if family in {1, 2, 10} else errno.EPERM
    made = "socketpair" if name else "socket"
    assert call(machine, made, high << 32 | family) == expected


@given(machine=machines, family=words | st.integers(0, 50))
def test_no_socket_where_sockets_lead_out(machine: str, family: int) -> None:
    """Without a network namespace socket(2) is refused for every family."""
    assert call(machine, "socket", family, sockets=False) == errno.EPERM


@given(machine=machines, family=st.integers(0, 5), kind=halves, high=halves)
def test_pairs_stay_pairs(machine: str, family: int, kind: int, high: int) -> None:
    """A pair is of unix stream or seqpacket sockets: any other could send elsewhere."""
    connected = family == 1 and kind & 0xF in {1, 5}
    args = (high << 32 | family, high << 32 | kind)
    assert call(machine, "socketpair", *args, sockets=False) == (
        ALLOW if connected else errno.EPERM
    )


@given(machine=machines, mode=words)
def test_mknod_makes_no_device(machine: str, mode: int) -> None:
    """Character and block devices are refused; the kernel reads the lowest 16 bits."""
    device = stat.S_IFMT(mode & 0xFFFF) in {stat.S_IFCHR, stat.S_IFBLK}
    expected = errno.EPERM if device else ALLOW
    assert call(machine, "mknodat", 0, 0, mode) == expected
    if machine == "x86_64":
        assert call(machine, "mknod", 0, mode) == expected


@given(machine=machines, request=halves | st.sampled_from([0x5412, 0x541C]), high=halves)
def test_ioctls_that_type_for_others(machine: str, request: int, high: int) -> None:
    """TIOCSTI and TIOCLINUX are refused, however the upper half is filled."""
    expected = errno.EPERM if request in {0x5412, 0x541C} else ALLOW
    assert call(machine, "ioctl", 0, high << 32 | request) == expected


@given(machine=machines, pid=halves | st.just(0), high=halves)
def test_limits_are_set_on_oneself(machine: str, pid: int, high: int) -> None:
    """prlimit64 of another process of the account would reach the executor."""
    expected = errno.EPERM if pid else ALLOW
    assert call(machine, "prlimit64", high << 32 | pid) == expected


@every_machine
def test_scheduling_is_set_on_oneself_without_namespaces(machine: str) -> None:
    """Without a pid namespace no other process's priority can be changed."""
    for name in seccomp._OWN_ONLY_WITHOUT_SOCKETS:
        assert call(machine, name, 0, 0, sockets=False) == ALLOW
        assert call(machine, name, 1, 1, sockets=False) == errno.EPERM
        assert call(machine, name, 1, 1) == ALLOW
    assert call(machine, "setpriority", 2, 0, sockets=False) == errno.EPERM
    assert call(machine, "setpriority", 0, 7, sockets=False) == errno.EPERM


# ---- on a real kernel ----


def filtered(action: Callable[[], object], *, sockets: bool = True) -> Callable[[], object]:
    """Do something under the filter of this machine."""

    def under_the_filter() -> object:
        seccomp.install(PROGRAMS[MACHINE, sockets])
        return action()

    return under_the_filter


def errno_of_call(name: str, *args: int) -> int:
    number = seccomp.numbers(MACHINE)[name]
    return errno_of(kernel.syscall, name, number, *map(ctypes.c_ulong, args))


@on_this_machine
@pytest.mark.parametrize("sockets", [True, False])
def test_honest_work_goes_on(sockets: bool) -> None:
    """Threads start, programs run, fifos are made, and limits of one's own are lowered."""

    def work() -> object:
        seen: list[int] = []
        thread = threading.Thread(target=seen.append, args=(1,))
        thread.start()
        thread.join()
        said = subprocess.run(["/bin/sh", "-c", "echo $((6 * 7))"], capture_output=True, check=True)
        os.mkfifo(f"{where}/fifo")
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        os.nice(1)
        left, right = socket.socketpair()
        left.sendall(b"x")
        os.close(os.memfd_create("x"))
        return seen, said.stdout, right.recv(1)

    with harness.place() as where:
        forked.give(where)
        assert forked.run(filtered(work, sockets=sockets)) == ([1], b"42\n", b"x")


@on_this_machine
def test_socket_families_on_the_kernel() -> None:
    """Unix and inet sockets work; netlink, packet, vsock and alg do not."""

    def work() -> list[int]:
        families = (1, 2, 16, 17, 38, 40)
        return [errno_of(lambda f: socket.socket(f).close(), family) for family in families]

    assert forked.run(filtered(work)) == [0, 0, *[errno.EPERM] * 4]


@on_this_machine
def test_no_sockets_on_the_kernel() -> None:
    """In the closed form every socket is refused, and pairs of datagram sockets too."""

    def work() -> list[int]:
        kinds = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM, socket.SOCK_RAW)
        return [
            *(errno_of(socket.socket, family) for family in (1, 2, 10, 16, 40)),
            *(errno_of(socket.socketpair, socket.AF_UNIX, kind) for kind in kinds),
            errno_of_call("shmget", 0, 4096, 0o1600),
        ]

    refused = errno.EPERM
    expected = [*[refused] * 5, 0, 0, refused, refused, refused]
    assert forked.run(filtered(work, sockets=False)) == expected


@on_this_machine
def test_every_denied_call_on_the_kernel() -> None:
    """Each call of the table, made for real, answers EPERM."""

    def work() -> list[str]:
        denied = seccomp._column(seccomp._DENIED, MACHINE)
        # Arguments that no call takes: what is not denied fails in another way.
        tried = {name: errno_of_call(name, *[2**64 - 1] * 6) for name in denied}
        return [name for name, number in tried.items() if number != errno.EPERM]

    assert forked.run(filtered(work)) == []


@on_this_machine
def test_judged_calls_on_the_kernel() -> None:
    """Namespaces, devices, typing for others and others' limits are refused."""

    def work() -> dict[str, int]:
        reader, _ = os.pipe()
        return {
            "clone3": errno_of_call("clone3", 0, 0),
            "clone": errno_of_call("clone", kernel.CLONE_NEWUSER | signal.SIGCHLD, 0),
            "clone, upper half": errno_of_call("clone", 1 << 32 | kernel.CLONE_NEWUSER, 0),
            "device": errno_of(os.mknod, f"{where}/null", stat.S_IFCHR | 0o600, 0),
            "TIOCSTI": errno_of_call("ioctl", reader, 1 << 32 | 0x5412, 0),
            "parent's limits": errno_of(resource.prlimit, os.getppid(), resource.RLIMIT_CPU),
            "future": errno_of(kernel.syscall, "future", 1000),
        }

    with harness.place() as where:
        forked.give(where)
        answers = forked.run(filtered(work))
    assert answers.pop("clone3") == errno.ENOSYS
    assert answers.pop("future") == errno.ENOSYS
    assert set(answers.values()) == {errno.EPERM}, answers


def machine_code(code: bytes) -> None:
    """Run machine code that returns."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=protection)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


@on_this_machine
@pytest.mark.skipif(MACHINE != "x86_64", reason="x86 has these")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3", id="getpid by int 0x80"),
        pytest.param(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3", id="getpid of x32"),
    ],
)
def test_foreign_calls_kill_on_the_kernel(code: bytes) -> None:
    """A process that enters the kernel by another door is killed, whatever it asks for."""
    assert forked.ending(lambda: machine_code(b"\xc3")).code == 0
    ended = forked.ending(filtered(lambda: machine_code(code)))
    # A kernel built without 32-bit calls has no such door, and knows the instruction as a fault.
    assert ended.code in {-signal.SIGSYS, -signal.SIGSEGV}


@on_this_machine
def test_garbage_is_no_filter() -> None:
    """A program that the kernel refuses is an error, not a job without a filter."""
    assert forked.run(lambda: errno_of(seccomp.install, b"\xff" * 8)) == errno.EINVAL
