"""The Dockerfile, built by buildah, and compose.yaml's two containers of what comes of it.

The base image is a Debian of our own making, so no registry is asked. buildah runs the containers
with few namespaces, but with the system call filter that container engines have by default: there,
too, user namespaces are not to be had, and the executor has to do with landlock. What each may do
is read from compose.yaml: its account, command, volumes, network, and a root that is read-only.
Limits, restarts and an init are the engine's (`compose.LEFT_TO_THE_ENGINE`), and not tried here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.system import debian
from tests.system.compose import Service, services
from tests.system.waiting import line_with

pytestmark = pytest.mark.slow

BASE = "docker.io/library/debian:trixie-slim"
CONFIG = """\
[telegram]
token = { env = "FAMULUS_TELEGRAM_TOKEN" }
api_base_url = "http://127.0.0.1:9"

[model]
name = "none"
base_url = "http://127.0.0.1:9/v1"

[executor]
daemon_user = "famulus"
"""
ASK = """
import json, sys, trio
from executor.client import ExecutorClient, ExecutorUnavailable, Job
client = ExecutorClient("/run/famulus/executor.sock")
try:
    result = trio.run(client.run, Job("python", sys.argv[1], "mine"))
    told = {"reason": result.reason, "stdout": result.stdout.decode(), "layers": result.layers}
    told["pictures"] = [one.data[1:4].decode("latin-1") for one in result.artifacts]
    told["stderr"] = result.stderr.decode()
except ExecutorUnavailable as error:
    told = {"unavailable": error.cause}
print(json.dumps(told))
"""
SOCKET = """
import socket
try:
    socket.socket()
    print("made")
except OSError as error:
    print(type(error).__name__)
