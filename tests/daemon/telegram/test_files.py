"""Pictures and files through the outbox: the promises of texts hold, and no bytes stay behind."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.faults import Fault
from daemon.demo.forms import read_form
from daemon.demo.servers import DemoServers
from daemon.demo.sound import silence
from daemon.spool import Spool
from daemon.store import buttons, holding
from daemon.store import outbox as rows
from daemon.store.buttons import Button
from daemon.store.db import Database
from daemon.store.sending import MAX_DOUBTS, Part, claim_next, recover
from daemon.telegram import api as api_module
from daemon.telegram import failure, media
from daemon.telegram.api import BotApi
from daemon.telegram.outbox import Outbox, address
from daemon.telegram.render import MAYBE_TWICE
from daemon.telegram.upload import PIECE, Attached, Upload
from tests.daemon.telegram.filebench import (
    HERE,
    LABEL,
    PNG,
    draft,
    ended,
    errors,
    queue,
    seen,
    sending,
    shows,
    states,
    text,
)


async def test_files_and_texts_keep_their_order(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Every byte arrives under its name, whatever is in it."""
    big = bytes(range(256)) * 4096 + b"\r\n--"
    drafts = [draft(spool, "p.png", PNG), draft(spool, "Größe 1.csv", big), text("done")]
    await queue(database, *drafts)
    sender.wake(HERE)
    await demo.bot.wait_for(shows(("photo", ""), ("Größe 1.csv", ""), ("text", "done")))
    assert [stored.data for stored in demo.bot.world.files.values()] == [PNG, big]
    assert await ended(database, sender, spool) == ["sent"] * 3
    assert demo.bot.violations == []


DOUBTED = [("photo", LABEL), ("text", "b")]


@pytest.mark.parametrize(
    ("fault", "messages"),
    [
        (Fault(method="sendPhoto", status=429, retry_after=1), [("photo", ""), ("text", "b")]),
        (Fault(method="sendPhoto", status=400), [("p.png", ""), ("text", "b")]),
        (Fault(method="sendPhoto", status=500), DOUBTED),
        (Fault.bad_gateway(method="sendPhoto"), DOUBTED),
        (Fault.cut_before(method="sendPhoto"), DOUBTED),
        (Fault.cut_after(method="sendPhoto"), [("photo", ""), *DOUBTED]),
    ],
)
async def test_the_phase_of_a_failure_decides_for_files_too(
    demo: DemoServers,
    database: Database,
    sender: Outbox,
    spool: Spool,
    fault: Fault,
    messages: list[tuple[str, str]],
) -> None:
    """Refused as a picture it goes as a document; in doubt it says so in its caption."""
    demo.bot.faults.add(fault)
    await queue(database, draft(spool, "p.png", PNG), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(*messages))
    assert await ended(database, sender, spool) == ["sent", "sent"]


BIG = bytes(8 * 1024 * 1024)  # more than the buffers of a connection take


@pytest.mark.parametrize("reset", [True, False])
async def test_an_upload_that_breaks_off_is_begun_again_without_a_label(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool, reset: bool
) -> None:
    """Telegram cannot have acted on a part of a request: there is nothing to doubt."""
    demo.bot.faults.add(Fault.cut_during("sendDocument", body_bytes=100_000, reset=reset, times=2))
    await queue(database, draft(spool, "big", BIG), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(("big", ""), ("text", "b")))
    assert await ended(database, sender, spool) == ["sent", "sent"]


async def test_an_upload_that_was_whole_is_in_doubt(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """From its last byte on it may have had its effect, however soon the connection ends."""
    demo.bot.faults.add(Fault.cut_during("sendDocument", body_bytes=len(BIG) + 10_000))
    await queue(database, draft(spool, "big", BIG))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(("big", LABEL)))
    assert await ended(database, sender, spool) == ["sent"]


