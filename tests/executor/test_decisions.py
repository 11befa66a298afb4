"""The pure decisions: which layers, what is evidence, why a job ended, what is hidden."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from attrs import evolve

from executor import job, profile, verdict
from executor.isolation import cgroup, evidence, firejail
from executor.isolation.evidence import Outside
from executor.isolation.layer import Capability, Layer, Missing, Plan, Usage
from executor.isolation.stack import Refused, Wanted, choose
from executor.settings import Limits
from executor.verdict import Facts
from tests.executor import groups

FIREJAIL = {
    Capability.FS,
    Capability.NET,
    Capability.PID,
    Capability.SYSCALLS,
    Capability.NNP,
}
REQUIRED = ("FS", "NET", "KILL_TREE", "SYSCALLS", "NNP", "PIDS")


class FakeLayer(Layer):
    """A layer that promises what it is told to, and may be missing."""

    def __init__(
        self, name: str, promises: set[Capability], missing: Missing | None = None
    ) -> None:
        self.name = name  # type: ignore[misc]  # a constant of each real layer
        self._promises = frozenset(promises)
        self._missing = missing

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return self._promises

    def missing(self) -> Missing | None:
        return self._missing


def layers(**missing: Missing) -> dict[str, Layer]:
    promises: dict[str, set[Capability]] = {
        "seccomp": {Capability.SYSCALLS, Capability.NNP},
        "rlimit": {Capability.PIDS},
        "cgroup": {Capability.MEM_TOTAL, Capability.PIDS, Capability.CPU},
        "namespaces": set(FIREJAIL),
        "firejail": set(FIREJAIL),
        "landlock": {Capability.FS, Capability.NET},
        "none": set(),
        "subreaper": {Capability.KILL_TREE},
    }
    return {name: FakeLayer(name, what, missing.get(name)) for name, what in promises.items()}


AUTO = Wanted("auto", REQUIRED, shared_uid=False)


# ---- the stack ----


def test_auto_takes_every_layer_that_works() -> None:
    stack = choose(AUTO, layers())
    assert stack.names == ("seccomp", "rlimit", "cgroup", "namespaces", "subreaper")
    assert stack.soft == ("DISK",)


def test_auto_takes_the_first_that_isolates_and_says_what_was_wanting() -> None:
    """Namespaces, else firejail, else landlock."""
    forbidden = Missing("namespaces are forbidden", "allow them")
    absent = Missing("firejail is not installed", "apt-get install firejail")
    second = choose(AUTO, layers(namespaces=forbidden))
    assert second.names == ("seccomp", "rlimit", "cgroup", "firejail", "subreaper")
    third = choose(AUTO, layers(namespaces=forbidden, firejail=absent))
    assert third.names == ("seccomp", "rlimit", "cgroup", "landlock", "subreaper")
    assert third.notes == (
        "without namespaces: namespaces are forbidden",
        "without firejail: firejail is not installed",
    )


def test_auto_leaves_out_a_cgroup_that_the_host_lacks_and_says_so() -> None:
    stack = choose(AUTO, layers(cgroup=Missing("none is delegated", "delegate one")))
    assert stack.names == ("seccomp", "rlimit", "namespaces", "subreaper")
    assert stack.soft == ("MEM_TOTAL", "CPU", "DISK")
    assert stack.notes == ("without cgroup: none is delegated",)


@pytest.mark.parametrize("require", [REQUIRED, ()])
def test_auto_refuses_where_nothing_isolates_whatever_is_required(
    require: tuple[str, ...],
) -> None:
    lacking = {
        name: Missing(f"{name} does not work", f"mend {name}")
        for name in ("namespaces", "firejail", "landlock")
    }
    with pytest.raises(Refused) as caught:
        choose(evolve(AUTO, require=require), layers(**lacking))
    assert "firejail does not work; landlock does not work" in caught.value.cause
    assert caught.value.remedy == "mend namespaces or mend firejail or mend landlock"


@pytest.mark.parametrize("names", [("rlimit", "subreaper"), ("namespaces", "firejail")])
def test_a_stack_has_exactly_one_layer_that_makes_the_box(names: tuple[str, ...]) -> None:
    """No isolation is something that has to be said, and two boxes in one are none."""
    with pytest.raises(Refused, match=r"\[executor\] stack names"):
        choose(Wanted(names, (), shared_uid=False), layers())


def test_a_layer_asked_for_by_name_and_missing_is_a_refusal() -> None:
    wanted = Wanted(("firejail", "cgroup", "subreaper"), ("FS",), shared_uid=False)
    with pytest.raises(Refused, match="asks for cgroup, but none") as caught:
        choose(wanted, layers(cgroup=Missing("none is delegated", "delegate one")))
    assert caught.value.remedy == "delegate one"


def test_a_requirement_that_is_not_covered_names_the_layer_that_would_cover_it() -> None:
    wanted = Wanted(("firejail", "subreaper"), ("FS", "PIDS"), shared_uid=False)
    with pytest.raises(Refused, match="PIDS") as caught:
        choose(wanted, layers())
    assert "add rlimit" in caught.value.remedy


def test_what_no_layer_covers_is_said_to_be_so() -> None:
    with pytest.raises(Refused, match="no layer covers DISK"):
        choose(Wanted("auto", ("DISK",), shared_uid=False), layers())


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Wanted(("bubble",), (), shared_uid=False), "bubble"),
        (Wanted("firejial", (), shared_uid=False), "firejial"),
        (Wanted("auto", ("FLY",), shared_uid=False), "FLY"),
    ],
)
def test_an_unknown_name_is_a_refusal(wanted: Wanted, named: str) -> None:
    with pytest.raises(Refused, match=named):
        choose(wanted, layers())


def test_a_shared_uid_needs_layers_that_can_stand_it() -> None:
    wanted = Wanted(("none", "rlimit"), (), shared_uid=True)
    with pytest.raises(Refused, match="own uid"):
        choose(wanted, layers())
    assert choose(evolve(wanted, shared_uid=False), layers()).names == ("rlimit", "none")


@pytest.mark.parametrize("name", ["landlock", "none"])
def test_groups_that_would_stay_with_a_job_are_a_refusal(name: str) -> None:
    """Where it sees files of the host with nothing between, they may open some of them."""
    wanted = Wanted((name, "rlimit"), (), shared_uid=False, groups=("docker", "sudo"))
    with pytest.raises(Refused, match="docker, sudo") as caught:
        choose(wanted, layers())
    assert "as root with --user" in caught.value.remedy
    assert "namespaces" in caught.value.remedy


@pytest.mark.parametrize(("name", "kept"), [("namespaces", True), ("firejail", False)])
def test_groups_that_open_nothing_or_are_taken_away_are_none(name: str, kept: bool) -> None:
    wanted = Wanted((name,), (), shared_uid=True, groups=("docker",))
    assert choose(wanted, layers()).keeps_groups is kept
    assert not choose(evolve(wanted, groups=()), layers()).keeps_groups


# ---- the evidence ----

OUTSIDE = Outside(pid_namespace="pid:[1]", workspace="1:2", uid=999)
CONFINED = {
    "uid": "999",
    "groups": "0",
    "fds": "0,1,2,3",
    "workspace": "1:2",
    "writable": "True",
    "CapEff": "0000",
    "CapPrm": "0000",
    "CapBnd": "0000",
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "interfaces": "lo",
    "sockets": "open",
    "pid_namespace": "pid:[2]",
    "own_proc": "True",
    "canary": "unreachable",
}
PROMISED = frozenset(FIREJAIL)


def test_a_confined_box_fits() -> None:
    assert evidence.misfits(CONFINED, OUTSIDE, PROMISED) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uid", "0"),
        ("uid", "998"),
        ("groups", "1"),
        ("fds", "0,1,2,3,4"),
        ("workspace", "1:3"),
        ("writable", "False"),
        ("CapEff", "0001"),
        ("CapPrm", "0001"),
        ("CapBnd", "0001"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "0"),
        ("Seccomp", "1"),
        ("interfaces", "eth0,lo"),
        ("interfaces", ""),
        ("pid_namespace", "pid:[1]"),
        ("own_proc", "False"),
        ("canary", "reachable"),
    ],
)
def test_every_single_misfit_is_found(name: str, value: str) -> None:
    assert len(evidence.misfits({**CONFINED, name: value}, OUTSIDE, PROMISED)) == 1


def test_groups_of_the_executors_own_fit_where_they_open_nothing() -> None:
    """All that a user namespace does not know are one; more would be of another kind."""
    outside = evolve(OUTSIDE, keeps_groups=True)
    for number, fits in (("0", True), ("1", True), ("2", False)):
        found = evidence.misfits({**CONFINED, "groups": number}, outside, PROMISED)
        assert (found == []) is fits


def test_a_box_without_sockets_needs_no_network_of_its_own() -> None:
    """Landlock's way: the host's interfaces are there, and nothing to reach them with."""
    seen = {**CONFINED, "interfaces": "eth0,lo", "sockets": "denied"}
    assert evidence.misfits(seen, OUTSIDE, PROMISED) == []


@pytest.mark.parametrize("name", CONFINED.keys() - {"sockets"})
def test_what_is_not_reported_does_not_fit(name: str) -> None:
    seen = {key: value for key, value in CONFINED.items() if key != name}
    assert evidence.misfits(seen, OUTSIDE, PROMISED) != []


def test_what_is_not_promised_is_not_asked_for() -> None:
    seen = {**CONFINED, "interfaces": "eth0", "Seccomp": "0"}
    assert evidence.misfits(seen, OUTSIDE, frozenset({Capability.FS})) == []


# ---- the verdict ----


def facts(cause: str = verdict.ENDED, status: int | None = 0, **usage: bool) -> Facts:
    return Facts(cause, status, Limits(), **usage)


@pytest.mark.parametrize(
    ("given", "reason", "code"),
    [
        (facts(), "exit", 0),
        (facts(status=3 << 8), "exit", 3),
        (facts(status=int(signal.SIGSEGV)), "signal", 11),
        (facts(status=int(signal.SIGXCPU)), "cpu", None),
        (facts(status=int(signal.SIGXFSZ)), "disk", None),
        (facts(status=int(signal.SIGKILL), out_of_memory=True), "memory", None),
        (facts(status=1 << 8, out_of_memory=True), "memory", 1),
        (facts(status=0, out_of_memory=True), "exit", 0),
        (facts(status=1 << 8, out_of_pids=True), "pids", 1),
        (facts(verdict.TIMEOUT, None, out_of_pids=True), "timeout", None),
        (facts(verdict.CPU, None), "cpu", None),
        (facts(verdict.OUTPUT, None), "output", None),
        (facts(verdict.STOPPING, None), "cancelled", None),
        (facts(verdict.LOST, None), "executor_error", None),
        (facts(verdict.LOST, None, within_reach=True), "signal", 9),
        (facts(verdict.LOST, None, out_of_memory=True), "memory", None),
    ],
)
def test_the_reason_is_precise(given: Facts, reason: str, code: int | None) -> None:
    found = verdict.decide(given)
    assert (found.reason, found.code) == (reason, code)


def test_a_job_that_ran_out_of_time_is_told_that_its_children_had_no_memory() -> None:
    """The kernel kills one process of a group, and its parent may wait for it in vain."""
    found = verdict.decide(facts(verdict.TIMEOUT, None, out_of_memory=True))
    assert found.detail == "stopped after 30 s; the job needed more than its 512 MiB of memory"


def test_a_job_may_ask_for_less_but_never_for_more() -> None:
    asked = Limits(wall_seconds=1.0, memory_bytes=1 << 40)
    assert job.effective(asked, Limits()) == evolve(Limits(), wall_seconds=1.0)
    assert job.effective(None, Limits(pids=3)) == Limits(pids=3)


# ---- firejail ----


def test_what_is_neither_the_systems_nor_the_jobs_is_hidden() -> None:
    tree = {
        "/": ["usr", "srv", "var", "data"],
        "/var": ["lib", "mail", "tmp"],
        "/var/lib": ["jobs", "daemon"],
        "/run": [],
    }
    found = firejail.hidden(("/var/lib/jobs",), lambda path: tree.get(path, []))
    assert found == ["/data", "/srv", "/var/lib/daemon", "/var/mail"]


def test_the_profile_of_the_repository_closes_what_firejail_leaves_open() -> None:
    """The options that the measurements say are needed are in the file that is shipped."""
    options = firejail.options(profile.load())
    assert "--net=none" in options
    assert "--noroot" in options
    assert "--restrict-namespaces" in options
    assert any("clone3:ENOSYS" in option for option in options)
    assert not any("#" in option for option in options)


def test_an_old_firejail_is_refused_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "firejail"
    old.write_text("#!/bin/sh\necho firejail version 0.9.64\n")
    old.chmod(0o755)
    missing = firejail.Firejail("", str(old)).missing()
    assert missing is not None
    assert "0.9.64" in missing.cause


def test_firejail_that_is_not_there_is_named_with_its_remedy() -> None:
    missing = firejail.Firejail("", "/nonexistent/firejail").missing()
    assert missing is not None
    assert "apt-get install firejail" in missing.remedy


# ---- cgroups, on plain files ----


def test_both_shapes_of_cgroup_are_found(tmp_path: Path) -> None:
    text = "3:memory:/a\n2:cpu,cpuacct:/\n4:pids:/\n5:freezer:/\n0::/unit\n"
    own = cgroup.own_groups(text)
    assert own == {
        "memory": "/a",
        "cpu": "/",
        "cpuacct": "/",
        "pids": "/",
        "freezer": "/",
        "": "/unit",
    }
    assert cgroup.candidates(own, "me", tmp_path) is None
    (tmp_path / "cgroup.controllers").touch()
    v2 = cgroup.candidates(own, "me", tmp_path)
    assert v2 is not None
    assert (v2.version, v2.parents["memory"]) == (2, tmp_path / "unit")
    for name in ("memory", "cpuacct", "pids", "freezer"):
        (tmp_path / name).mkdir()
    v1 = cgroup.candidates(own, "me", tmp_path)
    assert v1 is not None
    assert (v1.version, v1.parents["memory"]) == (1, tmp_path / "memory/a/executor-me")


def test_a_v2_box_gets_a_group_and_is_born_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_make", groups.make_v2)
    layer = cgroup.Cgroup(cgroup.Groups(2, dict.fromkeys(("memory", "pids"), tmp_path)))
    plan = layer.begin(Plan("box-1-1", Limits()))
    assert (plan.cgroup, plan.joins) == (str(tmp_path / "box-1-1"), ())
    group = tmp_path / "box-1-1"
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (group / "memory.peak").write_text("4096\n")
    (group / "memory.events").write_text("low 0\noom_kill 2\n")
    (group / "pids.events").write_text("max 0\n")
    assert layer.usage("box-1-1") == Usage(2.5, 4096, oom_kills=2, refused_forks=0)


def test_no_cgroup_is_missing_with_a_remedy() -> None:
    missing = cgroup.Cgroup(cgroup.usable(None)).missing()
    assert missing is not None
    assert "mount cgroup v2" in missing.remedy
