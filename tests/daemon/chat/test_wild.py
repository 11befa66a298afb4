"""Reading what anybody may send: one of the seven values, or a refusal that names the field."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.chat.intake import Access, Ignored, Intake, read
from daemon.telegram.types import ALLOWED_UPDATES, MalformedUpdate, parse_update
from tests.harness.wild.broken import FAULTS, broken
from tests.harness.wild.reference import alternatives, fields_of, kinds
from tests.harness.wild.stream import wild_updates
from tests.harness.wild.valid import CONTENTS, Cast, Json, Maker

CAST = Cast()
ACCESS = Access(frozenset(CAST.people), frozenset(CAST.groups))
# What decides of an example is drawn by the maker; that much of it is what an update is.
GENEROUS = settings(
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow], max_examples=200
)


def asks(body: Json) -> Intake:
    """Read an update as it would arrive: over the wire."""
    return read(parse_update(json.loads(json.dumps(body))), "42", ACCESS, "famulus_demo_bot")


@given(st.randoms(use_true_random=False))
@GENEROUS
def test_every_valid_update_is_read(draw: random.Random) -> None:
    """Whatever fields it has that we do not know, and whatever kind it is of."""
    assert isinstance(asks({"update_id": 1, **Maker(draw, CAST).update()}), get_args(Intake))


@given(st.randoms(use_true_random=False))
@GENEROUS
def test_a_broken_update_is_read_or_refused(draw: random.Random) -> None:
    """And nothing else: no other exception comes out of it."""
    maker = Maker(draw, CAST)
    body, _ = broken(maker, {"update_id": 1, **maker.update()})
    try:
        assert isinstance(asks(body), get_args(Intake))
    except MalformedUpdate as error:
        assert str(error)


@given(st.randoms(use_true_random=False))
@GENEROUS
def test_no_stranger_is_answered(draw: random.Random) -> None:
    """Nothing that is asked where nobody is known is more than ignored."""
    strangers = Maker(draw, Cast(people=(666,), groups=(-666,)))
    body, _ = broken(strangers, {"update_id": 1, **strangers.update()})
    try:
        assert isinstance(asks(body), Ignored)
    except MalformedUpdate as error:
        assert str(error)


def test_what_is_read_can_be_kept() -> None:
    """No text of it has half a character, which neither SQLite nor UTF-8 takes."""
    for wild in wild_updates(Maker(random.Random(1), CAST), 2000, slot=1):
        try:
            str(asks(wild.body)).encode()
        except MalformedUpdate as error:
            str(error).encode()


# --- The generator itself ---


def test_the_stream_has_everything() -> None:
    """Every kind of update, every sort of fault and every content of a message."""
    wilds = wild_updates(Maker(random.Random(1), CAST), 5000, slot=1)
    seen = Counter(name for wild in wilds for name in wild.body)
    assert {kind.name for kind in kinds()} <= set(seen)
    assert set(FAULTS) | {"", "number", "several kinds"} == {wild.fault for wild in wilds}
    messages = [wild.body.get("message") for wild in wilds if not wild.fault]
    contents = {name for message in messages if message for name in message}
    assert set(CONTENTS) <= contents
    assert sum(not wild.fault for wild in wilds) > len(wilds) / 3


def test_the_stream_is_about_everybody() -> None:
    """Our own people and groups as well as strangers, so that all ends of a reading are met."""
    ends: Counter[str] = Counter()
    for wild in wild_updates(Maker(random.Random(1), CAST), 3000, slot=1):
        try:
            asked = asks(wild.body)
            ends[asked.outcome if isinstance(asked, Ignored) else type(asked).__name__] += 1
        except MalformedUpdate:
            ends["malformed"] += 1
    expected = {"Said", "Command", "Pressed", "Moved", "stranger", "not a person", "malformed"}
    assert expected <= set(ends)
    assert ends["Said"] > 300


def test_what_is_asked_for_exists() -> None:
    """Each kind of update that Telegram is asked for is one of the reference."""
    assert set(ALLOWED_UPDATES) <= {kind.name for kind in kinds()}


@pytest.mark.parametrize("name", ["Message", "CallbackQuery", "Chat", "User"])
def test_what_must_be_there_is_known(name: str) -> None:
    """The table says which fields are always there."""
    assert alternatives(name) == (name,)
    assert any(each.always for each in fields_of(name))
