"""The trusted first process inside the box: look around, report, and only then run user code.

Order of events, which is the whole point:

1. `serve` confines itself as it was told when it was started. In namespaces most of that is done
   before anybody wants the box; the rest needs the workspace and waits for a greeting.
2. `observe` reads what a few files of /proc say about the box and reports it.
3. The executor compares that with what the layers have promised. Only if all of it holds does it
   send the code. In a box that is not one, user code is not merely not run: it is not there.
4. A child runs the code. It has descriptors 0 to 2 and nothing else; this process keeps
   descriptor 3, watches, and reports how the child ended. A box ends with its job; one with a
   session begins again at the greeting.

Both directions are plain lines, `name value`; a blank line ends a message. While code runs, the
executor may send single lines: `signal N`, or `kill`. Its hanging up is `kill` as well.
"""

from __future__ import annotations

import os
import resource
import select
import signal

from executor.inside import job, kernel, landlock, seccomp, spaces, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CONTROL = 3
_READ_SIZE = 64 * 1024
# Orphans of a long job are reaped this often, so that they do not pile up as zombies.
_REAP_MILLISECONDS = 1000
# A look at the memory of a tree costs a few milliseconds; a process can take 100 MB in between.
_LOOK_MILLISECONDS = 100
_STATUS = ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd")


class Order:
    """What to run: a message of the executor that ends with code."""

    def __init__(self, fields: list[tuple[str, str]], code: str) -> None:
        self.code = code
        self.language = ""
        self.session = False
        self.memory = 0  # bytes that the tree may have as far as we can see; 0: the kernel watches
        self.limits: list[tuple[int, ...]] = []  # number, soft, hard
        for name, value in fields:
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        if name == "language":
            self.language = value
        elif name == "session":
            self.session = True
        elif name == "memory":
            self.memory = int(value)
        elif name == "limit":
            number, most, ceiling = map(int, value.split())
            self.limits.append((number, most, ceiling))


class Control:
    """The conversation with the executor over one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.closed = False
        self._buffer = bytearray()

    def fields(self) -> list[tuple[str, str]]:
        """Wait for a message; empty when the executor has hung up."""
        found: list[tuple[str, str]] = []
        while True:
            line = self._line()
            if not line:
                return found if not self.closed else []
            name, _, value = line.partition(" ")
            found.append((name, value))

    def order(self) -> Order | None:
        """Wait for an order; None when the executor has decided against this box."""
        fields = self.fields()
        if not fields or fields[-1][0] != "code":
            return None
        length = int(fields.pop()[1])
        while len(self._buffer) < length and self._fill():
            pass
        code = bytes(self._buffer[:length])
        del self._buffer[:length]
        return Order(fields, code.decode()) if len(code) == length else None

    @property
    def waiting(self) -> bool:
        """Whether a line has been read already, with what came before it."""
        return b"\n" in self._buffer

    def words(self) -> list[str]:
        """Give the lines that are complete, after reading once if there is none."""
        if not self.waiting:
            self._fill()
        lines: list[str] = []
        while b"\n" in self._buffer:
            lines.append(self._line())
        return lines

    def say(self, values: dict[str, str]) -> None:
        data = ("".join("%s %s\n" % pair for pair in values.items()) + "\n").encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:  # nobody listens: the next read finds out
            self.closed = True

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            if not self._fill():
                return ""
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return line.decode()

    def _fill(self) -> bool:
        try:
            data = os.read(self.descriptor, _READ_SIZE)
        except ConnectionResetError:
            data = b""
        self.closed = not data
        self._buffer += data
        return not self.closed


class Eyes:
    """Open files of /proc, through which the box still sees when it may open none any more."""

    def __init__(self) -> None:
        self.pid_namespace = os.readlink("/proc/self/ns/pid")
        self.own_proc = os.readlink("/proc/self") == str(os.getpid())
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._network = os.open("/proc/self/net/dev", os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC)
        self.own = {self._status, self._network, self._descriptors}

    def status(self) -> dict[str, str]:
        pairs = [line.partition(":") for line in _whole(self._status).splitlines()]
        return {name: value.strip() for name, _, value in pairs if name in _STATUS}

    def interfaces(self) -> str:
        lines = _whole(self._network).splitlines()
        return ",".join(sorted(line.split(":")[0].strip() for line in lines if ":" in line))

    def descriptors(self) -> str:
        """Which are open, but for `own` and the one that os.listdir makes to list them."""
        os.lseek(self._descriptors, 0, os.SEEK_SET)
        numbers = {int(name) for name in os.listdir(self._descriptors)} - self.own
        return ",".join(str(number) for number in sorted(numbers) if _is_open(number))


def _whole(descriptor: int) -> str:
    return os.pread(descriptor, _READ_SIZE, 0).decode()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _can_open(path: str) -> bool:
    """By opening it: landlock lets a job learn that a file is there, and no more."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def observe(eyes: Eyes, canary: str) -> dict[str, str]:
    """Give what this process can see of its confinement, as names and short texts."""
    here = os.stat(".")
    seen = {
        "uid": str(os.getuid()),
        "groups": str(len(set(os.getgroups()) - {os.getgid()})),
        "pid_namespace": eyes.pid_namespace,
        "own_proc": str(eyes.own_proc),
        "interfaces": eyes.interfaces(),
        "sockets": "open" if kernel.may_open_sockets() else "denied",
        "fds": eyes.descriptors(),
        "canary": "reachable" if _can_open(canary) else "unreachable",
        "workspace": "%d:%d" % (here.st_dev, here.st_ino),
        "writable": str(os.access(".", os.W_OK | os.X_OK)),
    }
    seen.update(eyes.status())
    return seen


# ---- a box's life ----


