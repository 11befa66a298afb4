"""The demo's voice messages are what they say: Opus in OGG, whole and in order."""

from __future__ import annotations

import struct

import pytest

from daemon.demo.sound import PACKET, SKIP, checksum, silence
from daemon.telegram import media


def pages(data: bytes) -> list[tuple[int, int, int, int]]:
    """Each page's (flags, position, number, packets); every checksum is right."""
    found = []
    while data:
        magic, _, flags, position, _, number, crc, count = struct.unpack_from("<4sBBqIIIB", data)
        length = 27 + count + sum(data[27 : 27 + count])
        page, data = data[:length], data[length:]
        assert magic == b"OggS"
        assert checksum(page[:22] + bytes(4) + page[26:]) == crc
        found.append((flags, position, number, count))
    return found


@pytest.mark.parametrize(("seconds", "packets"), [(0.0, 1), (1.0, 50), (1.02, 51), (7.5, 375)])
def test_a_voice_message_lasts_as_long_as_is_asked(seconds: float, packets: int) -> None:
    """Its first page begins it, its last ends it, and positions count samples."""
    data = silence(seconds)
    assert media.method_for(data) == media.VOICE
    found = pages(data)
    assert [number for _, _, number, _ in found] == list(range(len(found)))
    assert [flags for flags, *_ in found] == [2, *[0] * (len(found) - 2), 4]
    assert sum(count for *_, count in found[2:]) == packets
    assert found[-1][1] == SKIP + packets * PACKET


def test_the_checksum_is_that_of_the_format() -> None:
    """A value that other programs have computed."""
    assert checksum(b"123456789") == 0x89A1897F
