"""Files that go together: which share an album, and what becomes of it when things go wrong."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.botapi import BotApiServer
from daemon.demo.calls import Call
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.spool import Spool
from daemon.store import buttons, holding
from daemon.store import outbox as rows
from daemon.store.buttons import Button
from daemon.store.db import Database
from daemon.store.outbox import Draft
from daemon.store.outbox_files import Kept
from daemon.store.sending import Part, claim_next, recover
from daemon.telegram import album, failure, media
from daemon.telegram import api as api_module
from daemon.telegram.album import COMPANY, MOST_BYTES, MOST_IN_ALBUM, Outgoing
from daemon.telegram.api import BotApi
from daemon.telegram.outbox import Outbox, address
from daemon.telegram.render import MAYBE_TWICE
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

# --- Which files go together ---

WORDS = st.lists(st.sampled_from(["one", "two"]).map(lambda word: {"text": word}), max_size=3)
FILES = st.lists(
    st.builds(
        Outgoing,
        st.sampled_from([*media.FIELDS, media.PHOTO, media.PHOTO]),
        st.uuids().map(lambda key: Kept(key.hex, f"{key.hex}.x")),
        st.integers(1, MOST_BYTES),
        WORDS.map(tuple),
    ),
    max_size=40,
)
SMALL = FILES.map(lambda files: [evolve(file, size=file.size % 1000 + 1) for file in files])


def said(draft: Draft) -> list[str]:
    """All words of a draft, in the order in which a chat shows them."""
    items = draft.params.get("media", [draft.params])
    captions = [item["caption"] for item in items if "caption" in item]
    return captions or [draft.params[name] for name in ("text",) if name in draft.params]


@given(st.one_of(FILES, SMALL))
def test_each_file_is_sent_once_and_in_its_order(files: list[Outgoing]) -> None:
    """And so are all the words for it, those for one file never before that file."""
    drafts = album.drafts(files)
    assert [kept for draft in drafts for kept in draft.files] == [file.kept for file in files]
    expected = [part["text"] for file in files for part in file.words]
    assert [word for draft in drafts for word in said(draft)] == expected


@given(st.one_of(FILES, SMALL))
def test_albums_are_what_telegram_takes(files: list[Outgoing]) -> None:
    """Two to ten files of kinds that may stand together, and not too many bytes."""
    sizes = {file.kept: file.size for file in files}
    for made in album.drafts(files):
        if made.method != media.ALBUM:
            assert len(made.files) <= 1
            continue
        items = made.params["media"]
        names = [f"attach://{name}" for name in media.parameters(media.ALBUM, len(items))]
        assert [item["media"] for item in items] == names
        assert 2 <= len(made.files) == len(items) <= MOST_IN_ALBUM
        assert len({COMPANY[album.METHODS[item["type"]]] for item in items}) == 1
        assert sum(sizes[kept] for kept in made.files) <= MOST_BYTES


@given(SMALL)
def test_neighbours_that_could_share_an_album_do(files: list[Outgoing]) -> None:
    """Unless it is full, or words have to come between them."""
    groups = album.grouped(files)
    for one, next_ in pairwise(groups):
        kinds = {COMPANY.get(file.method) for file in (one[-1], next_[0])}
        apart = len(kinds) > 1 or None in kinds
        assert apart or len(one) == MOST_IN_ALBUM or len(one[-1].words) > 1


@given(SMALL)
def test_an_album_that_is_taken_apart_is_what_its_files_would_have_been(
    files: list[Outgoing],
) -> None:
    """Method, caption and name of each are as if it had come alone."""
    for group in album.grouped(files):
        (whole, *_), alone = album.drafts(group), [album.drafts([file])[0] for file in group]
        if whole.method == media.ALBUM:
            assert album.one_by_one(part(whole)) == alone


def part(draft: Draft, **more: object) -> Part:
    taken = Part(1, HERE, 1, draft.method, draft.params, 1, 0, "plot it", 1.0)
    return evolve(taken, file=draft.file, file_name=draft.file_name, more=draft.more, **more)


def test_the_labels_of_an_album_are_in_its_first_caption() -> None:
    """Whatever is bold in it still is, and the others are as they were."""
    bold = [{"type": "bold", "offset": 0, "length": 5}]
    captioned = ({"text": "Sales", "entities": bold},)
    files = [
        Outgoing(media.PHOTO, Kept(name, name), 1, words)
        for name, words in (("a", captioned), ("b", ()), ("c", captioned))
    ]
    (whole,) = album.drafts(files)
    first, *others = address(part(whole, doubts=1), 60.0)["media"]
    assert first["caption"] == f"{MAYBE_TWICE}Sales"
    assert first["caption_entities"] == [{**bold[0], "offset": len(MAYBE_TWICE)}]
    assert others == whole.params["media"][1:]
    assert address(part(whole), 60.0)["media"] == whole.params["media"]


# --- Sent ---


def pictures(spool: Spool, count: int, caption: str = "") -> Draft:
    """An album of pictures, each another by its last byte."""
    words = ({"text": caption},) if caption else ()
    files = [
        Outgoing(media.PHOTO, Kept(spool.keep(PNG + bytes([n])), f"{n}.png"), 1, words * (n == 0))
        for n in range(count)
    ]
    (made,) = album.drafts(files)
    return made


def albums(bot: BotApiServer) -> list[int]:
    """How many items each album of the chat has."""
    ids = [message.content.get("media_group_id") for message in bot.chat(1)]
    return list(Counter(each for each in ids if each).values())


async def test_an_album_is_one_request_with_every_byte(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Its row has the number of its first message."""
    big = spool.keep(bytes(range(256)) * 4096 + b"\r\n--")
    whole = pictures(spool, 3, "Three")
    papers = Draft(
        media.ALBUM,
        {"media": [{"type": "document", "media": f"attach://file{n}"} for n in range(2)]},
        big,
        "a.csv",
        (Kept(spool.keep(b"text"), "Größe.txt"),),
    )
    await queue(database, whole, papers, text("done"))
    kept = [(spool.path / kept.key).read_bytes() for d in (whole, papers) for kept in d.files]
    sender.wake(HERE)
    await demo.bot.wait_for(
        shows(
            ("photo", "Three"),
            ("photo", ""),
            ("photo", ""),
            ("a.csv", ""),
            ("Größe.txt", ""),
            ("text", "done"),
        )
    )
    assert albums(demo.bot) == [3, 2]
    assert demo.bot.count("sendMediaGroup") == 2
    assert [stored.data for stored in demo.bot.world.files.values()] == kept
    assert await ended(database, sender, spool) == ["sent"] * 3
    first = demo.bot.chat(1)[1].message_id
    found = await database.read(lambda db: db.execute("SELECT message_id FROM outbox").fetchone())
    assert found[0] == str(first)
    assert demo.bot.violations == []


