"""Inputs made from others: what a fuzzer without coverage can do."""

from __future__ import annotations

import random

_WORDS = (
    b'null true false [] {} "" 0 -1 1e999 -0.0 1.0 18446744073709551616 [[[[ ]]]] {{ \\ \\u0000 %00 %ff ~1 ~0 - . .. / '
    b": :: , = == ! ( ) * & ' $patch delete \0 \r \n \t \xff \xc3\xa9 \xf0\x9f\x99\x82 \x0a\x00 \x80\x80\x80\x01"
)
PIECES = (*_WORDS.split(b" "), b" ", b"\r\n", b"\x7f" + b"\xff" * 8 + b"\x01", b"\xff" * 9 + b"\x7f")
MAX_CHANGES = 6


def mutated(rng: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Return a seed with some changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, MAX_CHANGES)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 1, 1, 2, 4, 16, 64)))
        match rng.randrange(6):
            case 0:
                data[start:end] = rng.randbytes(end - start)
            case 1:
                del data[start:end]
            case 2:
                data[start:end] = rng.choice(PIECES)
            case 3:
                data[start:start] = data[start:end] * rng.randint(1, 8)
            case 4:
                other = rng.choice(seeds)
                at = rng.randint(0, len(other))
                data[start:end] = other[at : at + rng.randint(0, 64)]
            case _:
                place = rng.randint(0, len(data))
                data[place:place], data[start:end] = data[start:end], b""
    return bytes(data)
