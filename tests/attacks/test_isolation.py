"""Attacks 13, 22 to 27, 29 to 33: what a process may do and have inside its box."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import snippets
from tests.attacks.stacks import Target

pytestmark = pytest.mark.executor


async def worked(target: Target, code: str) -> list[str]:
    """Run an attacker with the common snippets, and name what it could do."""
    return snippets.done(await target.python(snippets.python(code)))


@pytest.mark.attack("13")
async def test_a_job_that_closes_its_output_goes_on_and_is_waited_for(target: Target) -> None:
    """The end is the process's end, not that of its streams."""
    code = (
        "import os, time\n"
        "for n in (0, 1, 2): os.close(n)\n"
        "time.sleep(0.3)\n"
        "open('after', 'w').write('yes')\n"
        "os._exit(7)\n"
    )
    result = await target.python(code)
    assert (result.reason, result.code) == ("exit", 7)
    assert (await target.bash("cat after; rm after")).stdout == b"yes"


# ---- what is there from the start ----


@pytest.mark.attack("22a")
async def test_descriptors_are_0_to_2(target: Target) -> None:
    """In Python and in bash, whatever the box and its helpers have open."""
    code = (
        "import os\n"
        "def is_open(n):\n"
        "    try: os.fstat(n)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print([n for n in range(4096) if is_open(n)])"
    )
    assert (await target.python(code)).stdout == b"[0, 1, 2]\n"
    shell = (
        "for n in {3..254}; do\n"
        "  [ -e /proc/self/fd/$n ] && (: >&$n) 2>/dev/null && echo $n\n"
        "done; :"
    )
    assert (await target.bash(shell)).stdout == b""


