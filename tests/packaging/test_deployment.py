"""Units, image and profile agree with the program and with each other. Nothing is started here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from daemon import host
from executor.settings import Settings
from tests.system.compose import Service, Volume, services

MIB = 1024 * 1024
# What the executor's own boxes would break on; SECURITY.md says why.
BREAKS_BOXES = (
    "ProtectKernelTunables",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "RestrictSUIDSGID",
)
# systemd.exec(5): with User= these imply NoNewPrivileges, with which no set-uid program gains.
IMPLY_NO_NEW_PRIVILEGES = (
    *("SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies"),
    *("RestrictNamespaces", "PrivateDevices", "ProtectKernelModules", "ProtectClock"),
    *("RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "ProtectHostname"),
)

Section = dict[str, list[str]]


def unit(path: Path) -> dict[str, Section]:
    """A unit's sections; systemd lets a key stand several times."""
    found: dict[str, Section] = {}
    section: Section = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section[key].append(value)
    return found


@pytest.fixture
def systemd(root: Path) -> Path:
    return root / "systemd"


@pytest.fixture
def executor(systemd: Path) -> Section:
    return unit(systemd / "famulus-exec.service")["Service"]


@pytest.fixture
def daemon(systemd: Path) -> Section:
    return unit(systemd / "famulus.service")["Service"]


@pytest.fixture
def dockerfile(root: Path) -> str:
    return (root / "Dockerfile").read_text()


@pytest.fixture
def compose() -> dict[str, Service]:
    return services({"FAMULUS_TELEGRAM_TOKEN": "1:a"})


# ---- units ----


def test_the_units_are_systemds_language(systemd: Path, tmp_path: Path) -> None:
    """By systemd's own checker, for a command that is there on any host."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    names = ("famulus.service", "famulus-exec.service", "famulus-exec.socket")
    for name in names:
        text = (systemd / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/famulus/bin/famulus", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    # Only systemd before 253 does not know the first, and before 255 the second.
    news = ("notify-reload", "PollLimit")
    assert [line for line in ours if not any(new in line for new in news)] == []


def test_the_socket_is_the_configured_one_and_the_daemons(systemd: Path) -> None:
    found = unit(systemd / "famulus-exec.socket")["Socket"]
    assert found["ListenStream"] == [Settings().socket]
    assert found["SocketMode"] == ["0600"]
    assert found["SocketUser"] == unit(systemd / "famulus.service")["Service"]["User"]


def test_the_executor_is_the_jobs_account_and_owns_their_files(executor: Section) -> None:
    assert executor["User"] == executor["Group"] == [Settings().user]
    assert [f"/var/lib/{name}" for name in executor["StateDirectory"]] == [Settings().workspaces]
    assert executor["StateDirectoryMode"] == ["0700"]


def test_the_executor_may_use_what_its_jobs_and_sessions_may(
    executor: Section, compose: dict[str, Service]
) -> None:
    """Unit and container give the same, by the defaults of the configuration."""
    settings = Settings()
    jobs = settings.jobs_at_once + settings.sessions
    memory = jobs * settings.limits.memory_bytes // MIB + 256
    assert executor["MemoryMax"] == [f"{memory}M"]
    container = compose["executor"].engine
    assert container["mem_limit"] == container["memswap_limit"] == f"{memory}m"
    tasks = int(executor["TasksMax"][0])
    assert tasks >= jobs * (settings.limits.pids + 4) + 64
    assert container["pids_limit"] == tasks


def test_the_executor_is_held_but_for_what_would_break_its_boxes(
    executor: Section, root: Path
) -> None:
    """What is left out is what SECURITY.md says, with the reasons."""
    for key in BREAKS_BOXES:
        assert key not in executor
    text = (root / "SECURITY.md").read_text()
    listed = re.findall(r"^- ((?:`\w+(?:=yes)?`(?:, )?)+): ", text, re.MULTILINE)
    named = re.findall(r"`(\w+)(?:=yes)?`", " ".join(listed))
    assert sorted(named) == sorted((*BREAKS_BOXES, "RestrictNamespaces"))
    assert executor["RestrictNamespaces"] == ["user mnt pid net ipc uts cgroup"]
    assert executor["CapabilityBoundingSet"] == [""]
    assert executor["NoNewPrivileges"] == executor["PrivateNetwork"] == ["yes"]
    assert executor["Delegate"] == ["yes"]
    assert executor["OOMPolicy"] == ["continue"]


def test_a_configuration_error_is_not_tried_again(executor: Section, daemon: Section) -> None:
    assert daemon["RestartPreventExitStatus"] == [str(host.EXIT_CONFIG)]
    assert executor["Restart"] == ["no"]


def test_the_watchdog_leaves_time_for_three_polls(daemon: Section) -> None:
    watchdog = host.Watchdog(float(daemon["WatchdogSec"][0]))
    assert watchdog.problem(50) is None


def test_the_daemon_wants_the_executor_and_does_not_need_it(systemd: Path) -> None:
    found = unit(systemd / "famulus.service")["Unit"]
    assert found["Wants"] == ["famulus-exec.socket"]
    assert not {"Requires", "BindsTo", "Requisite"} & set(found)


def test_the_firejail_drop_in_resets_all_that_implies_no_new_privileges(
    systemd: Path, executor: Section
) -> None:
    drop_in = unit(systemd / "famulus-exec.service.d" / "firejail.conf")["Service"]
    assert drop_in["NoNewPrivileges"] == ["no"]
    for key in IMPLY_NO_NEW_PRIVILEGES:
        if key in executor:
            assert drop_in[key] in ([""], ["no"]), key
    assert drop_in["CapabilityBoundingSet"] == ["~"]
    assert set(drop_in) - {"ExecStartPre", "ReadWritePaths"} <= set(executor)


def test_accounts_and_directories_are_the_units(
    systemd: Path, executor: Section, daemon: Section
) -> None:
    users = (systemd / "sysusers.d" / "famulus.conf").read_text()
    places = (systemd / "tmpfiles.d" / "famulus.conf").read_text()
    for service in (executor, daemon):
        (user,), (state,) = service["User"], service["StateDirectory"]
        account = rf"^u {user} +- .* /var/lib/{state} +/usr/sbin/nologin$"
        assert re.search(account, users, re.MULTILINE)
        assert re.search(rf"^d /var/lib/{state} +0700 {user} +{user} +-$", places, re.MULTILINE)
    assert re.search(r"^d /run/famulus +0755 root +root +-$", places, re.MULTILINE)


# ---- image ----


def test_the_image_has_the_configured_accounts_and_directories(dockerfile: str) -> None:
    """The executor makes the socket where the directory gives it the daemon's group."""
    settings = Settings()
    assert f"-o {settings.user} -g {settings.user} {settings.workspaces}" in dockerfile
    socket = Path(settings.socket).parent
    assert f"install -d -m 2750 -o {settings.user} -g famulus {socket}\n" in dockerfile
    assert "-o famulus -g famulus /var/lib/famulus" in dockerfile
    last = [line for line in dockerfile.splitlines() if line.startswith("USER ")][-1]
    assert last == "USER famulus"


