"""Files of scheduled prompts: whatever is in one, it is read or complained of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import jobs_staged
from daemon.jobs_file import KEYS, Found, Terms, parse
from daemon.schedule.limits import Limits

NOW = 1_800_000_000.0
TERMS = Terms(Limits(models=("m",)), NOW)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 1e308, 1e12, 86400, "at", "9", "2030-01-01T00:00"])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(["\ud800", "0 9 * * *", "UTC", "telegram", "once", "paused", "-5"])
)
keys = st.sampled_from([*KEYS, "at", "every", "anchor", "cron", "account", "topic"]) | st.text(
    max_size=4
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)
near = st.fixed_dictionaries(
    {"prompt": st.just("p") | leaves, "rule": st.dictionaries(keys, leaves, max_size=3) | leaves},
    optional={key: leaves | anything for key in KEYS if key not in {"prompt", "rule"}},
)


def read(*records: Any) -> Found:
    return parse(json.dumps({"famulus_jobs": 1, "jobs": list(records)}).encode(), TERMS)


def check(found: Found, tmp_path: Path) -> None:
    """What was taken can be put into words, and passed on as it is."""
    assert all(isinstance(each, str) and each.encode() for each in found.problems)
    with jobs_staged.staged(tmp_path, found.entries) as name:
        assert list(jobs_staged.read(tmp_path, name)) == found.entries


@given(anything)
def test_any_json_is_read_or_refused(tmp_path_factory: Any, whole: Any) -> None:
    """Without a fault of the program."""
    check(parse(json.dumps(whole).encode(), TERMS), tmp_path_factory.getbasetemp())


@settings(max_examples=300)
@given(st.lists(near | anything, min_size=1, max_size=3))
def test_any_jobs_are_read_or_refused(tmp_path_factory: Any, records: list[Any]) -> None:
    """Each is taken, over, or complained of."""
    found = read(*records)
    check(found, tmp_path_factory.getbasetemp())
    assert found.problems or len(found.entries) + len(found.over) == len(records)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """They are hardly ever a file of jobs."""
    assert parse(data, TERMS).problems


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Though Python reads it as one."""
    rule = '{"famulus_jobs": 1, "jobs": [{"prompt": "p", "chat": 1, "rule": {"every": %s}}]}'
    assert parse((rule % text).encode(), TERMS).problems


def test_two_of_one_id_are_one_too_many() -> None:
    """The second is complained of."""
    job = {"id": "a", "prompt": "p", "chat": 1, "rule": {"every": 60}}
    assert read(job, job).problems == ["jobs[1].id: there are two of a"]


def test_a_topic_and_a_person_are_kept_apart_from_the_chat() -> None:
    """A group's job must say whose it is; a private chat's is its person's."""
    rule = {"prompt": "p", "rule": {"every": 60}}
    group = {"chat": "-5", "topic": 7}
    assert read({**rule, "chat": group}).problems[0].startswith("jobs[0].user: ")
    (entry,) = read({**rule, "chat": group, "user": {"id": 9, "name": "Ann"}}).entries
    target = entry.target
    assert (target.chat, target.topic, target.user, target.user_name) == ("-5", "7", "9", "Ann")
    (entry,) = read({**rule, "chat": 5}).entries
    assert entry.target.user == "5"


def test_only_files_of_imports_are_read(tmp_path: Path) -> None:
    """Whatever name is asked for at the control socket."""
    for name in ("../famulus.db", "famulus.db", "import-aaaaaaaa.jobs/../x"):
        with pytest.raises(jobs_staged.FamulusError):
            list(jobs_staged.read(tmp_path, name))
