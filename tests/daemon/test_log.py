"""The log: one event is one line of logfmt, and no secret is ever in it."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import log, redact

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """The stream that the log is written to."""
    stream = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    log.configure("debug", stream)
    yield stream
    log.configure("info")
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(out: io.StringIO) -> list[str]:
    text = out.getvalue()
    assert text.endswith("\n") or not text
    return [re.sub(r"^ts=\S+ ", "", line) for line in text.splitlines()]


def only_line(out: io.StringIO) -> str:
    (line,) = lines(out)
    return line


def fail(error: BaseException, cause: BaseException | None = None) -> NoReturn:
    raise error from cause


# --- The form of a line ---


def test_a_line_is_logfmt_with_a_time_stamp(out: io.StringIO) -> None:
    """Time in UTC, level, logger and event first, then the values as given."""
    log.get("poll").info("update stored", update=17, fresh=True, lag=0.25, by=None, kind="text")

    stamp, _, rest = out.getvalue().partition(" ")
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
    assert rest == (
        'level=info logger=poll event="update stored" '
        "update=17 fresh=true lag=0.25 by=null kind=text\n"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("two words", 'v="two words"'),
        ("", 'v=""'),
        ("a=b", 'v="a=b"'),
        ('say "x"', r'v="say \"x\""'),
        ("a\nb\r\t", r'v="a\nb\r\t"'),
        ("\x1b[31mred\x07", r'v="\x1b[31mred\x07"'),
        ("line\u2028sep\u202e", r'v="line\u2028sep\u202e"'),
        ("\ud800", r'v="\ud800"'),
        ("\U000e0001", r'v="\U000e0001"'),
        ("grüße 🙂", 'v="grüße 🙂"'),
        (b"\xff\n", r'v="b' + r"'\\xff\\n'" + '"'),
        (ValueError("a\nb"), r'v="ValueError: a\nb"'),
        ([1, "x"], "v=\"[1, 'x']\""),
    ],
)
def test_values_are_escaped(out: io.StringIO, value: object, written: str) -> None:
    """Nothing in a value can begin a line, a field, or a terminal's escape sequence."""
    log.get("x").info("e", v=value)

    assert only_line(out) == f"level=info logger=x event=e {written}"


def test_names_are_made_safe(out: io.StringIO) -> None:
    """A key may come from elsewhere too."""
    log.get("x").info("e", **{"a b\n=": 1, "": 2})

    assert only_line(out) == "level=info logger=x event=e a_b__=1 _=2"


def test_long_values_are_shortened_in_the_middle(out: io.StringIO) -> None:
    """Head and tail stay, and the line stays below journald's limit."""
    log.get("x").info("e", v="a" * 100_000 + "z", w=["b"] * 100_000, **{"k" * 90_000: 1})

    line = only_line(out)
    assert "characters ..." in line
    assert len(line) < 48 * 1024


def test_a_value_that_cannot_be_shown_does_not_raise(out: io.StringIO) -> None:
    """A broken repr must not end the task that logs it."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError(TOKEN)

    log.get("x").info("e", v=Broken())

    assert 'v="<unprintable Broken: RuntimeError>"' in only_line(out)


# --- Levels ---


def test_calls_below_the_level_write_nothing(out: io.StringIO) -> None:
    """Existing loggers follow a later configure."""
    logger = log.get("x")
    log.configure("warning", out)
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")

    assert [line.rpartition("=")[2] for line in lines(out)] == ["c", "d"]


def test_calls_below_the_level_do_not_touch_their_values(out: io.StringIO) -> None:
    """What is off is cheap: no value is turned into text."""

    class Costly:
        def __repr__(self) -> str:
            raise AssertionError

    log.configure("info", out)
    log.get("x").debug("a", v=Costly())

    assert not out.getvalue()


# --- Context ---


def test_bound_ids_are_on_every_line_inside(out: io.StringIO) -> None:
    """And on none outside."""
    with log.bound(turn="t1", chat=5):
        log.get("x").info("in", extra=1)
    log.get("x").info("out")

    assert lines(out) == [
        "level=info logger=x event=in turn=t1 chat=5 extra=1",
        "level=info logger=x event=out",
    ]


def test_what_is_bound_within_ends_with_it(out: io.StringIO) -> None:
    """For what is known only after the beginning."""
    with log.bound(turn=1):
        log.bind(job="j")
        log.get("x").info("a")
    log.get("x").info("b")

    assert [" job=j" in line for line in lines(out)] == [True, False]


def test_no_value_takes_the_place_of_a_fixed_column(out: io.StringIO) -> None:
    """A line's level is its own, whatever is logged under that name."""
    log.get("x").info("e", level="error", logger="y")

    assert lines(out) == ["level=info logger=x event=e"]