async def test_a_line_that_is_too_slow_is_not_tried_for_ever(
    demo: DemoServers,
    database: Database,
    sender: Outbox,
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes after the file is sent all the same, and the chat is told."""
    monkeypatch.setattr(failure, "FIRST_BACKOFF", 0.001)
    monkeypatch.setattr(api_module, "WRITE_TIMEOUT", 0.05)
    stall = Fault.stalled("sendDocument", body_bytes=100_000, times=-1)
    demo.bot.faults.add(stall)
    await queue(database, draft(spool, "big", BIG), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: len(seen(bot)) == 2)
    assert seen(demo.bot)[0] == ("text", "b")
    assert "could not send the file big: the upload broke off" in seen(demo.bot)[1][1]
    assert stall.used == failure.MAX_CUTS
    assert await ended(database, sender, spool) == ["failed", "sent", "sent"]


async def test_a_large_file_is_given_the_time_to_be_passed_on(
    demo: DemoServers, api: BotApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Bot API answers when it has handed the file to Telegram, and not before."""
    monkeypatch.setattr(api_module, "UPLOAD_PACE", 1024 * 1024)
    demo.bot.faults.add(Fault(method="sendDocument", delay=0.3))
    path = tmp_path / "f"
    path.write_bytes(BIG)
    with path.open("rb") as file:
        upload = Upload((Attached("document", "f", file),))
        await api.call("sendDocument", {"chat_id": 1}, read_timeout=0.05, upload=upload)
    assert seen(demo.bot) == [("f", "")]


async def test_an_upload_cut_off_by_the_end_is_no_doubt(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """The row waits for the next start, which sends it without a label."""
    demo.bot.faults.add(Fault.stalled("sendDocument", body_bytes=100_000))
    await queue(database, draft(spool, "big", BIG))
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: bot.count("sendDocument"))
    await sender.close(0.05)
    with trio.fail_after(20):
        while await states(database) != ["queued"]:
            await trio.lowlevel.checkpoint()
    assert len(list(spool.path.iterdir())) == 1


@pytest.mark.parametrize("blocked", ["a directory", "a file that cannot be read"])
async def test_a_file_that_cannot_be_read_now_may_be_later(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool, blocked: str
) -> None:
    """The disk has a bad moment, or we have too many files open: the bytes are still there."""
    waiting = draft(spool, "t.txt", b"text")
    path = spool.path / str(waiting.file)
    kept = path.rename(spool.path.parent / "kept")
    if blocked == "a directory":
        path.mkdir()
    else:
        path.symlink_to("/proc/self/mem")  # can be opened, and gives an error at its first byte
    await queue(database, waiting, text("b"))
    sender.wake(HERE)
    with trio.fail_after(20):
        while "cannot be read" not in (await errors(database))[0]:
            await trio.lowlevel.checkpoint()
    path.rmdir() if blocked == "a directory" else path.unlink()
    kept.rename(path)
    await demo.bot.wait_for(shows(("t.txt", ""), ("text", "b")))
    assert await ended(database, sender, spool) == ["sent", "sent"]


async def test_a_file_in_doubt_for_good_goes_when_the_sender_is_restarted(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """Its task alone may be restarted, long before the next start of the process sweeps."""
    await queue(database, draft(spool, "t.txt", b"text"))
    for _ in range(MAX_DOUBTS - 1):
        await database.write(claim_next, rows.destination_of(HERE), boot, time.time())
        await database.write(recover)
    await database.write(claim_next, rows.destination_of(HERE), boot, time.time())
    async with sending(database, boot, api, spool) as sender:
        assert await ended(database, sender, spool) == ["unknown"]
    assert seen(demo.bot) == []


async def test_a_file_that_nobody_asks_for_is_not_held_for_ever(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """One line says so, and the texts that were held with it are still there."""
    long_ago = time.time() - holding.HOLD_AFTER - 60
    await queue(database, draft(spool, "t.txt", b"text"), text("done"), at=long_ago)
    await database.write(holding.hold_old, time.time())
    await database.write(lambda db: db.execute("UPDATE outbox SET created_at = 1000"))
    async with sending(database, boot, api, spool) as sender:
        await demo.bot.wait_for(lambda bot: len(seen(bot)) == 1)
        assert "2 message(s)" in seen(demo.bot)[0][1]
        assert await ended(database, sender, spool) == ["failed", "failed", "sent"]


async def test_a_file_that_is_refused_twice_is_named_in_the_chat(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Once as a picture, once as a document, and no more."""
    demo.bot.faults.add(Fault(method="sendPhoto", status=400, description="Bad Request: IMAGE"))
    demo.bot.faults.add(Fault(method="sendDocument", status=400, description="Bad Request: no"))
    await queue(database, draft(spool, "p.png", PNG), text("b"))
    sender.wake(HERE)
    told = "I could not send the file p.png: 400 Bad Request: no"
    await demo.bot.wait_for(shows(("text", "b"), ("text", told)))
    assert await ended(database, sender, spool) == ["failed", "sent", "sent"]


async def test_two_doubts_end_a_file(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Its bytes go with it."""
    demo.bot.faults.add(Fault.cut_after(method="sendPhoto", times=2))
    await queue(database, draft(spool, "p.png", PNG), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(("photo", ""), *DOUBTED))
    assert await ended(database, sender, spool) == ["unknown", "sent"]


async def test_a_file_whose_bytes_are_gone_fails_with_a_sentence(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Somebody cleaned up by hand: what comes after it is sent all the same."""
    lost = draft(spool, "p.png", PNG)
    spool.remove([str(lost.file)])
    await queue(database, lost, text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: len(seen(bot)) == 2)
    assert seen(demo.bot)[0] == ("text", "b")
    assert "could not send the file p.png: its bytes are gone" in seen(demo.bot)[1][1]
    assert await ended(database, sender, spool) == ["failed", "sent", "sent"]


async def test_a_file_in_flight_at_a_kill_is_sent_once_more_under_a_label(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """The row says that it was on its way, and the bytes are still there."""
    await queue(database, draft(spool, "t.txt", b"text"))
    await database.write(claim_next, rows.destination_of(HERE), boot, time.time())
    async with sending(database, boot, api, spool) as sender:
        await demo.bot.wait_for(shows(("t.txt", LABEL)))
        assert await ended(database, sender, spool) == ["sent"]


async def test_an_old_file_is_held_with_the_texts_and_keeps_its_bytes(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """One line stands for all, and its button brings the file, too."""
    held = draft(spool, "t.txt", b"text")
    await queue(database, held, text("done"), at=time.time() - holding.HOLD_AFTER - 60)
    async with sending(database, boot, api, spool) as sender:
        await demo.bot.wait_for(lambda bot: len(seen(bot)) == 1)
        assert "2 message(s)" in seen(demo.bot)[0][1]
        assert await database.read(rows.files) == {held.file}
        button = demo.bot.chat(1)[-1].buttons[0]["callback_data"]
        pressed = await database.write(buttons.press, button, HERE, "ada", time.time())
        assert isinstance(pressed, Button)
        shown = await database.write(holding.show_held, HERE, pressed.payload, time.time())
        assert shown == 2
        sender.wake(HERE)
        await demo.bot.wait_for(lambda bot: seen(bot)[1:] == [("t.txt", ""), ("text", "done")])
        assert await ended(database, sender, spool) == ["sent"] * 3


def test_a_late_file_says_what_it_answers() -> None:
    """The line that a late text begins with is a late file's caption."""
    day = 86400.0
    part = Part(1, HERE, 1, media.PHOTO, {}, 1, 0, "plot it", 1.0, "key", "p.png")
    assert "caption" not in address(part, 60.0)
    assert address(part, day)["caption"].startswith('Re "plot it", 01 Jan 00:00 UTC:')


def test_a_caption_stands_below_the_labels() -> None:
    """Whatever has to be said about a file, its own words are still there."""
    day = 86400.0
    params = {"caption": "Sales by month"}
    part = Part(1, HERE, 1, media.PHOTO, params, 1, 1, "plot it", 1.0, "key", "p.png")
    late = 'Re "plot it", 01 Jan 00:00 UTC:\n'
    assert address(part, 60.0)["caption"] == f"{MAYBE_TWICE}Sales by month"
    assert late in address(part, day)["caption"]
    assert address(part, day)["caption"].endswith("\nSales by month")
    assert address(evolve(part, doubts=0), 60.0)["caption"] == "Sales by month"


async def test_a_caption_comes_with_its_file_however_often_it_is_sent(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """In doubt below the label; no answer came to the first."""
    demo.bot.faults.add(Fault.cut_after(method="sendPhoto"))
    captioned = evolve(draft(spool, "p.png", PNG), params={"caption": "one"})
    plain = evolve(draft(spool, "t.txt", b"text"), params={"caption": "two"})
    await queue(database, captioned, plain)
    sender.wake(HERE)
    twice = ("photo", f"{MAYBE_TWICE}one")
    await demo.bot.wait_for(shows(("photo", "one"), twice, ("t.txt", "two")))
    assert await ended(database, sender, spool) == ["sent", "sent"]


async def test_a_body_is_as_long_as_it_says_and_never_whole_in_memory(tmp_path: Path) -> None:
    """However large the file: one piece at a time, read in a thread."""
    path = tmp_path / "f"
    path.write_bytes(bytes(3 * PIECE + 1))
    with path.open("rb") as file:
        upload = Upload((Attached("document", 'a"b', file),))
        params = {"chat_id": 1, "caption": "ü", "reply_markup": {"inline_keyboard": []}}
        headers = upload.headers(params)
        pieces = [piece async for piece in upload.body(params)]
    assert sum(map(len, pieces)) == int(headers["content-length"])
    assert max(map(len, pieces)) == PIECE
    form = read_form(headers["content-type"], "", b"".join(pieces))
    assert form.values == {
        "chat_id": "1",
        "caption": "ü",
        "reply_markup": '{"inline_keyboard": []}',
    }
    assert form.files["document"].filename == "a_b"
    assert form.files["document"].data == path.read_bytes()


# --- What a picture is ---


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + body


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", width, height)


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc4\x00\x03c\xff\xc2\x00\x0b\x08"
    + struct.pack(">HH", 300, 400)
    + b"rest"
)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (png(640, 480), (640, 480)),
        (JPEG, (400, 300)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 0x4000 | 320, 200)), (320, 200)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 99 | 49 << 14)), (100, 50)),
        (webp(b"VP8X", bytes(4) + b"\x63\0\0\x31\0\0"), (100, 50)),
        (b"GIF89a", None),
        (b"", None),
        (JPEG[:12], None),
        (png(1, 1)[:20], None),
        (webp(b"VP8L", b""), None),
    ],
)
def test_the_shape_is_read_from_the_header(data: bytes, shape: tuple[int, int] | None) -> None:
    """Of the three formats that Telegram shows; a header that is cut off is none."""
    found = media.shape_of(data)
    assert (None if found is None else (found.width, found.height)) == shape


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * (media.PHOTO_BYTES - 2),
        b"\xff\xd8" + b"\xff\xd0" * (media.PHOTO_BYTES // 2 - 1),
        b"\xff\xd8" + b"\xff\xe0\0\2" * (media.PHOTO_BYTES // 4 - 1),
        b"\xff\xd8" + b"\xff\xe0\0\0" * (media.PHOTO_BYTES // 4 - 1),
    ],
    ids=["filling bytes", "markers", "empty segments", "impossible segments"],
)
def test_a_header_without_an_end_is_not_read_to_its_end(data: bytes) -> None:
    """A job chooses the bytes, and may not choose how long we look at them."""
    began = time.thread_time()
    assert media.method_for(data) == media.DOCUMENT
    assert time.thread_time() - began < 0.05


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (png(5000, 5000), media.PHOTO),
        (png(5000, 5001), media.DOCUMENT),
        (png(2000, 100), media.PHOTO),
        (png(2001, 100), media.DOCUMENT),
        (png(0, 100), media.DOCUMENT),
        (png(10, 10) + bytes(media.PHOTO_BYTES), media.DOCUMENT),
        (b"%PDF-1.7", media.DOCUMENT),
        (b"GIF89a" + bytes(20), media.ANIMATION),
        (b"\0\0\0\x18ftypisom" + bytes(20), media.VIDEO),
        (b"\0\0\0\x18ftypmp42" + bytes(20), media.VIDEO),
        (b"\0\0\0\x18ftypM4A " + bytes(20), media.AUDIO),
        (b"\0\0\0\x18ftypqt  " + bytes(20), media.DOCUMENT),
        (b"\0\0\0\x18ftypheic" + bytes(20), media.DOCUMENT),
        (silence(0.1), media.VOICE),
        (silence(0.1).replace(b"OpusHead", b"\x01vorbis"), media.DOCUMENT),
        (b"OggS", media.DOCUMENT),
        (b"OggS" + bytes(22) + b"\xff", media.DOCUMENT),
        (b"ID3\x04" + bytes(20), media.AUDIO),
        (b"\xff\xfb\x90\x64" + bytes(20), media.AUDIO),
        (b"\xff\xfe a text in UTF-16", media.DOCUMENT),
        (b"\xff\xfb\xf0\x64", media.DOCUMENT),
        (b"\xff\xfb", media.DOCUMENT),
    ],
)
def test_what_bytes_are_decides_how_they_are_sent(data: bytes, method: str) -> None:
    """By their beginning; pictures by sides and ratio, too. What is nothing else is a document."""
    assert media.method_for(data) == method


