"""The trusted first process inside the box: look around, report, and only then run user code.

This file is not imported by the executor. Its *source* is sent down descriptor 3 into an
interpreter that was started with BOOTSTRAP (in `executor.box_channel`), because the box may not
be able to see the executor's own files. It therefore uses the standard library alone, avoids
imports that cost milliseconds (json alone would cost six), and stays within the Python of three
releases ago.

Order of events, which is the whole point:

1. `observe` reads what a few files of /proc say about the box and reports it.
2. The executor compares that with what the layers have promised. Only if all of it holds does it
   send the code. In a box that is not one, user code is not merely not run: it is not there.
3. A child runs the code. It has descriptors 0 to 2 and nothing else; this process keeps
   descriptor 3 and reports how the child ended.

Both directions are plain lines, `name value`; a blank line ends a report.
"""

from __future__ import annotations

import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost four milliseconds
    from types import CodeType, TracebackType
    from typing import BinaryIO

_CONTROL = 3


def observe(canary: str) -> dict[str, str]:
    """Give what this process can see of its confinement, as names and short texts."""
    seen = {
        "uid": str(os.getuid()),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
        "own_proc": str(os.readlink("/proc/self") == str(os.getpid())),
        "interfaces": ",".join(_interfaces()),
        "fds": ",".join(_descriptors()),
        "canary": "reachable" if os.access(canary, os.F_OK) else "unreachable",
        "workspace": "%d:%d" % (os.stat(".").st_dev, os.stat(".").st_ino),
        "writable": str(os.access(".", os.W_OK | os.X_OK)),
    }
    seen.update(_status())
    return seen


def _status() -> dict[str, str]:
    wanted = ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd")
    with open("/proc/self/status") as file:
        pairs = [line.split(":", 1) for line in file]
    return {name: value.strip() for name, value in pairs if name in wanted}


def _interfaces() -> list[str]:
    with open("/proc/self/net/dev") as file:
        return sorted(line.split(":")[0].strip() for line in file if ":" in line)


def _descriptors() -> list[str]:
    """List the open descriptors; the one that lists them is gone by the time it is looked at."""
    return [name for name in sorted(os.listdir("/proc/self/fd")) if _is_open(int(name))]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def report(values: dict[str, str]) -> None:
    text = "".join("%s %s\n" % pair for pair in values.items()) + "\n"
    data = text.encode()
    while data:
        data = data[os.write(_CONTROL, data) :]


def read_order(control: BinaryIO) -> tuple[list[tuple[str, str]], str]:
    """Read the order: (name, value) pairs up to `code LENGTH`, then that many bytes of code."""
    pairs: list[tuple[str, str]] = []
    while True:
        name, _, value = control.readline().decode().rstrip("\n").partition(" ")
        if not name:
            os._exit(3)  # the executor has decided against this box
        if name == "code":
            return pairs, control.read(int(value)).decode()
        pairs.append((name, value))


def enter(control: BinaryIO) -> tuple[CodeType, dict[str, object]]:
    """Do it all. In the child for Python, returns what the bootstrap is to exec()."""
    report(observe(control.readline().decode().rstrip("\n")))
    pairs, code = read_order(control)
    child = os.fork()
    if child:
        _watch(child)
    os.setsid()
    os.close(_CONTROL)
    os.environ.clear()
    for name, value in pairs:
        _prepare(name, value)
    os.environ["HOME"] = os.getcwd()
    if ("language", "bash") in pairs:
        _become_bash(code)
    return _as_main(code)


def _watch(child: int) -> None:
    _, status, usage = os.wait4(child, 0)
    cpu = usage.ru_utime + usage.ru_stime
    report({"status": str(status), "cpu": "%.6f" % cpu, "peak": str(usage.ru_maxrss * 1024)})
    os._exit(0)


def _prepare(name: str, value: str) -> None:
    """Apply one line of the order to this process: the environment and the limits, no other."""
    if name == "env":
        key, _, text = value.partition("=")
        os.environ[key] = text
    elif name == "limit":
        number, most = map(int, value.split())
        ceiling = resource.getrlimit(number)[1]
        most = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        # One second between the signal that names the reason and the one that ends it.
        soft = most - 1 if number == resource.RLIMIT_CPU and most > 1 else most
        resource.setrlimit(number, (soft, most))


def _become_bash(code: str) -> None:
    """Run the code as `bash -c` would, with the text in a descriptor and not in the arguments.

    The evaluated text begins by closing that descriptor, on the code's own first line, so that
    line numbers are right and the code starts with descriptors 0 to 2.
    """
    memory = os.memfd_create("code", 0)
    os.write(memory, code.encode())
    os.lseek(memory, 0, os.SEEK_SET)
    if memory != _CONTROL:
        os.dup2(memory, _CONTROL)
        os.close(memory)
    _restore_signals()
    script = 'eval "exec 3<&-;$(</dev/fd/3)"'
    os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-c", script])


def _restore_signals() -> None:
    """Give back the defaults that Python changes for itself and exec would pass on."""
    import _signal  # type: ignore[import-not-found]  # built in; signal itself would cost an enum

    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)


class _Source:
    """A loader that knows one text: it gives tracebacks the user's own lines to show."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_source(self, _name: str) -> str:
        return self.code


def _as_main(code: str) -> tuple[CodeType, dict[str, object]]:
    """Make this interpreter look freshly started on the code; give (code object, namespace)."""
    name = "[code]"
    sys.excepthook = _show_user_frames
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper
    sys.argv[:] = [name]
    sys.path.append(os.getcwd())
    namespace = sys.modules["__main__"].__dict__
    namespace.clear()
    namespace.update(__name__="__main__", __builtins__=__builtins__, __loader__=_Source(code))
    return compile(code, name, "exec"), namespace


def _show_user_frames(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback that begins where the user's code begins."""
    while trace is not None and trace.tb_frame.f_code.co_filename != "[code]":
        trace = trace.tb_next
    import traceback

    traceback.print_exception(kind, error, trace)