async def test_tasks_keep_their_ids_apart(out: io.StringIO) -> None:
    """Two turns side by side never log each other's id; a thread has its task's."""

    async def turn(number: int) -> None:
        with log.bound(turn=number):
            await trio.lowlevel.checkpoint()
            await trio.to_thread.run_sync(lambda: log.get("x").info("e", n=number))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(turn, number)

    found = [re.search(r"turn=(\d) n=(\d)", line) for line in lines(out)]
    assert len(found) == 5
    assert all(match is not None and match[1] == match[2] for match in found)


# --- Exceptions ---


def test_a_traceback_is_part_of_the_line(out: io.StringIO) -> None:
    """With causes and groups, escaped like any value."""
    try:
        try:
            fail(ValueError("inner"))
        except ValueError as inner:
            fail(ExceptionGroup("both", [KeyError("k"), OSError("o")]), inner)
    except ExceptionGroup:
        log.get("x").exception("failed")

    line = only_line(out)
    assert line.startswith('level=error logger=x event=failed error="ExceptionGroup: both')
    assert all(word in line for word in ("ValueError: inner", "KeyError: 'k'", "OSError: o"))
    assert "\\n" in line


def test_an_exception_can_be_passed(out: io.StringIO) -> None:
    """Outside of its except block."""
    log.get("x").warning("failed", exc_info=ValueError("x"))

    assert 'error="ValueError: x" traceback="ValueError: x\\n"' in only_line(out)


# --- Secrets ---


def test_secrets_are_masked_everywhere(out: io.StringIO) -> None:
    """Event, key, value, URL, bytes, exception, traceback and bound context."""
    log.register_secret(TOKEN)
    with log.bound(chat=TOKEN):
        try:
            fail(ValueError(f"https://api/bot{quote(TOKEN, safe='')}/getMe"))
        except ValueError:
            log.get(TOKEN).exception(
                TOKEN, a=[TOKEN], b=TOKEN.encode(), c={"x": (TOKEN,)}, **{TOKEN: 1}
            )

    line = only_line(out)
    assert "AAHdq" not in line
    assert line.count(redact.MASK) >= 7


