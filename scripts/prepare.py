"""Sets up what `make demo`, `make test` and `make wheel` need, and nothing twice.

There are two halves. The *host* half looks for what the system must supply (a sandbox, the user
that jobs run as, what makes a virtual environment) and, run as root, installs just what is
missing; run as anyone else it prints the line that would, and goes on without. The *environment*
half makes a virtual environment, fills it from locks with hashes, and puts the checkout on its
path. A stamp that depends on the locks, the interpreter and the place of the checkout lets the
next run see in a few milliseconds that there is nothing to do.

This runs on a bare system, before anything is installed: the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import debian
import editable
from console import PrepareError, run, say, succeeds

ROOT = Path(__file__).resolve().parent.parent

# The user that the executor and its jobs run as when the program was started by root.
EXECUTOR_USER = "famulus-exec"
EXECUTOR_HOME = Path("/var/lib/famulus-exec")

# An account that owns nothing, to find out what an ordinary one may do.
NOBODY = 65534

# For each purpose, locks in the order in which they are installed; the second holds all of the
# first. `run` and `test` set up the host for jobs, too; `wheel` is for a server, which gets its
# accounts and packages by the commands in the README. `oracles` has nothing of ours: it holds
# programs of others that tests ask, and that want other packages than we do.
LOCKS = {
    "run": ("requirements.lock",),
    "test": ("requirements.lock", "requirements-test.lock"),
    "wheel": ("requirements.lock", "requirements-test.lock"),
    "oracles": ("requirements-oracles.lock",),
}
WITH_JOBS = frozenset({"run", "test"})
WITHOUT_US = frozenset({"oracles"})

# The first and the last Python that the locks are made for.
PYTHONS = ((3, 11), (3, 13))


@dataclass(frozen=True)
class Host:
    """What was found on this machine, before anything is changed."""

    root: bool
    apt: bool
    firejail: bool
    user_namespaces: bool
    system_python: bool
    matplotlib: bool
    ensurepip: bool
    certificates: bool
    executor_user: bool


@dataclass(frozen=True)
class Target:
    """One virtual environment: where it is, and what for."""

    venv: Path
    purpose: str

    @property
    def locks(self) -> tuple[str, ...]:
        """What fills it."""
        return LOCKS[self.purpose]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def certificates(self) -> Path:
        """Certificates for pip, present only where the system had none."""
        return self.venv / "certificates.pem"

    def stamp(self, lock: str) -> Path:
        """Where the environment keeps the stamp of one lock."""
        return self.venv / f".{lock}.stamp"


# --- Decisions ------------------------------------------------------------------------------


def missing_packages(host: Host, purpose: str, *, made: bool) -> tuple[str, ...]:
    """Debian packages to install; an environment that is `made` no longer needs what makes one.

    firejail is set-uid root: a host whose user namespaces isolate jobs is spared it, but for the
    tests of its stack. matplotlib for jobs (300 MB) is for tests alone, and only where apt
    can install it: nobody is asked to do so by hand.
    """
    tests, jobs = purpose == "test", purpose in WITH_JOBS
    wanted = [
        ("firejail", not host.firejail and (tests or (jobs and not host.user_namespaces))),
        # Jobs run /usr/bin/python3, whichever Python runs the program.
        ("python3", jobs and not host.system_python),
        ("python3-venv", not (made or host.ensurepip)),
        ("ca-certificates", not (made or host.certificates)),
        ("python3-matplotlib", tests and host.root and host.apt and not host.matplotlib),
    ]
    return tuple(package for package, absent in wanted if absent)


def check_version(version: tuple[int, int]) -> None:
    """Refuses an interpreter that the locks were not made for."""
    low, high = PYTHONS
    if not low <= version <= high:
        raise PrepareError(
            f"Python {version[0]}.{version[1]} cannot run this; 3.11, 3.12 and 3.13 can."
            " Name one of them: make PYTHON=python3.11 ..."
        )


def stamp_of(sources: Sequence[bytes], interpreter: str, place: Path) -> str:
    """What an environment was made from; it is up to date while this is the same."""
    digest = hashlib.sha256()
    for part in (*sources, interpreter.encode(), bytes(place)):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


# --- The host -------------------------------------------------------------------------------


def look() -> Host:
    """Reads the state of this machine; changes nothing."""
    return Host(
        root=os.geteuid() == 0,
        apt=shutil.which("apt-get") is not None,
        firejail=shutil.which("firejail") is not None,
        user_namespaces=has_user_namespaces(),
        system_python=Path("/usr/bin/python3").exists(),
        matplotlib=Path("/usr/lib/python3/dist-packages/matplotlib").exists(),
        ensurepip=has_ensurepip(),
        certificates=debian.has_certificates(os.environ),
        executor_user=debian.user_exists(EXECUTOR_USER) and EXECUTOR_HOME.is_dir(),
    )


def has_ensurepip() -> bool:
    """Whether this interpreter can put pip into an environment by itself."""
    return importlib.util.find_spec("ensurepip") is not None


def has_user_namespaces() -> bool:
    """Whether an ordinary account may make user namespaces, and mount in them.

    The second is what Ubuntu takes away from those that it lets anybody make.
    """
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    tried = ("unshare", "--user", "--map-root-user", "--mount", "--net", "true")
    command = (*become, *tried) if os.geteuid() == 0 else tried
    return shutil.which("unshare") is not None and succeeds(command)


def prepare_host(host: Host, purpose: str, packages: Sequence[str]) -> None:
    """Installs what is missing, or says how to; a host that cannot help is not an error."""
    if packages and host.root and host.apt:
        debian.install(packages)
    elif packages:
        say_missing(packages, host)
    if host.root and not host.executor_user and purpose in WITH_JOBS:
        debian.add_user(EXECUTOR_USER, EXECUTOR_HOME)


def say_missing(packages: Sequence[str], host: Host) -> None:
    """Prints the line that the owner of this machine would run."""
    say("not installed here: " + " ".join(packages) + "; to install:")
    say("    sudo " + shlex.join(debian.install_command(packages)))
    if "firejail" in packages and host.user_namespaces:
        say("without firejail the tests of its stack are skipped")
    elif "firejail" in packages:
        say("without firejail the program runs, with its code tools off if nothing else isolates")


# --- The environment ------------------------------------------------------------------------


def prepare_environment(target: Target) -> None:
    """Makes or renews the environment; each lock is stamped once it is in."""
    if not usable(target):
        make_environment(target)
    for lock in target.locks:
        if not current(target, lock):
            say(f"installing {lock} into {target.venv.name}")
            install_lock(target, lock)
            target.stamp(lock).write_text(wanted_stamp(lock))


def usable(target: Target) -> bool:
    """Whether there is an environment of this Python's minor version, with pip, to renew."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pip = target.venv / "lib" / f"python{version}" / "site-packages" / "pip"
    return target.python.exists() and pip.is_dir()


