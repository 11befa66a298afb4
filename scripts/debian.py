"""What Debian supplies, with root's rights or without.

Debian keeps ensurepip out of its python3, so a fresh system makes environments without pip. Its
own pip is in the package python3-pip-whl, as a wheel, and certificates are in ca-certificates.
Root installs packages. Anyone else can still fetch and unpack them: apt serves an ordinary user
who gives it a state directory of his own, and both packages are plain files once unpacked.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from console import PrepareError, run, say, succeeds

# What certificates are called on a system that has ca-certificates configured.
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# Variables by which pip is told of other certificates.
CERTIFICATE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")

# Where the two packages keep their files, below the root that they are unpacked in.
WHEELS = "usr/share/python-wheels"
CERTIFICATES = "usr/share/ca-certificates/mozilla"


def install_command(packages: Sequence[str]) -> tuple[str, ...]:
    """The one apt command line, run by root or shown to anyone else."""
    return ("apt-get", "install", "--yes", "--no-install-recommends", *packages)


def install(packages: Sequence[str]) -> None:
    """Installs by apt; its lists are renewed only if they turn out absent or stale."""
    say("installing " + " ".join(packages))
    command = install_command(packages)
    if succeeds(command):
        return
    succeeds(("apt-get", "update", "-q"))
    if not succeeds(command, show=True):
        say("apt could not install them; going on without")


def add_user(name: str, home: Path) -> None:
    """Makes a system user that logs in nowhere and is in no group but its own.

    It has a home that is its own, since firejail serves no user without one.
    """
    say(f"adding the system user {name} (home {home})")
    failure = f"the user {name} could not be added"
    if not user_exists(name):
        shell = ("--shell", "/usr/sbin/nologin")
        account = ("--system", "--user-group", "--no-create-home", "--home-dir", str(home))
        run(("useradd", *account, *shell, name), failure)
    run(
        ("install", "--directory", "--mode=700", f"--owner={name}", f"--group={name}", str(home)),
        failure,
    )


def user_exists(name: str) -> bool:
    """Whether the user database knows `name`."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_certificates(environ: Mapping[str, str]) -> bool:
    """Whether pip will find certificates: the system's, or a bundle that a variable names."""
    named = [Path(environ[name]) for name in CERTIFICATE_VARIABLES if environ.get(name)]
    return any(path.is_file() for path in [SYSTEM_CERTIFICATES, *named])


@contextlib.contextmanager
def pip_files() -> Iterator[Path]:
    """A root below which pip's wheel lies: this system's, or a temporary one that apt filled.

    A temporary one has certificates beside it if this system has none. It is gone on leaving.
    """
    if find_wheel(Path("/")) and has_certificates(os.environ):
        yield Path("/")
        return
    wanted = ["python3-pip-whl"]
    if not has_certificates(os.environ):
        wanted.append("ca-certificates")
    with tempfile.TemporaryDirectory(prefix="famulus-apt-") as folder:
        yield fetch(wanted, Path(folder))


def find_wheel(root: Path) -> Path | None:
    """Pip's wheel below `root`, or None."""
    return next((root / WHEELS).glob("pip-*.whl"), None)


def certificate_bundle(root: Path) -> str:
    """The certificates below `root` as one text, as pip wants them; empty if there are none."""
    return "".join(path.read_text() for path in sorted((root / CERTIFICATES).glob("*.crt")))


def fetch(packages: Sequence[str], folder: Path) -> Path:
    """Fetches and unpacks packages below `folder` without any right; returns the root of files.

    Apt keeps its lists below `folder` too: an ordinary user may not write the system's, and on a
    fresh system there may be none.
    """
    for part in ("state/lists/partial", "cache/archives/partial", "packages", "root"):
        (folder / part).mkdir(parents=True)
    options = ["-o", f"Dir::State={folder}/state", "-o", f"Dir::Cache={folder}/cache"]
    options += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-q"]
    say("fetching " + " ".join(packages) + " (as an ordinary user: nothing is installed)")
    failure = "pip is not to be had here: have python3-venv installed, then run this again"
    run(["apt-get", *options, "update"], failure)
    run(["apt-get", *options, "download", *packages], failure, cwd=folder / "packages")
    return unpack(folder / "packages", folder / "root")


def unpack(packages: Path, into: Path) -> Path:
    """Unpacks every Debian package in a folder, without installing it."""
    for package in packages.glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(into)], f"{package.name} could not be unpacked")
    if find_wheel(into) is None:
        raise PrepareError("Debian's python3-pip-whl holds no pip: have python3-venv installed")
    return into