DOUBTED = [("photo", LABEL), ("photo", ""), ("text", "b")]


@pytest.mark.parametrize(
    ("fault", "messages"),
    [
        (Fault(method=media.ALBUM, status=429, retry_after=1), [("photo", "")] * 2),
        (Fault(method=media.ALBUM, status=500), DOUBTED[:2]),
        (Fault.bad_gateway(method=media.ALBUM), DOUBTED[:2]),
        (Fault.cut_before(method=media.ALBUM), DOUBTED[:2]),
        (Fault.cut_after(method=media.ALBUM), [("photo", ""), ("photo", ""), *DOUBTED[:2]]),
        (Fault(method=media.ALBUM, status=413), [("photo", "")] * 2),
        (Fault.cut_during(media.ALBUM, body_bytes=100), [("photo", "")] * 2),
    ],
)
async def test_the_phase_of_a_failure_decides_for_albums_too(
    demo: DemoServers,
    database: Database,
    sender: Outbox,
    spool: Spool,
    fault: Fault,
    messages: list[tuple[str, str]],
) -> None:
    """In doubt it says so in the first caption; what comes after it waits for its turn."""
    demo.bot.faults.add(fault)
    await queue(database, pictures(spool, 2), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(*messages, ("text", "b")))
    assert set(await ended(database, sender, spool)) == {"sent"}


def refuses(byte: int) -> Fault:
    """A Bot API that does not like the picture that ends in `byte`, in whatever it comes."""

    def has_it(call: Call) -> bool:
        return call.method != media.DOCUMENT and any(
            upload.data == PNG + bytes([byte]) for upload in call.files.values()
        )

    why = "Bad Request: failed to send message #3 with the error message PHOTO_INVALID_DIMENSIONS"
    return Fault(status=400, description=why, when=has_it, times=-1)


