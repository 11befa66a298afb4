"""The Dockerfile, built by buildah, and a job in what comes of it.

The base image is a Debian of our own making, so no registry is asked. buildah runs the containers
without namespaces, but with the system call filter that container engines have by default: there,
too, user namespaces are not to be had, and the executor has to do with landlock.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.system import debian

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
except ExecutorUnavailable as error:
    told = {"unavailable": error.cause}
print(json.dumps(told))
"""
_START_SECONDS = 60.0


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
    """A container of the image. Each command in it is like a container of its own."""

    buildah: Buildah
    name: str

    def words(self, user: str, *command: str) -> list[str]:
        """What buildah does by default, less all capabilities."""
        options = ("--user", user, "--cap-drop", "all", "--network", "host")
        token = ("--env", "FAMULUS_TELEGRAM_TOKEN=1:a-token-that-nobody-takes")
        return self.buildah.words("run", *options, *token, self.name, "--", *command)

    def ask(self, code: str) -> dict[str, object]:
        """Run a job from the daemon's account, or say why that cannot be."""
        words = self.words("famulus", "/opt/famulus/bin/python", "-c", ASK, code)
        said = debian.run(*words, env=environment())
        found: dict[str, object] = json.loads(said.splitlines()[-1])
        return found

    def probe(self) -> str:
        """The table of what a job tried; fails if anything was not held."""
        famulus = ("/opt/famulus/bin/famulus", "executor", "probe", "--config", "/etc/famulus.toml")
        return debian.run(*self.words("famulus", *famulus), env=environment())


def environment() -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot"}


@pytest.fixture(scope="module")
def buildah(builder: None, place: Path) -> Iterator[Buildah]:
    folder = place / "buildah"
    folder.mkdir()
    yield Buildah(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def container(buildah: Buildah, base: Path, place: Path) -> Container:
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
    made = Container(buildah, buildah("from", "--pull-never", "famulus"))
    configuration = place / "famulus.toml"
    configuration.write_text(CONFIG)
    buildah("copy", "--quiet", made.name, configuration, "/etc/famulus.toml")
    return made


@contextlib.contextmanager
def started(container: Container, user: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run `famulus` in the container until the block ends."""
    words = container.words(user, "/opt/famulus/bin/famulus", *command)
    process = subprocess.Popen(
        [*words, "--config", "/etc/famulus.toml"],
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


def line_with(process: subprocess.Popen[str], mark: str) -> str:
    """The first line of output that holds `mark`."""
    assert process.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    seen = []
    for line in process.stdout:
        seen.append(line)
        if mark in line:
            return line
        assert time.monotonic() < deadline
    raise AssertionError("".join(seen))


def test_a_single_container_is_a_daemon_that_says_why_it_runs_no_code(
    container: Container,
) -> None:
    with started(container, "famulus", "run") as daemon:
        assert line_with(daemon, "event=ready")
        answer = container.ask("print(1)")
    assert "no executor listens at /run/famulus/executor.sock" in str(answer["unavailable"])


def test_a_job_runs_in_the_second_container(container: Container) -> None:
    """Its socket is open to the daemon by its group, and its jobs are held without namespaces."""
    with started(container, "famulus-exec", "executor") as executor:
        ready = json.loads(line_with(executor, '"ready"'))["ready"]
        answer = container.ask("import os; print(os.getuid(), 6 * 7)")
        refused = container.ask("import socket; socket.socket()")
        probed = container.probe()
    assert "landlock" in ready["layers"]
    assert "namespaces" not in ready["layers"]
    assert not ready["shared_uid"]
    assert answer == {"reason": "exit", "stdout": "902 42\n", "layers": ready["layers"]}
    assert refused["reason"] == "exit"
    assert refused["stdout"] == ""
    assert "NOT HELD" not in probed


def test_there_is_no_secret_and_no_tool_in_the_image(container: Container) -> None:
    """Neither the environment that built it, nor git, nor a compiler; and the user is not root."""
    config = json.loads(container.buildah("inspect", "--type", "image", "famulus"))
    docker = config["OCIv1"]["config"]
    assert docker["User"] == "famulus"
    assert docker["Entrypoint"] == ["/opt/famulus/bin/famulus"]
    assert not [one for one in docker.get("Env", []) if "TOKEN" in one or "KEY" in one]
    root = Path(container.buildah("mount", container.name))
    absent = ("src", "dist", "opt/build", "opt/famulus/bin/pip", "etc/famulus")
    assert [path for path in absent if (root / path).exists()] == []
