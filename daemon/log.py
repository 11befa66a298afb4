"""The log: one event, one line of logfmt on standard error, and never a secret in it.

A few plain functions make a line of an event and its values. Every value is turned into text and
redacted while it is still whole, then shortened, then escaped so that it cannot start a line of its
own; the finished line is redacted once more. Records of the standard library's logging (httpx,
httpcore, openai, ...) go the same way, and loggers that print URLs are silenced below WARNING,
because the bot's token is part of every URL.

The level and the stream are the process's, set by `configure` and read at each call: loggers may
be made at import time, before anything is configured. A call below the level costs one comparison.

When standard error is the journal, lines carry its `<N>` priority and no time stamp of their own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TextIO

from attrs import define, field, frozen

from daemon import redact

LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# <N> of sd-daemon(3), which are the levels of syslog(3).
JOURNAL_PRIORITY: Final[Mapping[str, str]] = {
    "debug": "<7>",
    "info": "<6>",
    "warning": "<4>",
    "error": "<3>",
}

# journald cuts lines at 48 KiB (LineMax=) and goes on as if with another event.
MAX_LINE: Final = 40_000
# A value beyond this is shortened in the middle: head and tail of a traceback matter most.
MAX_VALUE: Final = 8_000

# These log each request with its URL at INFO or DEBUG.
TALKATIVE: Final = (
    *("httpx", "httpcore", "httpx2", "httpcore2", "openai", "hpack", "asyncio"),
    *("mcp", "client"),  # both are the mcp package's; they name sessions and quote messages
)

# Fixed columns come first, whatever the order in which they were given.
FIRST: Final = ("level", "logger", "event", "turn", "chat", "job")

register_secret = redact.register


@define
class _Output:
    """Where lines go, and from which level on. `stream` None means sys.stderr at each call."""

    level: int = LEVELS["info"]
    stream: TextIO | None = None
    journal: bool = False
    lost: int = 0  # lines that could not be written since the last one that could
    lock: threading.Lock = field(factory=threading.Lock)


_output = _Output()


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Set the process's level and stream (None: standard error), and take over stdlib logging.

    May be called again, for instance after SIGHUP: every existing logger follows.
    """
    _output.level = LEVELS[level]
    _output.stream = stream
    _output.journal = _is_journal(stream or sys.stderr)
    logging.basicConfig(handlers=[_StdlibHandler()], level=_output.level, force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, _output.level))


def catch_everything() -> None:
    """Send to the log what Python would print to standard error by itself.

    Uncaught exceptions, exceptions in threads and finalizers, and warnings: their text may hold
    an URL with the token in it, and spreads over many lines.
    """
    logger = get("python")
    sys.excepthook = lambda _kind, error, _tb: logger.error("uncaught exception", exc_info=error)
    sys.unraisablehook = lambda args: logger.error(
        "exception that nobody could catch", where=args.object, exc_info=args.exc_value
    )
    threading.excepthook = lambda args: logger.error(
        "uncaught exception in a thread", thread=args.thread, exc_info=args.exc_value
    )
    logging.captureWarnings(capture=True)


# --- What the rest of the daemon calls ---


@frozen
class Logger:
    """Events with values: `log.info("update stored", update=17)`.

    `exc_info` may be an exception, or True inside an `except` block.
    """

    name: str

    def debug(self, event: str, **values: Any) -> None:  # noqa: ANN401 -- anything can be logged
        if _output.level <= LEVELS["debug"]:
            _write(_line("debug", self.name, event, values))

    def info(self, event: str, **values: Any) -> None:  # noqa: ANN401
        if _output.level <= LEVELS["info"]:
            _write(_line("info", self.name, event, values))

    def warning(self, event: str, **values: Any) -> None:  # noqa: ANN401
        if _output.level <= LEVELS["warning"]:
            _write(_line("warning", self.name, event, values))

    def error(self, event: str, **values: Any) -> None:  # noqa: ANN401
        _write(_line("error", self.name, event, values))

    def exception(self, event: str, **values: Any) -> None:  # noqa: ANN401
        """An error, with the traceback of the exception that is being handled."""
        self.error(event, **{"exc_info": True, **values})