"""
FAMULUS = "/opt/famulus/bin/famulus"
CONFIGURED = ("--config", "/etc/famulus.toml")
_START_SECONDS = 60.0
# What an engine mounts something on, before it closes the root; of these, buildah wants to clean up
# what is in /run.
_MOUNTED_ON = ("etc/famulus.toml", "etc/hosts", "etc/resolv.conf", "etc/hostname")
_CLOSE_ROOT = """
mount --bind "$0" "$0"
mount -o remount,ro,bind "$0"
mount -t tmpfs none "$0/run"
exec "$@"
"""


@frozen
class Buildah:
    """buildah with a storage of its own, below `place`."""

    place: Path

    def words(self, *arguments: str | Path) -> list[str]:
        storage = ("--root", self.place / "storage", "--runroot", self.place / "run")
        return ["buildah", "--storage-driver", "vfs", *map(str, (*storage, *arguments))]

    def __call__(self, *arguments: str | Path) -> str:
        return debian.run(*self.words(*arguments), env=environment()).strip()


@frozen
class Container:
    """A service of compose.yaml; each command in it is like an `exec` in a running one."""

    buildah: Buildah
    name: str
    service: Service
    volumes: Path

    def words(self, *command: str) -> list[str]:
        """With what buildah has no options for: no network, no new privileges, a closed root."""
        root = self.buildah("mount", self.name)
        network = ["--net"] if self.service.network_mode == "none" else []
        assert self.service.read_only
        assert self.service.security_opt == ("no-new-privileges:true",)
        enter = ["unshare", "--mount", *network, "sh", "-euc", _CLOSE_ROOT, root]
        return [*enter, "setpriv", "--no-new-privs", *self.run(), self.name, "--", *command]

    def run(self) -> list[str]:
        """What buildah has options for."""
        options = ["--user", self.service.user, "--network", "host"]
        for capability in self.service.cap_drop:
            options += ["--cap-drop", capability.lower()]
        for name, value in self.service.environment.items():
            options += ["--env", f"{name}={value}"]
        for path in self.service.tmpfs:
            options += ["--mount", f"type=tmpfs,destination={path}"]
        for volume in self.service.volumes:
            mode = ":ro" if volume.read_only else ""
            options += ["--volume", f"{self.volumes / volume.source}:{volume.target}{mode}"]
        return self.buildah.words("run", *options)

    def say(self, *command: str) -> str:
        return debian.run(*self.words(*command), env=environment())

    def ask(self, code: str) -> dict[str, object]:
        """Run a job as a client in this container, or say why that cannot be."""
        said = self.say("/opt/famulus/bin/python", "-c", ASK, code)
        found: dict[str, object] = json.loads(said.splitlines()[-1])
        return found


def environment() -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot"}


@pytest.fixture(scope="module")
def buildah(builder: None, place: Path) -> Iterator[Buildah]:
    folder = place / "buildah"
    folder.mkdir()
    yield Buildah(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(buildah: Buildah, base: Path, place: Path) -> str:
    """What the Dockerfile makes."""
    root = debian.copy_of(base, place / "image-base")
    for unneeded in ("boot", "usr/lib/modules"):
        shutil.rmtree(root / unneeded)
    debian.give_wheels(root)
    scratch = buildah("from", "scratch")
    buildah("add", "--quiet", scratch, root, "/")
    buildah("commit", "--quiet", "--rm", scratch, BASE)
    shutil.rmtree(root)
    checkout = debian.give_checkout(place / "image-source")
    options = ("--quiet", "--pull-never", "--network", "host", "--tag", "famulus")
    buildah("build", *options, checkout)
    return "famulus"


@pytest.fixture(scope="module")
def containers(buildah: Buildah, image: str, place: Path) -> dict[str, Container]:
    """A container for each service, each with a root of its own."""
    volumes = place / "volumes"
    volumes.mkdir()
    (volumes / "famulus.toml").write_text(CONFIG)
    found = {}
    for name, service in services({"FAMULUS_TELEGRAM_TOKEN": debian.TOKEN}).items():
        made = Container(buildah, buildah("from", "--pull-never", image), service, volumes)
        root = Path(buildah("mount", made.name))
        for path in _MOUNTED_ON:
            (root / path).touch()
        for volume in service.volumes:
            if volume.named and not (volumes / volume.source).exists():
                # A new volume has what the image has at its place, owner and mode included.
                debian.copy_of(root / volume.target.lstrip("/"), volumes / volume.source)
        found[name] = made
    return found


@pytest.fixture(scope="module")
def daemon(containers: dict[str, Container]) -> Container:
    return containers["daemon"]


@pytest.fixture(scope="module")
def executor(containers: dict[str, Container]) -> Container:
    return containers["executor"]


@contextlib.contextmanager
def started(container: Container) -> Iterator[subprocess.Popen[str]]:
    """Run the service's command in its container until the block ends."""
    process = subprocess.Popen(
        container.words(FAMULUS, *container.service.command),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def ready(executor: Container) -> Iterator[dict[str, Any]]:
    """What the executor says of itself; it runs while the test does."""
    with started(executor) as process:
        yield json.loads(line_with(process, '"ready"', _START_SECONDS))["ready"]


def test_a_single_container_is_a_daemon_that_says_why_it_runs_no_code(daemon: Container) -> None:
    with started(daemon) as process:
        assert line_with(process, "event=ready", _START_SECONDS)
        answer = daemon.ask("print(1)")
    assert "no executor listens at /run/famulus/executor.sock" in str(answer["unavailable"])
    assert (daemon.volumes / "state" / "famulus.db").exists()


def test_a_job_runs_in_the_second_container(daemon: Container, ready: dict[str, Any]) -> None:
    """Its socket is open to the daemon by its group, and its jobs are held without namespaces."""
    answer = daemon.ask("import os; print(os.getuid(), 6 * 7)")
    assert "landlock" in ready["layers"]
    assert "namespaces" not in ready["layers"]
    assert not ready["shared_uid"]
    assert answer["layers"] == ready["layers"]
    assert (answer["reason"], answer["stdout"]) == ("exit", "902 42\n")


def test_a_job_gets_no_socket(daemon: Container, ready: dict[str, Any]) -> None:
    """The filter says no, and the job lives on to tell."""
    answer = daemon.ask(SOCKET)
    assert (answer["reason"], answer["stdout"]) == ("exit", "PermissionError\n")


def test_the_whole_probe_holds(daemon: Container, ready: dict[str, Any]) -> None:
    probed = daemon.say(FAMULUS, "executor", "probe", *CONFIGURED)
    assert "held" in probed
    assert "NOT HELD" not in probed


def test_a_job_draws(daemon: Container, ready: dict[str, Any]) -> None:
    """The image has what the README's table of tools promises."""
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.show()"
    answer = daemon.ask(code)
    assert (answer["reason"], answer["pictures"]) == ("exit", ["PNG"]), answer["stderr"]


def test_the_containers_are_what_compose_says(
    containers: dict[str, Container], daemon: Container, executor: Container
) -> None:
    """No network for the executor; roots and the daemon's socket volume cannot be written."""
    interfaces = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert executor.say("python3", "-c", interfaces) == "['lo']\n"
    for container in containers.values():
        status = container.say("cat", "/proc/self/status")
        assert "\nNoNewPrivs:\t1\n" in status
        assert "\nCapEff:\t0000000000000000\n" in status
        assert "Read-only file system" in container.say("sh", "-c", "touch /var/tmp/x || true")
    assert "Read-only" in daemon.say("sh", "-c", "touch /run/famulus/x || true")
    assert "FAMULUS" not in executor.say("env")
    assert (
        executor.say("ls", "-A", "/var/lib/famulus-exec", "/run/famulus").count("famulus.db") == 0
    )


def test_there_is_no_secret_and_no_tool_in_the_image(buildah: Buildah, image: str) -> None:
    """Neither the environment that built it, nor git, nor a compiler; and the user is not root."""
    config = json.loads(buildah("inspect", "--type", "image", image))
    docker = config["OCIv1"]["config"]
    assert docker["User"] == "famulus"
    assert docker["Entrypoint"] == ["/opt/famulus/bin/famulus"]
    assert not [one for one in docker.get("Env", []) if "TOKEN" in one or "KEY" in one]
    root = Path(buildah("mount", buildah("from", "--pull-never", image)))
    absent = ("src", "dist", "opt/build", "opt/famulus/bin/pip", "etc/famulus")
    assert [path for path in absent if (root / path).exists()] == []