def test_a_picture_that_is_not_shown_has_its_reason() -> None:
    """Its size or its shape; what is no picture needs none."""
    assert "more than 10,485,760 bytes" in media.unshown(png(10, 10) + bytes(media.PHOTO_BYTES))
    assert media.unshown(png(2001, 100)).startswith("2001x100 pixels are not shown")
    assert [media.unshown(data) for data in (png(10, 10), b"%PDF-1.7", b"GIF89a")] == [""] * 3


@given(st.binary(max_size=60), st.sampled_from([b"", b"OggS", b"\xff", b"\0\0\0\x18ftyp", b"GIF8"]))
def test_no_bytes_are_too_strange_to_be_sent(data: bytes, begin: bytes) -> None:
    """Somehow everything is."""
    assert media.method_for(begin + data) in media.FIELDS


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plot-1.png", "plot-1.png"),
        ("Größe 1.csv", "Größe 1.csv"),
        ('a"b\r\nc', "a_b_c"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("gpj.\u202etxt", "gpj._txt"),
        ("", "file"),
        (" . ", "file"),
        ("x" * 300 + ".csv", "x" * 116 + ".csv"),
        ("x" * 300, "x" * 120),
    ],
)
def test_a_name_breaks_neither_a_header_nor_a_path(name: str, safe: str) -> None:
    """What is harmless in it stays."""
    assert media.safe_name(name) == safe


def test_what_telegram_cannot_take_is_refused_beforehand() -> None:
    """Nothing at all, and more than it takes."""
    assert media.refusal(b"x") == ""
    assert "empty" in media.refusal(b"")
    large = media.refusal(bytes(media.DOCUMENT_BYTES + 1))
    assert all(words in large for words in ("52,428,801", "52,428,800", "split it"))


async def test_files_of_what_was_given_up_elsewhere_are_removed(
    sender: Outbox, spool: Spool
) -> None:
    """As when a person is put out who was to be sent them."""
    sender.discard([spool.keep(b"a"), spool.keep(b"b")])
    with trio.fail_after(5):
        while list(spool.path.iterdir()):  # noqa: ASYNC110  (a directory rings no bell)
            await trio.sleep(0.005)