def serve(confinement: dict[str, Any]) -> NoReturn:
    """Be the first process of a box; ends the process. See `executor.isolation.layer`."""
    try:
        _serve(confinement, Control(CONTROL))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be said
        os.write(2, ("the box failed: %r\n" % error).encode())
    finally:
        os._exit(1)


def _serve(confinement: dict[str, Any], control: Control) -> NoReturn:
    os.environ.clear()
    os.environ.update(confinement["environment"])
    if confinement.get("view"):
        spaces.enter(confinement["view"])
    kernel.die_with_parent(signal.SIGKILL)
    kernel.become_subreaper()
    rules = confinement.get("landlock")
    eyes = Eyes()
    session = None
    greeting = dict(control.fields())
    if greeting:
        _settle(confinement, greeting["workspace"])
    while greeting:
        if session is not None:
            session.get_ready()
        control.say(observe(eyes, greeting["canary"]))
        order = control.order()
        if order is None:
            break
        watch = Watch(control, order.memory)
        if not order.session:
            values = _run(order, watch, rules)
            if confinement.get("view"):
                _end_all_others()
                values["empty"] = "1"
            control.say(_with_memory(values, watch))
            break
        if session is None:
            from executor.inside.session import Session

            session = Session(order, rules)
            eyes.own.add(session.fileno())
        control.say(_with_memory(session.run(order, watch), watch))
        session.bury()
        if session.lost:
            break
        greeting = dict(control.fields())
    os._exit(0)


def _settle(confinement: dict[str, Any], workspace: str) -> None:
    """Do what could not be done before the workspace was known, and close what is open still."""
    if confinement.get("view"):
        spaces.take_workspace(workspace)
    elif "workspaces" in confinement:
        os.chdir(confinement["workspaces"] + "/" + workspace)
    kernel.be_opaque()
    kernel.drop_capabilities()
    kernel.no_new_privileges()
    rules = confinement.get("landlock")
    if rules:
        rules["writable"].append(os.getcwd())
        landlock.confine([*rules["readable"], "/proc"], rules["writable"])
    if confinement.get("filter"):
        seccomp.install(_filters[confinement["filter"]])


# By the names that a confinement uses. Made once, in the zygote: it takes a millisecond or two.
_filters: dict[str, bytes] = {}


def filters() -> dict[str, bytes]:
    """Make the system call filters, for this process and those that come of it."""
    machine = os.uname().machine
    _filters["open"] = seccomp.program(machine, sockets=True)
    _filters["closed"] = seccomp.program(machine, sockets=False)
    return _filters


def use_filters(made: dict[str, bytes]) -> None:
    _filters.update(made)


def _run(order: Order, watch: Watch, rules: Any) -> dict[str, str]:
    """Run a job to its end; gives the report: a wait(2) status, and what all has used."""
    child = os.fork()
    if child == 0:
        _become(order, rules)
    status = watch.until_end(child)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    return {"status": str(status), "cpu": "%.6f" % cpu, "peak": str(usage.ru_maxrss * 1024)}


def _end_all_others() -> None:
    """As the init of a pid namespace, kill all else in it and wait: ECHILD proves that it is gone.

    kill(2) of -1 misses nobody, because a fork that it overtakes is begun again and then killed.
    """
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _with_memory(values: dict[str, str], watch: Watch) -> dict[str, str]:
    return {**values, "out_of_memory": "1"} if watch.over else values


def _become(order: Order, rules: Any) -> NoReturn:
    try:
        job.begin(rules)
        if order.language == "bash":
            job.put_code(order.code)
        job.set_limits(order.limits)
        if order.language == "bash":
            job.become_bash()
        namespace = job.fresh_main()
        job.end(job.run(order.code, namespace), namespace)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be said
        os.write(2, ("the code could not be started: %r\n" % error).encode())
    finally:
        os._exit(127)


class Watch:
    """Waits for a child while it obeys the executor and, if asked, looks at the memory."""

    def __init__(self, control: Control, memory: int) -> None:
        self.control = control
        self.memory = memory
        self.over = False

    def until_end(self, child: int) -> int:
        """Wait until `child` has ended, and give its wait(2) status."""
        pidfd = os.pidfd_open(child)
        try:
            self.until((pidfd,), child)
        finally:
            os.close(pidfd)
        return os.waitpid(child, 0)[1]

    def until(self, descriptors: tuple[int, ...], child: int) -> list[int]:
        """Wait until one of `descriptors` is readable; gives those that are.

        `child` gets the signals that the executor sends, and is killed on demand.
        """
        poll = select.poll()
        for descriptor in (*descriptors, self.control.descriptor):
            poll.register(descriptor, select.POLLIN)
        if self.control.waiting:
            self._obey(child)
        pause = _LOOK_MILLISECONDS if self.memory else _REAP_MILLISECONDS
        while True:
            ready = [number for number, _ in poll.poll(pause)]
            wanted = [number for number in ready if number in descriptors]
            if wanted:
                return wanted
            if ready:
                self._obey(child)
                if self.control.closed:
                    poll.unregister(self.control.descriptor)
            self._look_after(child)

    def _look_after(self, child: int) -> None:
        if self.memory and tree.has_more_than(os.getpid(), self.memory):
            self.over = True
            tree.kill(child)
        _reap_orphans(child)

    def _obey(self, child: int) -> None:
        for word in self.control.words():
            name, _, value = word.partition(" ")
            tree.kill(child, int(value) if name == "signal" else signal.SIGKILL)
        if self.control.closed:
            tree.kill(child)


def _reap_orphans(child: int) -> None:
    """Reap what has come to us from grandchildren; the child's own status waits for its reader."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == child:
            return
        os.waitpid(found.si_pid, os.WNOHANG)