def get(name: str) -> Logger:
    """The logger of one module or task. Cheap, and usable before `configure`."""
    return Logger(name)


_ids: ContextVar[Mapping[str, object]] = ContextVar("log.ids", default=MappingProxyType({}))


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Add `ids` (turn, chat, job) to every event of this task, and of tasks it starts, inside."""
    outside = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(outside)


def bind(**ids: object) -> None:
    """As `bound`, until the end of the `bound` around it, or else of the task."""
    _ids.set({**_ids.get(), **ids})


# --- From an event to its line ---


def _line(level: str, name: str, event: str, values: Mapping[str, object]) -> str:
    """The line, without its end. What could not be redacted is not written at all."""
    fixed = {"level": level, "logger": name, "event": event}
    told = {**_ids.get(), **_explained(values), **fixed}
    pairs = [_pair(key, told.pop(key)) for key in FIRST if key in told]
    pairs += [_pair(key, value) for key, value in told.items()]
    line = redact.redact(_shortened(_prefix(level) + " ".join(pairs), MAX_LINE))
    return WITHHELD if redact.found_in(line) else line


WITHHELD: Final = "level=error event=withheld"


def _explained(values: Mapping[str, object]) -> Mapping[str, object]:
    """`exc_info` replaced by the traceback as text, exception groups and causes included."""
    if "exc_info" not in values:
        return values
    rest = {name: value for name, value in values.items() if name != "exc_info"}
    error = values["exc_info"]
    if error is True:
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return rest
    return rest | {"error": error, "traceback": "".join(traceback.format_exception(error))}


def _prefix(level: str) -> str:
    if _output.journal:
        return JOURNAL_PRIORITY.get(level, "")
    now = datetime.fromtimestamp(time.time(), UTC)
    return f"ts={now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z "


def _pair(name: object, value: object) -> str:
    key = "".join(c if c.isalnum() and c.isascii() else "_" for c in redact.redact(str(name)))
    return f"{key or '_'}={_quoted(_text(value))}"


def _quoted(text: str) -> str:
    """Escaped, and in quotes where a reader of logfmt needs them."""
    safe = redact.escape(_shortened(redact.redact(text), MAX_VALUE))
    bare = safe and not any(c in ' ="\\' for c in safe)
    return safe if bare else f'"{safe}"'


def _text(value: object) -> str:
    """`value` as text, whatever its own str or repr may do."""
    if isinstance(value, str):
        return value
    try:
        return _plain(value)
    except Exception as error:  # noqa: BLE001 -- a value that cannot be shown must not end a task
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return str(value)


def one_line(text: str, limit: int = 500) -> str:
    """`text` redacted, shortened and without line breaks: fit for a table or a chat."""
    return redact.redact(_shortened(" ".join(redact.redact(text).split()), limit))


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}[... {len(text) - 2 * half} characters ...]{text[-half:]}"


# --- Writing ---


def _write(line: str) -> None:
    """Write `line`. A stream that cannot be written loses it, and the loss is counted."""
    with _output.lock:
        stream = _output.stream or sys.stderr
        missed = f"{_prefix('warning')}level=warning event=lost lines={_output.lost}\n"
        try:
            stream.write(f"{missed if _output.lost else ''}{line}\n")
            stream.flush()
        except (OSError, ValueError):  # disk full, reader gone; or the stream is closed
            _output.lost += 1
        else:
            _output.lost = 0


class _StdlibHandler(logging.Handler):
    """Passes records of the standard library's logging into the log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get(record.name)
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        if record.levelno < logging.WARNING:
            write = logger.info if record.levelno >= logging.INFO else logger.debug
        error = record.exc_info[1] if record.exc_info else None
        write(_message(record), exc_info=error)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError) as error:  # a format string that does not fit its arguments
        return f"{record.msg} (not formatted: {error})"


def _is_journal(stream: TextIO) -> bool:
    """Whether `stream` is the very socket that systemd announced in JOURNAL_STREAM."""
    try:
        info = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or a stream without a descriptor
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"