def ready(target: Target) -> bool:
    """Whether there is nothing to do."""
    return usable(target) and all(current(target, lock) for lock in target.locks)


def current(target: Target, lock: str) -> bool:
    """Whether `lock` as it is now is what the environment was filled from."""
    stamp = target.stamp(lock)
    return stamp.exists() and stamp.read_text() == wanted_stamp(lock)


def wanted_stamp(lock: str) -> str:
    """The stamp of `lock` for this interpreter and this checkout."""
    sources = [ROOT / lock, ROOT / "pyproject.toml", *sorted(Path(__file__).parent.glob("*.py"))]
    return stamp_of([path.read_bytes() for path in sources], sys.version, ROOT)


def make_environment(target: Target) -> None:
    """Makes an environment that has pip: by ensurepip, or from Debian's wheel of pip."""
    say(f"making {target.venv.name} for Python {sys.version.split()[0]}")
    command = [sys.executable, "-m", "venv", "--clear", str(target.venv)]
    if has_ensurepip():
        run(command, "no virtual environment could be made")
        return
    run([*command, "--without-pip"], "no virtual environment could be made")
    with debian.pip_files() as root:
        take_pip(target, root)


def take_pip(target: Target, root: Path) -> None:
    """Installs pip from the wheel below `root`, and keeps certificates if the system has none."""
    wheel = str(debian.find_wheel(root))
    if not debian.has_certificates(os.environ):
        target.certificates.write_text(debian.certificate_bundle(root))
    # A wheel can be run where it lies: pip installs itself.
    itself = [str(target.python), f"{wheel}/pip", "install", "--quiet", "--no-index", wheel]
    run(itself, "pip could not install itself")


def install_lock(target: Target, lock: str) -> None:
    """Installs exactly what the lock names, each by its hash and as a wheel; then the checkout."""
    exactly = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    pip(target, [*exactly, "--requirement", str(ROOT / lock)])
    if target.purpose in WITHOUT_US:
        return
    with tempfile.TemporaryDirectory(prefix="famulus-wheel-") as folder:
        wheel = editable.write_wheel(ROOT, Path(folder))
        pip(target, ["--no-index", "--no-deps", "--force-reinstall", str(wheel)])


def pip(target: Target, arguments: Sequence[str]) -> None:
    """Runs `pip install` in the environment, quietly and without asking anything."""
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
    if target.certificates.exists() and not debian.has_certificates(os.environ):
        options += ["--cert", str(target.certificates)]
    run(
        [str(target.python), "-m", "pip", "install", *options, *arguments],
        "pip could not install what is needed (its own message stands above)",
    )


@contextlib.contextmanager
def one_at_a_time(target: Target) -> Iterator[None]:
    """Two runs for one environment take turns; the lock goes with its process, however it ends."""
    with Path(f"{target.venv}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- The command ----------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> Target:
    """The command line as a Target."""
    parser = argparse.ArgumentParser(description="Set up what a make target needs.")
    parser.add_argument("purpose", choices=sorted(LOCKS))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment")
    options = parser.parse_args(arguments)
    return Target(venv=options.venv.absolute(), purpose=options.purpose)


def prepare(target: Target) -> None:
    """Brings host and environment to where they should be; raises PrepareError."""
    check_version(sys.version_info[:2])
    host = look()
    packages = missing_packages(host, target.purpose, made=usable(target))
    prepare_host(host, target.purpose, packages)
    if ready(target):
        return
    with one_at_a_time(target):
        prepare_environment(target)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 when host and environment are as good as they can be made here."""
    try:
        prepare(parse(arguments))
    except PrepareError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
