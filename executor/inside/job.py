"""The process that runs user code, from the fork to the end: in here nothing is trusted any more.

`begin` and `set_limits` take a child of the box from the inside of trusted code to the edge of it:
a session of its own, no descriptors but three, the limits. `bash` executes it; Python code is run
in this interpreter, which is already there, and made to look freshly started.
"""

from __future__ import annotations

import os
import resource
import sys

from executor.inside import kernel, landlock, plots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

_CONTROL = 3
# Descriptors up to here are the box's; a session keeps one at this number for a moment.
RESERVED = 255
_NAME = "[code]"
# A job that fails to start says why and ends with the shell's number for that.
_CANNOT_START = 127
_INTERRUPTED = 130


def begin(rules: Any) -> None:
    """Prepare this process, a fork of the box, for user code.

    `rules` are landlock's, or None: a domain within the box's own, from which the box can neither
    be signalled nor seen.
    """
    os.setsid()
    os.closerange(_CONTROL, RESERVED)
    kernel.be_visible()
    if rules:
        landlock.confine(rules["readable"], rules["writable"])
    home = os.environ["HOME"] = os.getcwd()
    if rules:  # /tmp is the host's, and closed
        cache = home + "/.cache"
        os.environ.update(TMPDIR=home, XDG_CACHE_HOME=cache, MPLCONFIGDIR=cache + "/matplotlib")


def set_limits(limits: list[tuple[int, ...]]) -> None:
    """Set limits: number, soft, hard. After this not even we can write a large file."""
    for number, most, ceiling in limits:
        former = resource.getrlimit(number)[1]
        hard = ceiling if former == resource.RLIM_INFINITY else min(ceiling, former)
        soft = min(most, hard)
        # One second between the signal that names the reason and the one that ends it.
        if number == resource.RLIMIT_CPU and soft > 1:
            soft -= 1
        resource.setrlimit(number, (soft, hard))
    _answer_to_large_files()


def _answer_to_large_files() -> None:
    """A file that grows too large ends the job, by a signal that names the reason.

    In a workspace that is full a write fails and no more: what removes files is to go on.
    """
    import signal

    full = resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN if full else signal.SIG_DFL)


def put_code(code: str) -> None:
    """Put the text for `become_bash` into the descriptor where it looks for it."""
    memory = os.memfd_create("code", 0)
    data = memoryview(code.encode())
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    if memory != _CONTROL:
        os.dup2(memory, _CONTROL)
        os.close(memory)


def become_bash() -> NoReturn:
    """Run the code as `bash -c` would, with the text in a descriptor and not in the arguments.

    The evaluated text begins by closing that descriptor, on the code's own first line, so that
    line numbers are right and the code starts with descriptors 0 to 2.
    """
    script = 'eval "exec 3<&-;$(</dev/fd/3)"'
    try:
        os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-c", script])
    except OSError as error:
        os.write(2, ("cannot start bash: %s\n" % error).encode())
        os._exit(_CANNOT_START)


class _Source:
    """A loader that knows one text: it gives tracebacks the user's own lines to show."""

    def __init__(self, code: str) -> None:
        self.code = code

    def get_source(self, _name: str) -> str:
        return self.code


# What is of no use here any more, but would cost time to take apart, or do harm.
_abandoned: list[Any] = []


def fresh_main() -> dict[str, Any]:
    """Make this interpreter look freshly started; give the namespace of its `__main__`."""
    plots.install()
    trusted = [name for name in sys.modules if name.split(".")[0] == "executor"]
    _abandoned.append([sys.modules.pop(name) for name in trusted])
    _usual_signals()
    sys.excepthook = _show_user_frames
    _standard_streams()
    sys.argv[:] = [_NAME]
    sys.path.append(os.getcwd())
    namespace = sys.modules["__main__"].__dict__
    namespace.clear()
    namespace.update(__name__="__main__", __builtins__=__builtins__)
    if "numpy" in sys.modules:  # a fork has its parent's random numbers; random sees to itself
        sys.modules["numpy"].random.seed()
    return namespace


def _standard_streams() -> None:
    """Open the streams anew: lines appear as they are written, and bad text is not an error."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
    sys.stdout = _writer(1, "surrogateescape")
    sys.stderr = _writer(2, "backslashreplace")
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def _usual_signals() -> None:
    """Python's own answers: Ctrl-C is an exception, and so is a pipe that nobody reads."""
    import signal

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def renew_streams() -> None:
    """In a fork: have streams that no thread of the parent was in the middle of using.

    The former ones are kept, unused, because to let go of them would be to write out what they
    hold, which is the parent's to write.
    """
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        _abandoned.append((sys.stdin, sys.stdout, sys.stderr))
        _standard_streams()


def _writer(descriptor: int, errors: str) -> Any:
    return open(descriptor, "w", 1, "utf-8", errors, closefd=False)


def run(code: str, namespace: dict[str, Any]) -> int:
    """Run Python code and give the exit status that the interpreter would have ended with."""
    namespace["__loader__"] = _Source(code)
    try:
        exec(compile(code, _NAME, "exec"), namespace)
    except SystemExit as error:
        return _status_of(error)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return _INTERRUPTED
    except BaseException:  # noqa: ASYNC103, BLE001 - we are the interpreter in this
        sys.excepthook(*sys.exc_info())
        return 1  # noqa: ASYNC104 - as above
    return 0


def _status_of(error: SystemExit) -> int:
    """As the interpreter does: a number is the status, None is 0, and anything else is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write("%s\n" % (error.code,))
    return 1


def end(status: int, namespace: dict[str, Any]) -> NoReturn:
    """End as an interpreter does, in its order: threads, exit handlers, objects, streams."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        import atexit

        atexit._run_exitfuncs()
        namespace.clear()
        flush()
    finally:
        os._exit(status)


def flush() -> None:
    """Write out what the code has printed; a stream that it has closed or replaced may fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def _show_user_frames(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback that begins where the user's code begins."""
    while trace is not None and trace.tb_frame.f_code.co_filename != _NAME:
        trace = trace.tb_next
    import traceback

    traceback.print_exception(kind, error, trace)
