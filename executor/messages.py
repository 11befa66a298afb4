"""What the frames mean: a job, how it ended, and what the executor says of itself.

These are the values that callers handle. Each has a JSON form (`to_json`) and a parser
(`parse_*`) that trusts nothing: a field that is missing, of the wrong type or out of range raises
`ProtocolError` with the field's name. Fields that we do not know are ignored, so that a newer
peer can say more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args

from attrs import asdict, field, fields_dict, frozen

from executor import protocol
from executor.protocol import Frame, FrameType, ProtocolError
from executor.settings import Limits

Reason = Literal[
    "exit",
    "signal",
    "timeout",
    "cpu",
    "memory",
    "pids",
    "output",
    "disk",
    "cancelled",
    "denied",
    "executor_error",
]
REASONS: tuple[str, ...] = get_args(Reason)
LANGUAGES = ("python", "bash")
_LAST_SIGNAL = 64  # SIGRTMAX
# Bytes of input in one frame, of which the executor keeps a few for a job that reads slowly.
MOST_INPUT = 64 * 1024
SESSIONS = ("", "new", "kept", "lost")

_T = TypeVar("_T")

_KEY = re.compile(r"[a-z0-9-]{1,64}")


@frozen
class Job:
    """A piece of code to run.

    `workspace` is an opaque key, [a-z0-9-]{1,64}: jobs with the same key see the same files and
    run one after another. Without `limits` the executor's own apply; a limit above the
    executor's own is brought down to it.

    `session`, a key like `workspace` or '', lets Python's variables live on until the next job of
    the same workspace and session; a job that crashes or is killed leaves them as they were before
    it. `artifacts` are glob patterns of files in the workspace to give back at the end; what
    matplotlib shows is always given back. With `stdin` the client will send input; without, there
    is none.
    """

    language: str
    code: str
    workspace: str
    limits: Limits | None = None
    session: str = ""
    artifacts: tuple[str, ...] = ()
    stdin: bool = False


@frozen
class Artifact:
    """A file that a job made and gives back: its name in the workspace, and its bytes."""

    name: str
    data: bytes


@frozen
class Skipped:
    """A file that was wanted as an artifact and is not given back, and why."""

    name: str
    why: str


@frozen
class Started:
    """The box is verified and the code is about to run under these layers."""

    layers: tuple[str, ...]


@frozen
class Result:
    """How a job ended.

    `reason` is one of REASONS. `code` is the exit status for "exit", the signal's number for
    "signal", else None. `stdout` and `stderr` hold the head and the tail of what was written,
    with a line between that says how much is missing; `stdout_dropped` and `stderr_dropped` are
    those bytes. `cpu_seconds` and `peak_memory_bytes` are of the whole process tree as far as
    the host can tell. `detail` is a sentence for a person, empty when the reason says it all.
    `artifacts` are the files given back, `skipped` those that could not be. `session` is one of
    SESSIONS: '' for a job without one, "new" where there were no variables before it, "kept" where
    there were, "lost" where they are gone. `revision` counts the changes of the workspace: as long
    as it is the same, nothing has been written there.
    """

    reason: str
    code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    layers: tuple[str, ...] = ()
    detail: str = ""
    artifacts: tuple[Artifact, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    session: str = ""
    revision: int = 0

    @property
    def truncated(self) -> bool:
        return self.stdout_dropped > 0 or self.stderr_dropped > 0


@frozen
class Status:
    """What an executor says of itself.

    `unavailable` is empty while jobs run; else it is the sentence that says why they do not.
    `soft` names what a job is not firmly held to on this host, such as MEM_TOTAL without a
    cgroup. `shared_uid`: jobs have the uid of the daemon itself.
    """

    layers: tuple[str, ...]
    capabilities: tuple[str, ...]
    soft: tuple[str, ...]
    versions: Mapping[str, str] = field(factory=dict)
    uid: int = -1
    shared_uid: bool = False
    jobs_running: int = 0
    jobs_at_once: int = 0
    unavailable: str = ""
    notes: tuple[str, ...] = ()


# ---- jobs ----


def job_to_json(job: Job) -> dict[str, Any]:
    values: dict[str, Any] = {
        "language": job.language,
        "code": job.code,
        "workspace": job.workspace,
    }
    if job.limits is not None:
        values["limits"] = asdict(job.limits)
    if job.session:
        values["session"] = job.session
    if job.artifacts:
        values["artifacts"] = list(job.artifacts)
    if job.stdin:
        values["stdin"] = True
    return values


def parse_job(values: Mapping[str, Any]) -> Job:
    language = _get(values, "language", str)
    if language not in LANGUAGES:
        raise ProtocolError(f"language: {language!r} is none of {', '.join(LANGUAGES)}")
    code = _get(values, "code", str)
    if not _encodable(code):
        raise ProtocolError("code: it cannot be written as UTF-8")
    workspace = parse_workspace(_get(values, "workspace", str))
    limits = values.get("limits")
    session = values.get("session", "")
    if session != "":
        session = _key(session, "session")
        if language != "python":
            raise ProtocolError("session: only Python has sessions")
    artifacts = _names(values, "artifacts") if "artifacts" in values else ()
    stdin = _get(values, "stdin", bool) if "stdin" in values else False
    if stdin and session:
        raise ProtocolError("stdin: a session has no input")
    return Job(
        language,
        code,
        workspace,
        None if limits is None else parse_limits(limits),
        session,
        artifacts,
        stdin,
    )


def parse_workspace(key: str) -> str:
    return _key(key, "workspace")


def _key(key: object, name: str) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ProtocolError(f"{name}: {str(key)[:80]!r} is not [a-z0-9-], 1 to 64 characters")
    return key


def parse_limits(values: object) -> Limits:
    """Make Limits from JSON, defaults where a name is absent; every value is above zero."""
    if not isinstance(values, dict):
        raise ProtocolError("limits: not an object")
    known = {name: values[name] for name in fields_dict(Limits) if name in values}
    for name, value in known.items():
        _check_limit(name, value)
    return Limits(**known)


def _check_limit(name: str, value: object) -> None:
    """All limits are whole numbers but the wall clock's, which may have a fraction."""
    kinds = (int, float) if name == "wall_seconds" else int
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        raise ProtocolError(f"limits: {name} is not a number above zero")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_word(frame: Frame, job: Job) -> bytes | int:
    """What a client may say while its job runs: input (b"" ends it), or a signal's number.

    Raises ProtocolError for anything else, and for input to a job that is to have none.
    """
    if frame.type is FrameType.STDIN and job.stdin:
        if len(frame.body) > MOST_INPUT:
            raise ProtocolError(f"STDIN of {len(frame.body)} bytes is over {MOST_INPUT}")
        return frame.body
    if frame.type is FrameType.SIGNAL:
        number = _get(protocol.control_values(frame), "number", int)
        if 0 < number <= _LAST_SIGNAL:
            return number
        raise ProtocolError(f"number: there is no signal {number}")
    raise ProtocolError(f"{frame.type.name} has no place in this job")