async def test_one_refused_picture_costs_no_other(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """The third of five comes as a document, in its place, and the caption with the first."""
    demo.bot.faults.add(refuses(2))
    await queue(database, text("a"), pictures(spool, 5, "Five"), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(
        shows(
            ("text", "a"),
            ("photo", "Five"),
            ("photo", ""),
            ("2.png", ""),
            ("photo", ""),
            ("photo", ""),
            ("text", "b"),
        )
    )
    assert albums(demo.bot) == []
    stored = [file.data[-1] for file in demo.bot.world.files.values()]
    assert stored == [0, 1, 2, 3, 4]
    assert await ended(database, sender, spool) == ["sent"] * 7
    assert demo.bot.violations == []


async def test_pictures_of_a_doubtful_album_that_is_refused_say_that_they_may_be_doubled(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """It may have arrived as a whole before, so each says so."""
    demo.bot.faults.add(Fault.cut_after(method=media.ALBUM))
    demo.bot.faults.add(Fault(method=media.ALBUM, status=400, description="Bad Request: WRONG"))
    await queue(database, pictures(spool, 2))
    sender.wake(HERE)
    twice = [("photo", LABEL)] * 2
    await demo.bot.wait_for(shows(("photo", ""), ("photo", ""), *twice))
    assert await ended(database, sender, spool) == ["sent", "sent"]


async def test_an_album_that_breaks_off_in_its_body_is_no_doubt(
    demo: DemoServers,
    database: Database,
    sender: Outbox,
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line too slow for all of it may be fast enough for each of its files."""
    monkeypatch.setattr(failure, "FIRST_BACKOFF", 0.001)
    monkeypatch.setattr(api_module, "WRITE_TIMEOUT", 0.05)
    stall = Fault.stalled(media.ALBUM, body_bytes=100_000, times=-1)
    demo.bot.faults.add(stall)
    large = bytes(6 * 1024 * 1024)
    files = [
        Outgoing(media.DOCUMENT, Kept(spool.keep(large), f"{n}.bin"), len(large)) for n in range(3)
    ]
    await queue(database, *album.drafts(files), text("b"))
    sender.wake(HERE)
    alone = [(f"{n}.bin", "") for n in range(3)]
    await demo.bot.wait_for(shows(*alone, ("text", "b")), timeout=20)
    assert stall.used == failure.MAX_CUTS
    assert await ended(database, sender, spool) == ["sent"] * 4


async def test_an_album_cut_off_by_the_end_waits_for_the_next_start(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """There is no doubt before the last byte of the last file."""
    demo.bot.faults.add(Fault.stalled(media.ALBUM, body_bytes=100_000))
    large = bytes(6 * 1024 * 1024)
    files = [Outgoing(media.DOCUMENT, Kept(spool.keep(large), f"{n}"), 1) for n in range(2)]
    await queue(database, *album.drafts(files))
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: bot.count(media.ALBUM))
    await sender.close(0.05)
    with trio.fail_after(20):
        while await states(database) != ["queued"]:
            await trio.lowlevel.checkpoint()
    assert len(list(spool.path.iterdir())) == 2


async def test_a_file_that_is_gone_costs_no_other(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """Somebody cleaned up by hand: it is named, and the others come alone."""
    whole = pictures(spool, 3)
    spool.remove([whole.more[0].key])
    await queue(database, whole)
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: len(seen(bot)) == 3)
    assert seen(demo.bot)[:2] == [("photo", "")] * 2
    assert "could not send the file 1.png: its bytes are gone" in seen(demo.bot)[2][1]
    assert await ended(database, sender, spool) == ["sent", "failed", "sent", "sent"]
    assert demo.bot.count(media.ALBUM) == 0


async def test_an_album_that_no_way_leads_to_names_all_its_files(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """The chat learns what is missing, by a text, which it does take."""
    demo.bot.faults.add(Fault(method=media.ALBUM, status=402, description="Payment Required"))
    await queue(database, pictures(spool, 2))
    sender.wake(HERE)
    told = "I could not send the files 0.png, 1.png: 402 Payment Required"
    await demo.bot.wait_for(shows(("text", told)))
    assert await ended(database, sender, spool) == ["failed", "sent"]


async def test_two_doubts_end_an_album_and_its_files(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """None of its bytes stay behind."""
    demo.bot.faults.add(Fault.cut_after(method=media.ALBUM, times=2))
    await queue(database, pictures(spool, 2), text("b"))
    sender.wake(HERE)
    await demo.bot.wait_for(shows(("photo", ""), ("photo", ""), *DOUBTED))
    assert await ended(database, sender, spool) == ["unknown", "sent"]


@pytest.mark.parametrize("doubts", [1, 2])
async def test_an_album_in_flight_at_a_kill(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool, doubts: int
) -> None:
    """It is sent once more under a label; after a second kill it is left open, and cleared away."""
    await queue(database, pictures(spool, 2))
    for _ in range(doubts - 1):
        await database.write(claim_next, rows.destination_of(HERE), boot, time.time())
        await database.write(recover)
    await database.write(claim_next, rows.destination_of(HERE), boot, time.time())
    async with sending(database, boot, api, spool) as sender:
        if doubts == 1:
            await demo.bot.wait_for(shows(*DOUBTED[:2]))
        expected = "sent" if doubts == 1 else "unknown"
        assert await ended(database, sender, spool) == [expected]


async def test_an_old_album_is_held_with_all_its_files_and_keeps_its_room(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """When it is asked for and refused then, its pictures still come before what followed it."""
    held = pictures(spool, 3)
    await queue(database, held, text("done"), at=time.time() - holding.HOLD_AFTER - 60)
    demo.bot.faults.add(refuses(1))
    async with sending(database, boot, api, spool) as sender:
        await demo.bot.wait_for(lambda bot: len(seen(bot)) == 1)
        assert await database.read(rows.files) == {kept.key for kept in held.files}
        button = demo.bot.chat(1)[-1].buttons[0]["callback_data"]
        pressed = await database.write(buttons.press, button, HERE, "ada", time.time())
        assert isinstance(pressed, Button)
        await database.write(holding.show_held, HERE, pressed.payload, time.time())
        sender.wake(HERE)
        came = [("photo", ""), ("1.png", ""), ("photo", ""), ("text", "done")]
        await demo.bot.wait_for(lambda bot: seen(bot)[1:] == came)
        await ended(database, sender, spool)


async def test_an_old_album_that_nobody_asks_for_goes_with_all_its_files(
    demo: DemoServers, database: Database, boot: str, api: BotApi, spool: Spool
) -> None:
    """The line says how many files those were."""
    await queue(database, pictures(spool, 3), at=time.time() - holding.HOLD_AFTER - 60)
    await database.write(holding.hold_old, time.time())
    await database.write(lambda db: db.execute("UPDATE outbox SET created_at = 1000"))
    async with sending(database, boot, api, spool) as sender:
        await demo.bot.wait_for(lambda bot: len(seen(bot)) == 1)
        assert "1 message(s)" in seen(demo.bot)[0][1]
        assert await ended(database, sender, spool) == ["failed", "sent"]


async def test_an_album_moves_with_its_group(
    demo: DemoServers, database: Database, spool: Spool
) -> None:
    """And keeps as many places in the order there as it has files."""
    await queue(database, pictures(spool, 3), text("b"))
    await database.write(rows.move_chat, rows.destination_of(HERE), "-100")
    found = await database.read(
        lambda db: db.execute("SELECT chat, seq FROM outbox ORDER BY seq").fetchall()
    )
    assert [tuple(row) for row in found] == [("-100", 1), ("-100", 4)]


# --- Sounds and films ---


async def test_what_is_refused_as_a_sound_comes_as_a_document(
    demo: DemoServers, database: Database, sender: Outbox, spool: Spool
) -> None:
    """People can forbid voice messages, and a header can lie."""
    opus = b"OggS" + bytes(22) + b"\x01\x13" + b"OpusHead" + bytes(11)
    forbidden = "Bad Request: VOICE_MESSAGES_FORBIDDEN"
    demo.bot.faults.add(Fault(method=media.VOICE, status=400, description=forbidden))
    voice = evolve(draft(spool, "a.ogg", opus), params={"caption": "Hello"})
    film = draft(spool, "b.mp4", b"\0\0\0\x18ftypisom" + bytes(20))
    assert (voice.method, film.method) == (media.VOICE, media.VIDEO)
    await queue(database, voice, film)
    sender.wake(HERE)
    await demo.bot.wait_for(lambda bot: len([m for m in bot.chat(1) if m.from_bot]) == 2)
    kinds = [message.file_kind for message in demo.bot.chat(1) if message.from_bot]
    assert kinds == ["document", "video"]
    assert await errors(database) == ["", ""]
    assert await ended(database, sender, spool) == ["sent", "sent"]
    assert demo.bot.violations == []