@pytest.mark.attack("22b")
async def test_the_control_descriptor_cannot_be_had_back(target: Target) -> None:
    """Neither from the process that watches nor from a helper's."""
    code = (
        "for pid in {1, os.getppid()}:\n"
        "    for fd in range(3, 12):\n"
        "        path = f'/proc/{pid}/fd/{fd}'\n"
        "        attempt('open', lambda: open(path, 'wb', 0).write(b'status 0'))\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("23")
async def test_the_environment_is_exactly_the_allow_list(target: Target) -> None:
    """The same names on every stack, in Python and in what it starts, and nothing in memory."""
    code = "import os\nprint(*sorted(os.environ))"
    expected = b"GIT_CONFIG_NOSYSTEM HOME LANG MPLCONFIGDIR PATH TMPDIR XDG_CACHE_HOME"
    assert (await target.python(code)).stdout.split() == expected.split()
    shell = "compgen -e | sort"
    own = {b"OLDPWD", b"PWD", b"SHLVL", b"_"}
    assert set((await target.bash(shell)).stdout.split()) - own == set(expected.split())


# ---- privileges ----


@pytest.mark.attack("18a")
async def test_a_setuid_copy_gains_nothing(target: Target) -> None:
    """No process of a job can gain privileges by exec, and it has none to begin with."""
    code = (
        "cp /bin/sh s; chmod 6755 s\n"
        "./s -p -c 'grep -E \"^(NoNewPrivs|CapEff|CapPrm|CapAmb|Uid)\" /proc/self/status' || :\n"
        "rm -f s; id -u"
    )
    result = await target.bash(code)
    lines = dict(line.split(b":") for line in result.stdout.splitlines() if b":" in line)
    assert set(lines.get(b"Uid", b"").split()) <= {str(target.running.ready.status["uid"]).encode()}
    assert all(int(lines.get(name, b"0"), 16) == 0 for name in (b"CapEff", b"CapPrm", b"CapAmb"))
    assert lines.get(b"NoNewPrivs", b"1").strip() == b"1"


@pytest.mark.attack("18b", slow=True)
async def test_su_sudo_and_the_like_gain_nothing(target: Target) -> None:
    """Whatever of them is there either does not start or stays who it is."""
    code = (
        "for command in 'su -c id' 'sudo -n id' 'pkexec id' 'newgrp root' 'passwd -S'; do\n"
        "  $command </dev/null 2>/dev/null | grep -E 'uid=0|gid=0' && echo root\n"
        "done\n"
        "python3 -c 'import os; os.setuid(0)' 2>/dev/null && echo setuid; :"
    )
    assert (await target.bash(code)).stdout == b""


@pytest.mark.attack("24a")
async def test_devices_cannot_be_made(target: Target) -> None:
    """Neither character nor block devices, anywhere that can be written."""
    code = (
        "for kind in (0o020000, 0o060000):\n"
        "    call('mknodat', -100, b'device', kind | 0o666, os.makedev(1, 1))\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("24b")
async def test_nothing_can_be_mounted(target: Target) -> None:
    """By mount(2) or by the calls that have come after it, nor unmounted, nor opened by handle."""
    code = (
        "os.makedirs('mnt', exist_ok=True)\n"
        "call('mount', b'none', b'mnt', b'tmpfs', 0, None)\n"
        "call('mount', b'none', b'/', None, 0x20 | 0x1000, None)\n"
        "call('umount2', b'/proc', 2)\n"
        "call('fsopen', b'tmpfs', 0)\n"
        "call('open_tree', -100, b'/', 1)\n"
        "call('move_mount', -100, b'/usr', -100, b'mnt', 0)\n"
        "call('mount_setattr', -100, b'/usr', 0, ctypes.create_string_buffer(32), 32)\n"
        "call('open_by_handle_at', -100, ctypes.create_string_buffer(32), 0)\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("24c")
async def test_the_root_cannot_be_changed(target: Target) -> None:
    """Neither by chroot nor by pivot_root, not even to what it is."""
    code = "call('chroot', b'/')\ncall('pivot_root', b'.', b'.')\n"
    assert await worked(target, code) == []


@pytest.mark.attack("24d")
async def test_no_namespace_can_be_entered_or_made(target: Target) -> None:
    """Not by unshare, clone or clone3, of no kind; and none of another process's can be joined."""
    code = (
        "for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 1 << 29, 1 << 30, 0x80):\n"
        "    call('unshare', flag)\n"
        "    if flag != 0x80 and call('clone', flag | 17, 0, 0, 0, 0) == 0: os._exit(0)\n"
        "arguments = struct.pack('=11Q', 0x20000000, *[0] * 3, 17, *[0] * 6)\n"
        "if call('clone3', arguments, len(arguments)) == 0: os._exit(0)\n"
        "for name in ('net', 'mnt', 'pid', 'ipc', 'uts'):\n"
        "    try: fd = os.open(f'/proc/{os.getppid()}/ns/{name}', os.O_RDONLY)\n"
        "    except OSError: fd = os.open('/', os.O_PATH)\n"
        "    call('setns', fd, 0)\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("24e")
async def test_nothing_but_the_workspace_and_tmp_can_be_written(target: Target) -> None:
    """The system is read-only, and nothing of the job's is on the way to it."""
    code = (
        "for d in / /etc /usr /usr/local/bin /var /var/lib /run /opt /home /root /srv /dev"
        " /proc/sys/kernel /sys /sys/fs/cgroup; do\n"
        "  touch $d/written 2>/dev/null && echo $d\n"
        "done\n"
        "echo x 2>/dev/null > /etc/passwd && echo passwd; touch own && rm own && echo own"
    )
    assert (await target.bash(code)).stdout == b"own\n"


@pytest.mark.attack("25")
async def test_a_nested_user_namespace_is_denied(target: Target) -> None:
    """It would be the door to everything that only needs to be root in a namespace."""
    code = (
        "call('unshare', 0x10000000)\n"
        "if call('clone', 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)\n"
        "import subprocess\n"
        "failed = subprocess.run(['unshare', '-Ur', 'true'], stderr=-3).returncode\n"
        "print('command', failed or 'done')\n"
    )
    assert await worked(target, code) == []


# ---- system calls with many holes behind them ----


@pytest.mark.attack("26")
async def test_io_uring_bpf_perf_and_userfaultfd_are_denied(target: Target) -> None:
    """And what loads kernels and modules, or sets the clock."""
    code = (
        "zeros = ctypes.create_string_buffer(256)\n"
        "call('io_uring_setup', 8, zeros)\n"
        "call('bpf', 0, struct.pack('=8I', 2, 4, 4, 1, *[0] * 4), 32)\n"
        "call('perf_event_open', struct.pack('=2I14Q', 1, 120, *[0] * 14), 0, -1, -1, 0)\n"
        "call('userfaultfd', 1)\n"
        "call('kexec_load', 0, 0, zeros, 0)\n"
        "call('init_module', zeros, 0, b'')\n"
        "call('clock_settime', 0, zeros)\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("27")
async def test_the_sessions_keyring_is_out_of_reach(target: Target) -> None:
    """Keyrings are no namespace: the session's is shared with whoever started the executor."""
    code = (
        "for ring in (-1, -2, -3, -4, -5): call('keyctl', 0, ring, 0)\n"
        "call('keyctl', 1, None)\n"
        "call('add_key', b'user', b'left', b'secret', 6, -3)\n"
        "call('request_key', b'user', b'left', None, -3)\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("33a", needs="x86_64")
async def test_x32_calls_are_no_way_around_the_filter(target: Target) -> None:
    """They have numbers of their own: each try is a child, which is killed or told ENOSYS."""
    code = (
        "for number in (0x40000000 + 39, 0x40000000 + 272, 0x40000000 + 321):\n"
        "    child = os.fork()\n"
        "    if child == 0: os._exit(7 if libc.syscall(ctypes.c_long(number), 0) >= 0 else 1)\n"
        "    print(number, 'done' if os.waitpid(child, 0)[1] == 7 << 8 else 'failed')\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("33b", needs="x86_64")
async def test_32_bit_calls_are_no_way_around_the_filter(target: Target) -> None:
    """`int 0x80` with getpid's and unshare's numbers of 32-bit code, run as machine code."""
    code = (
        "import mmap\n"
        "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "for number in (20, 310):\n"
        "    text = b'\\x53\\x31\\xdb\\xb8' + struct.pack('=I', number) + b'\\xcd\\x80\\x5b\\xc3'\n"
        "    page[:len(text)] = text\n"
        "    child = os.fork()\n"
        "    if child == 0: os._exit(7 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0 else 1)\n"
        "    print(number, 'done' if os.waitpid(child, 0)[1] == 7 << 8 else 'failed')\n"
    )
    assert await worked(target, code) == []


# ---- what might be left behind, or reach out ----


@pytest.mark.attack("29")
async def test_a_crash_dumps_no_core(target: Target) -> None:
    """Nothing is left of it in the workspace, and the limit cannot be raised."""
    code = (
        "import os, resource\n"
        "try: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))\n"
        "except (OSError, ValueError): pass\n"
        "os.abort()"
    )
    result = await target.python(code, workspace="crash")
    assert (result.reason, result.code) == ("signal", 6)
    assert (await target.bash("find . -name '*core*'", workspace="crash")).stdout == b""


@pytest.mark.attack("30a")
async def test_characters_cannot_be_pushed_into_a_terminal(target: Target) -> None:
    """Not even into one of its own, were there any; nor by way of the console."""
    code = (
        "import fcntl\n"
        "fds = [0, 1, 2]\n"
        "for name in ('/dev/tty', '/dev/console', '/dev/ptmx'):\n"
        "    try: fds.append(os.open(name, os.O_RDWR | os.O_NOCTTY))\n"
        "    except OSError: pass\n"
        "for fd in fds:\n"
        "    attempt('TIOCSTI', lambda: fcntl.ioctl(fd, 0x5412, b'x'))\n"
        "    attempt('TIOCLINUX', lambda: fcntl.ioctl(fd, 0x541C, b'\\x02'))\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("30b")
async def test_there_is_no_controlling_terminal(target: Target) -> None:
    """The job leads a session of its own, and /dev/tty leads nowhere."""
    code = (
        "attempt('tty', lambda: os.open('/dev/tty', os.O_RDWR))\n"
        "for fd in (0, 1, 2): attempt('isatty', lambda: os.ttyname(fd))\n"
        "print('session', 'own' if os.getsid(0) == os.getpid() else 'done')\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("31a")
async def test_limits_can_only_be_lowered(target: Target) -> None:
    """Those it has cannot be raised: they are hard ones."""
    code = (
        "import resource\n"
        "for name in ('AS', 'CPU', 'FSIZE', 'NOFILE', 'CORE'):\n"
        "    number = getattr(resource, 'RLIMIT_' + name)\n"
        "    hard = resource.getrlimit(number)[1]\n"
        "    print(name, 'done' if hard == resource.RLIM_INFINITY else hard)\n"
        "    try: resource.setrlimit(number, (hard + 1, hard + 1))\n"
        "    except (OSError, ValueError): print(name, 'failed')\n"
        "    else: print(name, 'done')\n"
    )
    assert await worked(target, code) == []


@pytest.mark.attack("31b")
async def test_a_job_cannot_make_itself_the_last_to_be_killed(target: Target) -> None:
    """Its own score can only go up, and other processes' scores are not its to change."""
    code = (
        "def score(pid, value): open(f'/proc/{pid}/oom_score_adj', 'w', 1).write(value + '\\n')\n"
        "attempt('own', lambda: score('self', '-1000'))\n"
        f"attempt('executor', lambda: score({target.pid}, '1000'))\n"
    )
    assert await worked(target, code) == []
    assert _oom_score(target.pid) != 1000


def _oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.attack("32")
async def test_a_job_cannot_leave_its_cgroup(target: Target) -> None:
    """The hierarchy is not there to write to, by any of its usual paths."""
    code = (
        "import glob\n"
        "print('looked for', 'groups')\n"
        "for path in glob.glob('/sys/fs/cgroup/**/cgroup.procs', recursive=True):\n"
        "    attempt(path, lambda: open(path, 'w').write('0'))\n"
        "for path in ('cgroup.procs', 'memory/cgroup.procs', 'pids/tasks'):\n"
        "    attempt(path, lambda: open('/sys/fs/cgroup/' + path, 'w').write('0'))\n"
    )
    assert await worked(target, code) == []
