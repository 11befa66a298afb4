"""Attacks 15, 19 to 21 and 28: other processes, the network, sockets, shared memory.

Daemons that are worth an attack are there as real processes (`canaries.py`), one under the
executor's own uid and one under another; each test ends with asking them what has reached them.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import snippets
from tests.attacks.canaries import Canaries
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor


async def worked(target: Target, canaries: Canaries, code: str) -> list[str]:
    """Run an attacker that is told whom to attack; name what it could do.

    PIDS are the canaries, the executor, its zygote, and the job's own PID 1 and parent.
    """
    zygotes = harness.children(target.pid)
    pids = [*(canary.pid for canary in canaries), target.pid, *zygotes]
    head = f"PIDS = {pids!r} + [1, os.getppid()]\n"
    result = await target.python(snippets.python(head + code))
    canaries.assert_unharmed(result.stdout, result.stderr)
    return snippets.done(result)


# ---- other processes ----


@pytest.mark.attack("15a")
async def test_no_process_outside_can_be_signalled(target: Target, canaries: Canaries) -> None:
    """By kill or through a pidfd, one by one or all at once; executor and zygote answer after."""
    code = (
        "PIDS = PIDS[:-2]\n"
        "for pid in PIDS:\n"
        "    if os.path.exists(f'/proc/{pid}/fd/0'): print('seen', 'done')\n"
        "    for number in (0, signal.SIGUSR1, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):\n"
        "        attempt('kill', lambda: os.kill(pid, number))\n"
        "    try: attempt('pidfd', lambda: signal.pidfd_send_signal(os.pidfd_open(pid), 9))\n"
        "    except OSError as error: print('pidfd', error.errno)\n"
    )
    assert await worked(target, canaries, code) == []
    await target.answers()


@pytest.mark.attack("15a")
async def test_a_signal_to_everybody_reaches_the_job_alone(
    target: Target, canaries: Canaries
) -> None:
    """kill(2) of -1 means all that may be signalled, which is nobody outside."""
    result = await target.python("import os\nos.kill(-1, 15)\nos.kill(-1, 9)\nprint('end')")
    assert result.reason in {"exit", "signal", "timeout"}
    canaries.assert_unharmed()
    await target.answers()


@pytest.mark.attack("15b")
async def test_no_process_can_be_traced(target: Target, canaries: Canaries) -> None:
    """Neither attached to nor seized, the box's own trusted process included."""
    code = (
        "for pid in PIDS:\n"
        "    call('ptrace', 16, pid, 0, 0)\n"
        "    call('ptrace', 0x4206, pid, 0, 0)\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("15c")
async def test_no_memory_of_others_can_be_read_or_written(
    target: Target, canaries: Canaries
) -> None:
    """By the calls for it or by /proc, where every process of the account would be open."""
    code = (
        "here = ctypes.create_string_buffer(64)\n"
        "vector = struct.pack('=2Q', ctypes.addressof(here), 64)\n"
        "for pid in PIDS:\n"
        "    call('process_vm_readv', pid, vector, 1, vector, 1, 0)\n"
        "    call('process_vm_writev', pid, vector, 1, vector, 1, 0)\n"
        "    for name in ('mem', 'environ', 'maps', 'auxv', 'stack', 'syscall'):\n"
        "        attempt(name, lambda: open(f'/proc/{pid}/{name}', 'rb').close())\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("15d")
async def test_no_descriptor_of_others_can_be_taken(target: Target, canaries: Canaries) -> None:
    """A pidfd of a process, where it can be had, gives none of its descriptors."""
    code = (
        "for pid in PIDS:\n"
        "    try: pidfd = os.pidfd_open(pid)\n"
        "    except OSError: pidfd = -1\n"
        "    for fd in range(8): call('pidfd_getfd', pidfd, fd, 0)\n"
        "    attempt('fd', lambda: os.listdir(f'/proc/{pid}/fd'))\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("15e")
async def test_nothing_of_others_can_be_changed(target: Target, canaries: Canaries) -> None:
    """A limit of nought would kill the executor as surely as a signal."""
    code = (
        "limit = struct.pack('=2Q', 0, 0)\n"
        "mask = struct.pack('=Q', 1)\n"
        "for pid in PIDS:\n"
        "    call('prlimit64', pid, 0, limit, None)\n"
        "for pid in PIDS[:-2]:\n"
        "    call('setpriority', 0, pid, 19)\n"
        "    call('sched_setaffinity', pid, 8, mask)\n"
    )
    assert await worked(target, canaries, code) == []
    await target.answers()


# ---- the network ----

_TRY_TCP = (
    "def tcp(where):\n"
    "    with socket.socket() as sock:\n"
    "        sock.settimeout(2)\n"
    "        sock.connect(where)\n"
)


@pytest.mark.attack("19a")
async def test_nothing_can_be_connected_to(target: Target, canaries: Canaries) -> None:
    """No route out, no metadata service, no service on the host's own loopback address."""
    ports = [canary.port for canary in canaries]
    code = _TRY_TCP + (
        "for where in (('169.254.169.254', 80), ('1.1.1.1', 53), ('10.0.0.1', 80)):\n"
        "    attempt(where, lambda: tcp(where))\n"
        f"for port in {ports!r}: attempt(port, lambda: tcp(('127.0.0.1', port)))\n"
        f"for port in {ports!r}: attempt(port, lambda: tcp(('0.0.0.0', port)))\n"
        "def tcp6(where):\n"
        "    with socket.socket(socket.AF_INET6) as sock: sock.connect(where)\n"
        "attempt('ipv6', lambda: tcp6(('2606:4700::1111', 53)))\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("19b", "19c", "19d")
async def test_no_datagram_leaves(target: Target, canaries: Canaries) -> None:
    """UDP and ICMP have nowhere to go, raw sockets are denied, and names are not resolved."""
    code = (
        "def udp(where):\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "        sock.sendto(b'x', where)\n"
        "for where in (('1.1.1.1', 53), ('169.254.169.254', 53), ('255.255.255.255', 67)):\n"
        "    attempt('udp', lambda: udp(where))\n"
        "def icmp(kind):\n"
        "    with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as sock:\n"
        "        sock.sendto(b'\\x08\\0\\xf7\\xff\\0\\0\\0\\0', ('1.1.1.1', 0))\n"
        "attempt('ping', lambda: icmp(socket.SOCK_DGRAM))\n"
        "attempt('raw', lambda: icmp(socket.SOCK_RAW))\n"
        "attempt('dns', lambda: socket.getaddrinfo('example.org', 80))\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("20")
async def test_only_harmless_kinds_of_sockets_can_be_opened(
    target: Target, canaries: Canaries
) -> None:
    """By vsock a virtual machine talks to its host, in any namespace; alg leads to old holes."""
    code = (
        "harmless = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)\n"
        "for family in set(range(60)) - set(harmless):\n"
        "    for kind in (1, 2, 3, 5):\n"
        "        attempt(family, lambda: socket.socket(family, kind).close())\n"
    )
    assert await worked(target, canaries, code) == []


# ---- sockets of the host's ----


@pytest.mark.attack("21a")
async def test_abstract_sockets_are_out_of_reach(target: Target, canaries: Canaries) -> None:
    """Anybody may connect to an abstract socket who is in its network namespace, or scope."""
    names = [canary.abstract for canary in canaries]
    code = (
        "def connect(name, kind):\n"
        "    with socket.socket(socket.AF_UNIX, kind) as sock: sock.connect('\\0' + name)\n"
        f"for name in {names!r}:\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):\n"
        "        attempt('abstract', lambda: connect(name, kind))\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.mark.attack("21b")
async def test_sockets_with_a_path_are_out_of_reach(target: Target, canaries: Canaries) -> None:
    """The daemons' sockets, which anybody may write, and the executor's own."""
    paths = [str(canary.socket) for canary in canaries] + [target.running.settings.socket]
    code = (
        "def connect(path):\n"
        "    with socket.socket(socket.AF_UNIX) as sock: sock.connect(path)\n"
        "def send(path):\n"
        "    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "    a.sendto(b'x', path)\n"
        f"for path in {paths!r}:\n"
        "    attempt('connect', lambda: connect(path))\n"
        "    attempt('send', lambda: send(path))\n"
        "    os.path.lexists('link') and os.unlink('link')\n"
        "    os.symlink(path, 'link')\n"
        "    attempt('link', lambda: connect('link'))\n"
        "os.unlink('link')\n"
    )
    assert await worked(target, canaries, code) == []


@pytest.fixture(params=["X", "PulseAudio"])
def desktop(request: pytest.FixtureRequest) -> Iterator[str]:
    """A socket where a desktop's servers listen; firejail leaves such in a /tmp of its own."""
    if request.param == "X":
        folder = Path("/tmp/.X11-unix")
        existed = folder.exists()
        folder.mkdir(0o1777, exist_ok=True)
    else:
        folder, existed = Path(tempfile.mkdtemp(prefix="pulse-", dir="/tmp")), False
    path = folder / f"X{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        if not existed:
            folder.chmod(0o777)
        path.chmod(0o777)
        yield str(path)
    path.unlink()
    if not existed:
        folder.rmdir()


@pytest.mark.attack("21b")
async def test_a_desktops_sockets_are_out_of_reach(
    target: Target, canaries: Canaries, desktop: str
) -> None:
    """Which anybody may write who sees them."""
    code = (
        "def connect():\n"
        f"    with socket.socket(socket.AF_UNIX) as sock: sock.connect({desktop!r})\n"
        "attempt('connect', connect)\n"
    )
    assert await worked(target, canaries, code) == []


# ---- what stays when processes are gone ----


@pytest.mark.attack("28a")
async def test_system_v_shared_memory_does_not_outlive_a_job(target: Target) -> None:
    """It is the box's own, or not to be had: neither the next job nor the host finds it."""
    key = 0x46414D55
    code = snippets.python(
        f"segment = libc.syscall(NUMBERS['shmget'], {key}, 4096, 0o1666)\nprint('made', segment)\n"
    )
    assert (await target.python(code)).reason == "exit"
    look = snippets.python(f"call('shmget', {key}, 4096, 0o666)\n")
    assert snippets.done(await target.python(look)) == []
    assert str(key) not in _segments()


def _segments() -> list[str]:
    return Path("/proc/sysvipc/shm").read_text().split()


@pytest.mark.attack("28b")
async def test_message_queues_do_not_outlive_a_job(target: Target) -> None:
    """The same for POSIX message queues."""
    make = snippets.python("print(libc.syscall(NUMBERS['mq_open'], b'left', 0o102, 0o666, None))")
    assert (await target.python(make)).reason == "exit"
    look = snippets.python("call('mq_open', b'left', 0o2, 0o666, None)\n")
    assert snippets.done(await target.python(look)) == []
