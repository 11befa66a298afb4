"""An interpreter of the classic BPF that seccomp filters are written in."""

from __future__ import annotations

import struct
from collections.abc import Callable

JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: int.__eq__,
    0x25: int.__gt__,
    0x35: int.__ge__,
    0x45: lambda have, bits: bool(have & bits),
}


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


def interpret(program: bytes, data: bytes) -> int:
    """Run classic BPF over a struct seccomp_data, as the kernel does."""
    steps, accumulator, place = instructions(program), 0, 0
    while True:
        code, yes, no, operand = steps[place]
        place += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif code == 0x54:
            accumulator &= operand
        else:
            place += yes if JUMPS[code](accumulator, operand) else no