def word_frame(word: bytes | int) -> Frame:
    """The frame that `parse_word` reads. Input of more than MOST_INPUT bytes has to be cut."""
    if isinstance(word, int):
        return protocol.control(FrameType.SIGNAL, {"number": word})
    return Frame(FrameType.STDIN, word)


# ---- what comes back ----


def started_to_json(started: Started) -> dict[str, Any]:
    return {"layers": list(started.layers)}


def result_to_json(result: Result) -> dict[str, Any]:
    """Everything but output and artifacts, which have been sent in frames of their own."""
    return asdict(result, filter=lambda one, _: one.name not in {"stdout", "stderr", "artifacts"})


def parse_result(
    values: Mapping[str, Any],
    stdout: bytes,
    stderr: bytes,
    artifacts: tuple[Artifact, ...] = (),
) -> Result:
    """Make a Result of the RESULT frame's values and what came in the frames before it."""
    session = _get(values, "session", str)
    if session not in SESSIONS:
        raise ProtocolError(f"session: {session!r} is unknown")
    reason = _get(values, "reason", str)
    if reason not in REASONS:
        raise ProtocolError(f"reason: {reason!r} is unknown")
    return Result(
        reason=reason,
        code=None if values.get("code") is None else _get(values, "code", int),
        stdout=stdout,
        stderr=stderr,
        stdout_dropped=_get(values, "stdout_dropped", int),
        stderr_dropped=_get(values, "stderr_dropped", int),
        wall_seconds=_seconds(values, "wall_seconds"),
        cpu_seconds=_seconds(values, "cpu_seconds"),
        peak_memory_bytes=_get(values, "peak_memory_bytes", int),
        layers=_names(values, "layers"),
        detail=_get(values, "detail", str),
        artifacts=artifacts,
        skipped=tuple(_skipped(one) for one in _get(values, "skipped", list)),
        session=session,
        revision=_get(values, "revision", int),
    )


def _skipped(value: object) -> Skipped:
    if not isinstance(value, dict):
        raise ProtocolError("skipped: not a list of objects")
    return Skipped(_get(value, "name", str), _get(value, "why", str))


def artifact_to_json(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "size": size}


def parse_artifact(values: Mapping[str, Any]) -> tuple[str, int]:
    """Give the name of the file whose bytes come next, and how many they are."""
    size = _get(values, "size", int)
    if size < 0:
        raise ProtocolError("size: below zero")
    return _get(values, "name", str), size


def gap_to_json(stream: str, dropped: int) -> dict[str, Any]:
    return {"stream": stream, "bytes": dropped}


def parse_gap(values: Mapping[str, Any]) -> tuple[str, int]:
    """Give the stream's name ("stdout" or "stderr") and how many of its bytes are missing."""
    stream = _get(values, "stream", str)
    if stream not in {"stdout", "stderr"}:
        raise ProtocolError(f"stream: {stream!r} is unknown")
    return stream, _get(values, "bytes", int)


def gap_marker(dropped: int) -> bytes:
    """The line that stands in the output where bytes are missing."""
    return b"\n[... %d bytes left out ...]\n" % dropped


def status_to_json(status: Status) -> dict[str, Any]:
    return asdict(status)


def parse_status(values: Mapping[str, Any]) -> Status:
    versions = _get(values, "versions", dict)
    return Status(
        layers=_names(values, "layers"),
        capabilities=_names(values, "capabilities"),
        soft=_names(values, "soft"),
        versions={str(name): str(version) for name, version in versions.items()},
        uid=_get(values, "uid", int),
        shared_uid=_get(values, "shared_uid", bool),
        jobs_running=_get(values, "jobs_running", int),
        jobs_at_once=_get(values, "jobs_at_once", int),
        unavailable=_get(values, "unavailable", str),
        notes=_names(values, "notes"),
    )


# ---- reading fields ----


def _get(values: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """Give the field, which must be there and of that kind; a bool is not a number."""
    value = values.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ProtocolError(f"{name}: missing or of the wrong type")
    return value


def _seconds(values: Mapping[str, Any], name: str) -> float:
    """JSON writes 1.0 as it likes: a whole number is as good."""
    value = values.get(name)
    return float(value) if type(value) is int else _get(values, name, float)


def _names(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = _get(values, name, list)
    if not all(isinstance(one, str) for one in names):
        raise ProtocolError(f"{name}: not a list of names")
    return tuple(names)