def test_a_secret_at_the_cut_of_a_long_value_is_masked(out: io.StringIO) -> None:
    """Shortening comes after redaction, or half a token would stay."""
    log.register_secret(TOKEN)
    for shift in range(0, 50, 7):
        log.get("x").info("e", v="a" * (log.MAX_VALUE // 2 - shift) + TOKEN + "b" * log.MAX_VALUE)

    assert "110201" not in out.getvalue()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
tokens = st.text(min_size=12, max_size=30).filter(lambda text: text.strip() == text)


@settings(deadline=None)
@given(tokens, st.text(), st.dictionaries(st.text(), anything, max_size=4), st.text(), st.text())
def test_no_line_break_no_control_character_no_secret_ever(
    secret: str, event: str, values: dict[str, Any], before: str, after: str
) -> None:
    """Whatever is logged is one printable line, in which no registered value can be read."""
    redact.forget_all()
    redact.register(secret)
    stream = io.StringIO()
    log.configure("debug", stream)
    try:
        fail(ValueError(before + secret + after))
    except ValueError:
        named = {f"k{key}": value for key, value in values.items()}
        log.get("x").exception(event, **named, v=before + secret + after, w=[secret.encode()])
    finally:
        log.configure("info")

    line, end, rest = stream.getvalue().partition("\n")
    assert (end, rest) == ("\n", "")
    assert line.isprintable()
    assert secret not in line
    assert quote(secret, safe="") not in line
    assert repr(secret)[1:-1] not in line


# --- The standard library's logging ---


def test_stdlib_records_take_the_same_way(out: io.StringIO) -> None:
    """Formatted, masked and on one line."""
    log.register_secret(TOKEN)
    try:
        fail(OSError(TOKEN))
    except OSError:
        logging.getLogger("lib").exception("to %s\nfailed", f"https://x/bot{TOKEN}/")

    line = only_line(out)
    assert line.startswith('level=error logger=lib event="to https://x/bot[secret]/\\nfailed"')
    assert "OSError: [secret]" in line
    assert TOKEN not in line


def test_loggers_that_print_urls_are_silent_below_warning(out: io.StringIO) -> None:
    """Also at debug: the token is in every URL."""
    for name in ("httpx", "httpcore.http11", "openai._base_client"):
        logging.getLogger(name).info("HTTP Request: GET https://api/bot...")
        logging.getLogger(name).debug("send_request_headers.started")
    logging.getLogger("httpx").warning("trouble")

    assert only_line(out) == "level=warning logger=httpx event=trouble"


def test_a_format_that_does_not_fit_is_told(out: io.StringIO) -> None:
    """A library's mistake is not ours to fail on."""
    (ours,) = (one for one in logging.root.handlers if isinstance(one, log._StdlibHandler))
    ours.emit(logging.LogRecord("lib", logging.WARNING, "f.py", 1, "%d items", ("many",), None))

    assert 'event="%d items (not formatted: ' in only_line(out)


# --- Streams ---


def test_the_journal_gets_priorities_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if standard error is the very socket that systemd named."""
    ours, theirs = socket.socketpair()
    info = os.fstat(ours.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
    with ours, theirs, ours.makefile("w") as stream:
        log.configure("debug", stream)
        logger = log.get("x")
        for write in (logger.debug, logger.info, logger.warning, logger.error):
            write("e")
        log.configure("info")

        received = theirs.recv(4096).decode().splitlines()
    assert [line[:9] for line in received] == ["<7>level=", "<6>level=", "<4>level=", "<3>level="]


def test_a_pipe_is_not_the_journal(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOURNAL_STREAM is inherited by programs whose output was redirected."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    log.configure("info", out)
    log.get("x").info("e")

    assert out.getvalue().startswith("ts=")


class FullDisk(io.StringIO):
    """A stream that fails until it is given room."""

    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_stream_that_fails_loses_lines_and_says_so_later(out: io.StringIO) -> None:
    """A full disk under the log must not stop the daemon."""
    stream = FullDisk()
    log.configure("info", stream)
    log.get("x").info("a")
    log.get("x").info("b")
    stream.room = True
    log.get("x").info("c")
    log.get("x").info("d")

    assert [line.partition("event=")[2] for line in lines(stream)] == ["lost lines=2", "c", "d"]


def test_a_closed_stream_is_no_error(out: io.StringIO) -> None:
    """At the very end of a process, for instance."""
    stream = io.StringIO()
    log.configure("info", stream)
    stream.close()
    log.get("x").info("a")
    log.configure("info", out)
    log.get("x").info("b")

    assert [line.partition("event=")[2] for line in lines(out)] == ["lost lines=1", "b"]


def test_what_nobody_caught_is_logged(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own multi-line tracebacks never reach standard error."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log.register_secret(TOKEN)
    log.catch_everything()
    logging.captureWarnings(capture=False)  # pytest's business during a test

    error = ValueError(TOKEN)
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

    first, second = lines(out)
    assert first.startswith('level=error logger=python event="uncaught exception" ')
    assert TOKEN not in first
    assert 'event="uncaught exception in a thread"' in second
    assert "ZeroDivisionError" in second
