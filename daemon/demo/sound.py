"""Silence as a voice message: Opus in OGG, made by hand, for a demo that speaks without a voice.

A page of OGG has a header of 27 bytes, the lengths of its segments, and these. Each packet here is
one segment: 20 ms of silence, as Opus' own specification writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

RATE: Final = 48_000  # samples a second, in which positions are counted
PACKET: Final = 960  # samples, 20 ms
SKIP: Final = 312  # samples at the beginning that are not played
SILENCE: Final = b"\xf8\xff\xfe"
PACKETS_A_PAGE: Final = 50
SERIAL: Final = 1
FIRST, LAST = 2, 4  # what a page says of itself
_POLYNOMIAL: Final = 0x04C11DB7


def silence(seconds: float) -> bytes:
    """A voice message of so many seconds, at least one packet."""
    return b"".join(_pages(max(1, round(seconds * RATE / PACKET))))


def _pages(packets: int) -> Iterator[bytes]:
    yield _page(0, FIRST, 0, [struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, SKIP, RATE, 0, 0)])
    vendor = b"famulus demo"
    yield _page(1, 0, 0, [b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + bytes(4)])
    for number, begin in enumerate(range(0, packets, PACKETS_A_PAGE), 2):
        end = min(begin + PACKETS_A_PAGE, packets)
        kind = LAST if end == packets else 0
        yield _page(number, kind, SKIP + end * PACKET, [SILENCE] * (end - begin))


def _page(number: int, kind: int, position: int, packets: Sequence[bytes]) -> bytes:
    lengths = bytes(map(len, packets))
    head = struct.pack("<4sBBqII", b"OggS", 0, kind, position, SERIAL, number)
    rest = bytes([len(packets)]) + lengths + b"".join(packets)
    return head + struct.pack("<I", checksum(head + bytes(4) + rest)) + rest


def checksum(data: bytes) -> int:
    """OGG's CRC of 32 bits, highest bit first, which begins with 0."""
    crc, table = 0, _table()
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


@cache
def _table() -> tuple[int, ...]:
    return tuple(map(_entry, range(256)))


def _entry(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
        value &= 0xFFFFFFFF
    return value