def test_the_image_is_made_of_locked_packages_only(dockerfile: str, root: Path) -> None:
    installs = re.findall(r"pip install ([^&\n]*)", dockerfile)
    for options in installs:
        assert "--require-hashes" in options or "--no-deps /dist/" in options
    ignored = (root / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for name in re.findall(r"^!(.*)$", "\n".join(ignored), re.MULTILINE):
        assert (root / name).exists(), name


def test_the_executors_container_has_nothing_but_the_socket_and_the_workspaces(
    compose: dict[str, Service],
) -> None:
    executor = compose["executor"]
    assert executor.user == Settings().user
    assert executor.command == ("executor", "--config", "/etc/famulus.toml")
    assert executor.network_mode == "none"
    assert executor.environment == {}
    assert executor.volumes == (
        Volume("./famulus.toml", "/etc/famulus.toml", read_only=True),
        Volume("socket", str(Path(Settings().socket).parent)),
        Volume("workspaces", Settings().workspaces),
    )


def test_the_daemons_container_has_the_secrets_and_its_state(compose: dict[str, Service]) -> None:
    """And the socket only to connect to."""
    daemon = compose["daemon"]
    assert (daemon.user, daemon.network_mode) == ("famulus", "")
    assert daemon.command == ("run", "--config", "/etc/famulus.toml")
    assert daemon.environment == {"FAMULUS_TELEGRAM_TOKEN": "1:a", "FAMULUS_MODEL_KEY": ""}
    assert daemon.volumes == (
        Volume("./famulus.toml", "/etc/famulus.toml", read_only=True),
        Volume("state", "/var/lib/famulus"),
        Volume("socket", str(Path(Settings().socket).parent), read_only=True),
    )


def test_neither_container_has_more_than_it_needs(compose: dict[str, Service]) -> None:
    """No capability, no new privileges, a root that is read-only; and one image for both."""
    for service in compose.values():
        assert service.cap_drop == ("ALL",)
        assert service.security_opt == ("no-new-privileges:true",)
        assert service.read_only
        assert service.tmpfs == ("/tmp",)
        assert service.engine["image"] == "famulus"


def test_a_token_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(KeyError, match=r"write it into \.env"):
        services({})


# ---- AppArmor ----


def test_the_profile_is_the_one_that_the_unit_asks_for(root: Path, executor: Section) -> None:
    text = (root / "apparmor" / "famulus-exec").read_text()
    (name,) = re.findall(r"^profile (\S+) flags=\(unconfined\) \{$", text, re.MULTILINE)
    assert executor["AppArmorProfile"] == [f"-{name}"]
    assert re.search(r"^  userns,$", text, re.MULTILINE)


def test_the_profile_is_apparmors_language(root: Path) -> None:
    """By its own parser, which knows `userns` from version 4 on. Nothing is loaded."""
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
    if parser is None:
        pytest.skip("there is no apparmor_parser here: apt-get install apparmor")
    version = subprocess.check_output([parser, "--version"], text=True)
    if int(version.split("version ")[1].split(".")[0]) < 4:
        pytest.skip("apparmor_parser is older than 4, which brought `userns`")
    words = [parser, "--skip-kernel-load", "--skip-cache", root / "apparmor" / "famulus-exec"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_daemon_alone_is_told_to_stop(daemon: Section) -> None:
    """Its MCP servers are used by the turns that it lets end first."""
    assert daemon["KillMode"] == ["mixed"]
